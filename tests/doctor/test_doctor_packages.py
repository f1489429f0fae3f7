"""What the doctor says about Python and the installed packages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eqbench.doctor import packages


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts the metadata of a distribution where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, version: str, *requires: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return write


@pytest.mark.parametrize(("version", "status"), [((3, 10, 14), "problem"), ((3, 11, 0), "ok"), ((4, 0, 0), "ok")])
def test_python(version: tuple[int, int, int], status: str) -> None:
    assert packages.python(version).status == status


def test_missing_and_old_requirements_are_named(install: Callable[..., None]) -> None:
    install("present", "2.0")
    install("old", "1.0")
    install(
        "mine", "1.0", "present>=1", "old>=1.5", "absent>=3", "elsewhere; python_version < '3'", "lint; extra == 'dev'"
    )
    assert [(check.name, check.status, check.found) for check in packages.requirements("mine")] == [
        ("old", "problem", "1.0, expected >=1.5"),
        ("absent", "problem", "missing, expected absent>=3"),
    ]


def test_an_incomplete_extra_is_a_fault_of_its_requirement(install: Callable[..., None]) -> None:
    install("plain", "2.0", "absent>=3; extra == 'default'")
    install("mine", "1.0", "plain[default]>=1")
    (check,) = packages.requirements("mine")
    assert check.found == "plain[default] is incomplete: absent missing, expected absent>=3"
    assert "'plain[default]>=1'" in check.fix


def test_an_absent_distribution_is_a_problem() -> None:
    (check,) = packages.requirements("never-published-by-anyone")
    assert (check.status, check.found) == ("problem", "never-published-by-anyone itself is not installed")


def test_pins_list_what_differs(install: Callable[..., None], tmp_path: Path) -> None:
    install("same", "1.0+local")
    install("other", "2.0")
    pinned = tmp_path / "constraints.txt"
    pinned.write_text("# comment\nsame==1.0\nother==2.1\nabsent==1\n")
    check = packages.pins(pinned)
    assert (check.status, check.found) == ("warning", "other 2.0 (pinned ==2.1)")
    pinned.write_text("same==1.0\nabsent==1\n")
    assert packages.pins(pinned).found == "all 1 packages at the pinned versions"
    assert packages.pins(tmp_path / "missing.txt").status == "ok"


def test_ray_without_its_dashboard_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray.dashboard.optional_deps", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp_cors", None)
    check = packages.ray_dashboard()
    assert check.status == "problem"
    assert "aiohttp_cors" in check.found
    assert check.fix.endswith("'ray[default,train,tune]'")


def test_mmdet_that_cannot_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmdet", None)
    assert packages.mmdet().status == "problem"
