"""Where the index of an annotation file lies, whether it is up to date, and building it once for all processes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eqbench import file_lock
from eqbench.data.lvis_index import arrays
from eqbench.data.lvis_index.builder import build
from eqbench.data.lvis_index.index import AnnotationIndex
from eqbench.errors import EnvironmentProblem, InputError, nearest

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1800.0
"""Another process may build the index so long; on a slow network file system it reads for minutes."""
DAMAGED = (OSError, ValueError, KeyError, TypeError)


def open_index(annotations: Path) -> AnnotationIndex:
    """The index of an annotation file in LVIS or COCO format; built first if there is none that is up to date.

    It lies beside the file in `<name>.index`, or where that folder cannot be written to under `$EQBENCH_CACHE`, by
    default `~/.cache/eqbench`. Several processes that open it at once build it once.

    Raises:
        InputError: there is no such file, or it is not as it has to be.
        EnvironmentProblem: the index can be written nowhere, or another process builds it for too long.
    """
    source = annotations.expanduser().absolute()
    if not source.is_file():
        beside = [file.name for file in source.parent.glob("*.json")] if source.parent.is_dir() else []
        raise InputError(f"{source}: no such file{nearest(source.name, beside)}")
    if not os.access(source, os.R_OK):
        raise InputError(f"{source}: no permission to read it")
    folders = index_folders(source)
    for folder in folders:
        if index := _open_fresh(source, folder):
            return index
    refusals = []
    for folder in folders:
        try:
            with _locked(folder) as built:
                return _open_fresh(source, folder) or _build(source, folder, built)
        except OSError as error:
            refusals.append(f"{folder.parent} ({error.strerror or error})")
    raise EnvironmentProblem(
        f"{source}: its index can be written neither to {' nor to '.join(refusals)}; "
        "set EQBENCH_CACHE to a folder with room for about half the file's size"
    )


def index_folders(source: Path) -> tuple[Path, Path]:
    """Beside the file, and in the cache; preferred first."""
    cache = Path(os.environ.get("EQBENCH_CACHE") or "~/.cache/eqbench").expanduser().absolute()
    name = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
    return source.with_name(f"{source.name}.index"), cache / f"{name}-{source.name}.index"


def _open_fresh(source: Path, folder: Path) -> AnnotationIndex | None:
    """None where it has to be built."""
    try:
        description = arrays.read_description(folder)
        if description is None or not _is_fresh(source, folder, description):
            return None
        return AnnotationIndex(source, folder, description, arrays.read(folder, description))
    except NotADirectoryError:
        return None
    except DAMAGED as error:
        logger.warning("%s: damaged (%s: %s); it is built again", folder, type(error).__name__, error)
        return None


def _is_fresh(source: Path, folder: Path, description: dict[str, object]) -> bool:
    """Same size and time of change; if only the time differs, the same SHA-256, and then the time is noted."""
    status = source.stat()
    if description["size"] != status.st_size:
        return False
    if description["mtime_ns"] == status.st_mtime_ns:
        return True
    with source.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != description["sha256"]:
            return False
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=folder) as scratch:
        arrays.write_description(Path(scratch), {**description, "mtime_ns": status.st_mtime_ns})
        (Path(scratch) / arrays.DESCRIPTION).replace(folder / arrays.DESCRIPTION)
    return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Hold the lock of an index folder; gives an empty folder beside it, which is gone at the end.

    Raises:
        OSError: this place cannot be written to.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(folder.with_name(f"{folder.name}.lock"), PATIENCE_SECONDS) as lock:
        if lock is None:
            raise EnvironmentProblem(f"{folder}: another process has been building it for {PATIENCE_SECONDS:.0f} s")
        for left_behind in folder.parent.glob(f"{folder.name}.part-*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.part-", dir=folder.parent) as scratch:
            yield Path(scratch)


def _build(source: Path, folder: Path, scratch: Path) -> AnnotationIndex:
    logger.info("%s: building its index", source)
    new, old = scratch / "new", scratch / "old"
    new.mkdir()
    for warning in build(source, new):
        logger.warning("%s", warning)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    index = _open_fresh(source, folder)
    if index is None:
        raise EnvironmentProblem(f"{source}: it is being changed while its index is built; start again")
    return index
