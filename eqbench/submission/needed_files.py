"""Which files a job needs beside eqbench itself, and where they are put in its folder."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import eqbench
from eqbench.errors import InputError
from eqbench.suite import find_suite
from eqbench.suite_file import SuiteFile

INSTALLED = {"site-packages", "dist-packages"}
SUITES, SWEEPS = PurePosixPath("suites"), PurePosixPath("suites/sweeps")
IGNORE_FILES = {".gitignore", ".rayignore"}
WHOLE_FOLDER = "send a folder that holds both: --working-dir FOLDER"


class NeededFiles:
    """The files that a suite needs, by their place in the job's folder.

    They keep their places relative to `here`, the folder that paths in a suite are relative to; what is elsewhere,
    as the suites that come with eqbench, is put where its name is found.
    """

    def __init__(self, here: Path) -> None:
        self._here = _plain(here)
        self.sources: dict[str, Path] = {}
        self.named: set[str] = set()
        """Every text in the suites, which may name a file or a folder."""

    def add_suite(self, file: Path, sweep: bool = False) -> str:
        """Add a suite, the suites that it starts from and the files that it names; its own place.

        Raises:
            InputError: a file that it names cannot be put into the job's folder.
        """
        place = self._place(file) or (SWEEPS if sweep else SUITES) / file.name
        self._add_suite(_plain(file), place)
        return place.as_posix()

    def add_modules(self, named: Collection[str] = ()) -> None:
        """Add the Python modules that were imported so far and are the user's own: neither installed nor eqbench's.

        Args:
            named: packages or modules that the suite names; others only count if they are below `here`.
        """
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            top = name.partition(".")[0]
            if not file or top in ("__main__", "__mp_main__", "eqbench"):
                continue
            path = Path(file)
            wanted = top in named or path.is_relative_to(self._here)
            if wanted and path.suffix == ".py" and path.is_file() and not _installed(path):
                parts = name.split(".")
                inside = PurePosixPath(*parts, "__init__.py") if path.name == "__init__.py" else PurePosixPath(*parts)
                self._add(inside if inside.suffix else inside.with_name(f"{inside.name}.py"), path)

    def _add_suite(self, file: Path, place: PurePosixPath) -> None:
        if self._add(place, file):
            return
        data = SuiteFile.read(file).data
        origins = list(dict.fromkeys(_started_from(data)))
        texts = set(_texts(data))
        self.named |= texts
        for value in texts - set(origins):
            self._add_named(value)
        for other in origins:
            beside = file.parent / other
            if beside.suffix and beside.is_file():
                self._add_suite(_plain(beside), _inside(place.parent / other, file))
            else:
                found = _plain(find_suite(other))
                self._add_suite(found, self._place(found) or SUITES / found.name)

    def _add_named(self, text: str) -> None:
        """A relative path of a file that is there and not hidden, with what it is based on where it is mmengine's."""
        path = self._here / text
        if not ("/" in text or "." in text) or Path(text).is_absolute() or not _is_file(path):
            return
        place = _inside(PurePosixPath(text), path)
        if is_hidden(place) or self._add(place, path) or path.suffix != ".py":
            return
        for base in _bases(path):
            self._add_named(os.path.relpath(path.parent / base, self._here))

    def _add(self, place: PurePosixPath, source: Path) -> bool:
        """Whether it was there already."""
        known = self.sources.get(place.as_posix())
        if known and not known.samefile(source):
            raise InputError(f"{known} and {source} would have the same place in the job's folder: {WHOLE_FOLDER}")
        self.sources[place.as_posix()] = source
        return known is not None

    def _place(self, file: Path) -> PurePosixPath | None:
        path = _plain(file)
        return PurePosixPath(path.relative_to(self._here).as_posix()) if path.is_relative_to(self._here) else None


def is_hidden(place: PurePosixPath) -> bool:
    """Whether a name on the way to a file begins with a dot, as of those that passwords are kept in.

    >>> is_hidden(PurePosixPath(".aws/credentials")), is_hidden(PurePosixPath("a/.gitignore"))
    (True, False)
    """
    return any(part.startswith(".") and part not in IGNORE_FILES for part in place.parts)


def _inside(place: PurePosixPath, named: Path) -> PurePosixPath:
    plain = PurePosixPath(os.path.normpath(place))
    if plain.parts[:1] == ("..",):
        raise InputError(f"{named}: {place} is outside the folder that the job gets; {WHOLE_FOLDER}")
    return plain


def _plain(path: Path) -> Path:
    """Absolute and without `..`; links stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (`absolute` leaves `..`, `resolve` follows links)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no path at all: too long, or with a null character
        return False


def _installed(path: Path) -> bool:
    """Whether a module is one that the cluster has to have installed."""
    folders = {Path(folder) for folder in (*sysconfig.get_paths().values(), sys.prefix)}
    package = Path(eqbench.__file__).absolute().parent
    if not INSTALLED.isdisjoint(path.parts):  # of the user alone, or named by PYTHONPATH or a .pth file
        return True
    return path.is_relative_to(package) or any(path.is_relative_to(folder) for folder in folders)


def _texts(node: object) -> Iterator[str]:
    """Every text in plain data, keys left out."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _started_from(data: Mapping[str, Any]) -> list[str]:
    """Names or files of the suites whose weights tasks start from."""
    starts = [task.get("start_from") for task in data.get("tasks") or [] if isinstance(task, Mapping)]
    return [str(start["suite"]) for start in starts if isinstance(start, Mapping) and start.get("suite")]


def _bases(config: Path) -> list[str]:
    """Files that a configuration of mmengine is based on, as it names them, relative to its folder."""
    try:
        body = ast.parse(config.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return []
    for statement in body:
        match statement:
            case ast.Assign([ast.Name("_base_")], value):
                try:
                    named = ast.literal_eval(value)
                except ValueError:
                    return []
                return [named] if isinstance(named, str) else [str(each) for each in named]
    return []
