"""The folder of a job as one file: packed, held against Ray's limit, kept where the printed command finds it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eqbench.errors import EnvironmentProblem, InputError

MIB = 2**20
LIMIT = 100 * MIB
"""Of Ray, for a job's folder when it is packed."""
HOPELESS = 20 * LIMIT
SHOWN = 5
KEPT = 50
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """A packed folder. `uri` is what Ray calls it, which follows from its content."""

    file: Path
    uri: str
    files: int
    size: int

    @property
    def name(self) -> str:
        """Under which it is sent."""
        return self.uri.removeprefix("gcs://")

    def describe(self) -> str:
        """Number of files and size."""
        return f"{self.files} file{'s' * (self.files != 1)}, {spelled(self.size)}"


def pack(sources: Mapping[str, Path], name: str, folder: Path | None = None) -> Package:
    """Pack files, by their place in the job's folder; the same files make the same package.

    Args:
        name: the package's file is named for it.
        folder: where packages are kept; by default in the user's cache. The oldest are removed.

    Raises:
        InputError: together they are larger than Ray's limit; names the largest.
        EnvironmentProblem: a file cannot be read, or the package not be written.
    """
    if sum(map(_size, sources.values())) > HOPELESS:
        raise _too_large(sources, "more")
    folder = folder or cache_folder()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            packed = Path(file.name)
        try:
            _write(packed, sources)
            content = packed.read_bytes()
            if len(content) >= LIMIT:
                raise _too_large(sources, spelled(len(content)))
            digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            kept = packed.replace(folder / f"{name}-{digest[:12]}.zip")
        finally:
            packed.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentProblem(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    _remove_oldest(folder)
    return Package(kept, f"gcs://_ray_pkg_{digest}.zip", len(sources), len(content))


def cache_folder(name: str = "packages") -> Path:
    """Where packages, or other things, are kept, only for this user; made if it is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "eqbench" / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"eqbench-{name}-"))


def folder_files(folder: Path) -> dict[str, Path]:
    """What Ray sends of a folder, by place: what .gitignore and .rayignore files, and Ray itself, leave in.

    Links that lead out of the folder are left out too.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"--working-dir {folder}: there is no such folder")
    from ray._private import ray_constants
    from ray._private.runtime_env import packaging  # Ray has no public way to ask

    with_gitignore = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    root = os.path.realpath(folder)

    def leads_out(path: Path) -> bool:
        return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root)

    excludes = [packaging._get_excludes(folder, ray_constants.get_runtime_env_default_excludes()), leads_out]
    found: dict[str, Path] = {}

    def look(path: Path) -> None:
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path

    packaging._dir_travel(folder, excludes, look, include_gitignore=with_gitignore)
    return dict(sorted(found.items()))


def spelled(size: int) -> str:
    """Bytes as KiB or MiB.

    >>> spelled(1536), spelled(3 * 2**20)
    ('1.5 KiB', '3.0 MiB')
    """
    return f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / 1024:.1f} KiB"


def _write(packed: Path, sources: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(place, EPOCH)
            entry.external_attr = (0o755 if os.access(source, os.X_OK) else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with _reading(source):
                content = source.read_bytes()
            archive.writestr(entry, content)


def _size(source: Path) -> int:
    with _reading(source):
        return source.stat().st_size


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(f"{source}: cannot be read ({error.strerror}), and the job would get it") from error


def _too_large(sources: Mapping[str, Path], packed: str) -> InputError:
    sizes = sorted(((_size(file), place) for place, file in sources.items()), reverse=True)
    largest = ", ".join(f"{place} ({spelled(size)})" for size, place in sizes[:SHOWN])
    return InputError(
        f"the job's folder is {packed} packed, expected less than {spelled(LIMIT)}; its largest files: {largest}. "
        "Name what the job does not need in a .rayignore file; data belong on storage that the cluster shares"
    )


def _remove_oldest(folder: Path) -> None:
    packages = sorted(folder.glob("*.zip"), key=_modified)
    for file in packages[:-KEPT]:
        with contextlib.suppress(OSError):
            file.unlink()


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # removed by another call
        return 0.0
