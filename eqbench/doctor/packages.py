"""Python and the installed packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from eqbench.doctor.report import Check

TREE = Path(__file__).resolve().parents[2]
CONSTRAINTS = TREE / "constraints.txt"
OLDEST_PYTHON = (3, 11)
SHOWN = 5


def install_command(*requirements: str) -> str:
    """What installs these requirements, or eqbench, at the pinned versions, for the running Python."""
    pins = ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    whole = ["-e", str(TREE)] if CONSTRAINTS.exists() else ["eqbench"]
    return shlex.join([sys.executable, "-m", "pip", "install", *pins, *(requirements or whole)])


def python(version: tuple[int, int, int]) -> Check:
    """Whether this version of Python is recent enough."""
    found = ".".join(map(str, version))
    if version[:2] >= OLDEST_PYTHON:
        return Check("python", "ok", f"{found} ({sys.executable})")
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check(
        "python",
        "problem",
        f"{found}, expected {oldest} or newer",
        "make distclean quickstart PYTHON=python3.11",
    )


def requirements(distribution: str = "eqbench") -> list[Check]:
    """Every direct requirement of a distribution that is missing or too old; one finding if there is none."""
    try:
        wanted = list(required_by(distribution))
    except importlib.metadata.PackageNotFoundError:
        return [Check("packages", "problem", f"{distribution} itself is not installed", install_command())]
    faults = [(requirement, fault) for requirement in wanted if (fault := _fault(requirement))]
    if not faults:
        return [Check("packages", "ok", f"all {len(wanted)} direct dependencies, with their extras")]
    return [
        Check(requirement.name, "problem", fault, install_command(str(requirement))) for requirement, fault in faults
    ]


def required_by(distribution: str, extra: str = "") -> Iterator[Requirement]:
    """What a distribution, or one of its extras alone, requires in this environment.

    Raises:
        importlib.metadata.PackageNotFoundError: the distribution is not installed.
    """
    for line in importlib.metadata.requires(distribution) or []:
        requirement = Requirement(line)
        if _applies(requirement, extra) and not (extra and _applies(requirement, "")):
            requirement.marker = None
            yield requirement


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _fault(requirement: Requirement) -> str:
    """Why a requirement is not met, looking into its extras; empty if it is met."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"missing, expected {requirement}"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version}, expected {requirement.specifier}"
    for extra in sorted(requirement.extras):
        for part in required_by(requirement.name, extra):
            if fault := _fault(part):
                return f"{requirement.name}[{extra}] is incomplete: {part.name} {fault}"
    return ""


def pins(constraints: Path) -> Check:
    """Whether the installed versions are the pinned ones; a difference is a warning only."""
    if not constraints.exists():
        return Check("constraints.txt", "ok", "not in a source tree: versions are not compared")
    lines = constraints.read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    installed = {pin.name: _installed(pin.name) for pin in pinned}
    other = [
        f"{pin.name} {version} (pinned {pin.specifier})"
        for pin in pinned
        if (version := installed[pin.name]) and not pin.specifier.contains(version, prereleases=True)
    ]
    if not other:
        count = sum(version is not None for version in installed.values())
        return Check("constraints.txt", "ok", f"all {count} packages at the pinned versions")
    more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
    return Check("constraints.txt", "warning", ", ".join(other[:SHOWN]) + more, install_command())


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def mmdet() -> Check:
    """Whether mmdet can be imported, and whether mmcv brings compiled operators."""
    try:
        versions = [f"{name} {importlib.import_module(name).__version__}" for name in ("mmdet", "mmcv", "mmengine")]
        compiled = importlib.util.find_spec("mmcv._ext") is not None
        if compiled:
            importlib.import_module("mmcv._ext")
    except (ImportError, AssertionError, AttributeError) as error:
        command = install_command("onedl-mmdetection", "onedl-mmcv", "onedl-mmengine")
        return Check("mmdet", "problem", f"cannot be imported: {error}", command)
    operators = "compiled operators (mmcv._ext)" if compiled else "operators of torchvision (no compiled mmcv._ext)"
    return Check("mmdet", "ok", f"{', '.join(versions)}; {operators}")


def ray_dashboard() -> Check:
    """Whether Ray's dashboard can start: without it there is no State API, and sweeps that stop a trial hang."""
    try:
        importlib.import_module("ray.dashboard.optional_deps")
    except ImportError as error:
        found = f"cannot start ({error}): no State API, sweeps would hang"
        return Check("ray dashboard", "problem", found, install_command("ray[default,train,tune]"))
    return Check("ray dashboard", "ok", f"ray {importlib.metadata.version('ray')} with State API")
