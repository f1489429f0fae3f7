"""Whether the files of a data set exist: folder by folder, many at a time, and what was probably done instead."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eqbench.data.verification.findings import Findings
from eqbench.data.verification.names import check_names
from eqbench.errors import nearest

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
FOLDERS_LOOKED_INTO = 50
"""For a folder that is elsewhere: a level deeper than expected."""

Names = dict[str, str]
"""Name of a file to the split that it is in."""
Outcome = dict[str, str] | str | None


def missing_files(
    root: Path, files: Mapping[str, Sequence[str]], found: Findings, *, where_to_get: str = "", workers: int = 16
) -> set[str]:
    """Look for all files; those that are missing, of which `found` is told.

    Folders are listed rather than each file asked for, which on a network file system takes a fraction of the time.

    Args:
        root: what the paths are relative to.
        files: paths by split.
        found: is told of missing files, of missing folders once each with the number of their files.
        where_to_get: advice about what is missing.
        workers: folders that are listed at the same time.

    Raises:
        EnvironmentProblem, InputError: a path cannot be given to the system.
    """
    for paths in files.values():
        check_names(paths)
    folders = _by_folder(files)
    missing: set[str] = set()
    absent: dict[str, int] = defaultdict(int)
    for folder, outcome in _outcomes(root, folders, workers):
        names = folders[folder]
        if isinstance(outcome, str):
            found.problem("folders that cannot be read", f"{folder or '.'}: {outcome}", number=len(names))
        if outcome is None:
            absent[_topmost_absent(root, folder)] += len(names)
        if not isinstance(outcome, dict):
            missing.update(_joined(folder, name) for name in names)
            continue
        for name, reason in outcome.items():
            missing.add(_joined(folder, name))
            what = f"{_joined(folder, name)} ({names[name]}){reason}"
            found.problem("files missing", what, advice=where_to_get)
    for folder, number in absent.items():
        what = f"{folder}: no such folder; {number:,} files are expected in it{_instead_of(root / folder)}"
        found.problem("folders missing", what, advice=where_to_get, number=number)
    return missing


def _outcomes(root: Path, folders: Mapping[str, Names], workers: int) -> Iterator[tuple[str, Outcome]]:
    """What `_look` gives for each folder, in order."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from zip(
                folders, pool.map(lambda folder: _look(root / folder, folders[folder]), folders), strict=True
            )
        finally:  # after Ctrl-C, no further folder
            pool.shutdown(wait=False, cancel_futures=True)


def _by_folder(files: Mapping[str, Sequence[str]]) -> dict[str, Names]:
    folders: dict[str, Names] = defaultdict(dict)
    for split, paths in files.items():
        for path in paths:
            folder, _, name = path.rpartition("/")
            folders[folder].setdefault(name, split)
    return folders


def _look(folder: Path, names: Names) -> Outcome:
    """The missing names and what can be said of each; None without such a folder, or why it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            there = {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror or str(error)
    # a name may be spelled otherwise and still be found: a file system may ignore case, or normalise Unicode
    absent = [name for name in names if (entry := there.get(name)) is None or not entry.is_file()]
    absent = [name for name in absent if not (folder / name).is_file()]
    if not absent:
        return {}
    alike = {_plain(name): name for name in there if name not in names}
    return {name: _reason(folder / name, alike) for name in absent}


def _reason(path: Path, alike: Mapping[str, str]) -> str:
    """What is there instead of a file."""
    if path.is_symlink():
        return f": a link to {path.readlink()}, which does not exist"
    if path.is_dir():
        return ": a folder of this name"
    other = alike.get(_plain(path.name))
    return f"; there is {other}" if other else ""


def _plain(name: str) -> str:
    """A name without its ending, in lower case."""
    return name.rpartition(".")[0].lower() or name.lower()


def _topmost_absent(root: Path, folder: str) -> str:
    """Of a folder that does not exist, the part of its path up to the first that does not."""
    place = Path()
    for part in Path(folder).parts:
        place /= part
        if not (root / place).is_dir():
            break
    return place.as_posix()


def _instead_of(folder: Path) -> str:
    """What is there in place of a folder: its archive, the folder elsewhere, one of a similar name."""
    try:
        there = sorted(entry.name for entry in os.scandir(folder.parent))
    except OSError:
        return ""
    for archive in _archives(folder.name, there):
        return f"; {archive} is there: unpack it"
    for name in there[:FOLDERS_LOOKED_INTO]:
        if (folder.parent / name / folder.name).is_dir():
            return f"; there is {name}/{folder.name}: move or link it"
    return nearest(folder.name, there)


def _archives(name: str, there: Iterable[str]) -> list[str]:
    return [other for other in there if other.lower() in {f"{name.lower()}{ending}" for ending in ARCHIVES}]


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
