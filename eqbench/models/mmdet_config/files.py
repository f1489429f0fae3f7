"""Where mmdet's configuration files are, and what they hold."""

from __future__ import annotations

import copy
import functools
import importlib.util
from pathlib import Path
from typing import Any

from eqbench.errors import EnvironmentProblem, InputError, nearest

INSTALL = "pip install onedl-mmcv onedl-mmdetection"


def read_file(config: str) -> dict[str, Any]:
    """What a configuration says, as plain dictionaries, lists and tuples; the caller's own copy.

    Args:
        config: `folder/name` of one of mmdet's configurations, with or without `.py`, or the path of a `.py` file.

    Raises:
        InputError: there is no such configuration, or the file cannot be read.
        EnvironmentProblem: mmdet is not installed.
    """
    file = find_file(config)
    return copy.deepcopy(_parsed(file, file.stat().st_mtime_ns))


def find_file(config: str) -> Path:
    """The file of a configuration; see `read_file`."""
    root = configurations()
    name = config.removesuffix(".py")
    if (root / f"{name}.py").is_file() and not Path(config).is_absolute():
        return root / f"{name}.py"
    if config.endswith(".py") and Path(config).is_file():
        return Path(config).resolve()
    names = known(root)
    by_stem = {each.rpartition("/")[2]: each for each in names}
    meant = by_stem.get(name.rpartition("/")[2])
    hint = f"; did you mean {meant!r}?" if meant else nearest(name, names)
    raise InputError(
        f"config: {config!r}: expected the name of one of mmdet's configurations, or the path of a .py file{hint}"
    )


def configurations() -> Path:
    """The folder of the configurations that mmdet comes with."""
    for package in ("mmdet", "mmengine"):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise EnvironmentProblem(f"{package} is not installed: {INSTALL}")
        if package == "mmdet":
            root = Path(found.origin).parent / ".mim" / "configs"
    if not root.is_dir():
        raise EnvironmentProblem(f"{root}: mmdet comes without its configurations; install its wheel: {INSTALL}")
    return root


def known(root: Path) -> list[str]:
    """Names of mmdet's configurations, sorted."""
    files = (file.relative_to(root).with_suffix("") for file in root.glob("*/*.py"))
    return sorted(file.as_posix() for file in files if file.parts[0] != "_base_")


@functools.lru_cache(maxsize=64)
def _parsed(file: Path, changed: int) -> dict[str, Any]:  # noqa: ARG001  (a file that was edited is read again)
    from mmengine.config import Config

    try:
        parsed: dict[str, Any] = Config.fromfile(file, lazy_import=False).to_dict()
    except Exception as error:  # the file is a program: whatever it raises
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise InputError(f"config: {file} cannot be read: {reason}") from error
    return parsed
