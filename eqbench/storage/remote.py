"""A folder behind a URI: read, written and listed with retries.

Every file of it appears whole or not at all; but in an object store, a large one is cut off where its source fails.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from eqbench.errors import EnvironmentProblem, InputError
from eqbench.storage.place import FSSPEC_PACKAGES, public

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

Answer = TypeVar("Answer")
Stamp = tuple[int, int]
"""Size in bytes, and time of the last change in nanoseconds."""
TRIES = 3
SECONDS_BEFORE_THE_NEXT_TRY = 0.5
CHUNK = 8 << 20
OBJECT_STORES = ("s3", "gcs", "abfs")
S3_TRIES = 4
"""Of each request, by the client of S3, which then is not asked again: of a large file only a part is sent again."""
ENVIRONMENTS = ("AWS_", "AZURE_", "GOOGLE_", "OSS_")
"""Variables that say how to reach a store begin so."""
HINTS = {"az": "; set AZURE_STORAGE_ACCOUNT_NAME, and a key or a token of it, on every machine"}


class RemoteProblem(EnvironmentProblem):
    """What is behind the URI does not answer, or refuses."""


class Remote:
    """Files by their path below the URI's folder, `a/b.json`.

    Args:
        system: the file system of pyarrow that holds them.
        root: the folder there.
        shown: its URI, for messages.
    """

    tries = TRIES

    def __init__(self, system: FileSystem, root: str, shown: str) -> None:
        self._system = system
        self._root = root.rstrip("/")
        self.shown = shown
        self._folders = system.type_name not in OBJECT_STORES
        """It has folders that must be made, and a file that is being written can be seen."""
        self._retries_itself = system.type_name == "s3"
        self._errors = Exception if system.type_name.startswith("py::") else OSError
        """What its operations raise: a package of fsspec, its own."""

    @classmethod
    def of(cls, uri: str) -> Remote:
        """The folder at a URI; see `eqbench.storage.place`."""
        said = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENTS)}
        return cls(*_open(uri, tuple(said.items())), public(uri))

    def list(self, folder: str = "", recursive: bool = True) -> dict[str, Stamp]:
        """Every file below `folder`, by path, and without `recursive` the folders in it too, with size -1."""
        from pyarrow import fs

        def act() -> list[Any]:
            at = f"{self._root}/{folder}".rstrip("/")
            return self._system.get_file_info(fs.FileSelector(at, allow_not_found=True, recursive=recursive))  # type: ignore[no-any-return]

        found = {}
        for info in self._tried("list", folder, act):
            path = info.path.removeprefix(self._root).strip("/")
            if {"", ".", ".."} & set(path.split("/")):
                continue  # would lie elsewhere
            if info.type == fs.FileType.File and not path.endswith(".uploading"):
                found[path] = (int(info.size), int(info.mtime_ns or 0))
            elif info.type == fs.FileType.Directory and not recursive:
                found[path] = (-1, 0)
        return found

    def stamps(self, paths: Iterable[str]) -> dict[str, Stamp]:
        """Of those files that are there."""
        from pyarrow import fs

        wanted = list(paths)
        at = [self._at(path) for path in wanted]
        infos = self._tried("look at", " ".join(wanted[:1]), lambda: self._system.get_file_info(at)) if at else []
        pairs = zip(wanted, infos, strict=True)
        return {path: (int(i.size), int(i.mtime_ns or 0)) for path, i in pairs if i.type == fs.FileType.File}

    def read(self, path: str) -> bytes | None:
        """A file's content, or None if it is not there."""

        def act() -> bytes | None:
            try:
                with self._system.open_input_stream(self._at(path)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

        return self._tried("read", path, act)

    def download(self, path: str, file: Path) -> bool:
        """Write a file's content to `file`, flushed; False if it is not there."""

        def act() -> bool:
            try:
                stream = self._system.open_input_stream(self._at(path))
            except FileNotFoundError:
                return False
            with stream, file.open("wb") as target:
                while piece := stream.read(CHUNK):
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
            return True

        return self._tried("read", path, act)

    def write(self, path: str, content: bytes) -> None:
        """Replace a file."""
        self._tried("write", path, lambda: self._write(path, [content]))

    def upload(self, path: str, source: IO[bytes]) -> None:
        """Replace a file by what an open file holds, which may have lost its name meanwhile."""

        def pieces() -> Iterator[bytes]:
            source.seek(0)
            while piece := source.read(CHUNK):
                yield piece

        self._tried("write", path, lambda: self._write(path, pieces()))

    def delete(self, path: str) -> None:
        """Delete a file if it is there."""

        def act() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_file(self._at(path))

        self._tried("delete", path, act)

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and all in it, if it is there."""

        def act() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_dir(self._at(folder))

        self._tried("delete", folder, act)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _write(self, path: str, pieces: Iterable[bytes]) -> None:
        at = self._at(path)
        if not self._folders:
            with self._system.open_output_stream(at) as stream:
                for piece in pieces:
                    stream.write(piece)
            return
        self._system.create_dir(at.rpartition("/")[0], recursive=True)
        with self._system.open_output_stream(f"{at}.uploading") as stream:
            for piece in pieces:
                stream.write(piece)
        self._system.move(f"{at}.uploading", at)

    def _tried(self, what: str, path: str, act: Callable[[], Answer]) -> Answer:
        """What `act` gives; again after a pause where the other side fails.

        Raises:
            RemoteProblem: it fails each time.
        """
        pause = SECONDS_BEFORE_THE_NEXT_TRY
        for left in reversed(range(1 if self._retries_itself else self.tries)):
            try:
                return act()
            except self._errors as error:
                if not left or isinstance(error, PermissionError):
                    place = f"{self.shown}/{path}".rstrip("/")
                    raise RemoteProblem(f"cannot {what} {place}: {_said(error)}") from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError


def _said(error: Exception) -> str:
    """One line of what a client of a store says."""
    text = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    return (text if isinstance(error, OSError) else f"{kind}: {text}") if text else kind


@functools.lru_cache
def _open(uri: str, _: tuple[tuple[str, str], ...]) -> tuple[FileSystem, str]:
    """The file system of a URI, and the folder there; one client for all who ask, in the same environment.

    Raises:
        InputError: a package or a setting is missing, or the URI is not understood.
        RemoteProblem: it does not answer.
    """
    from pyarrow import fs

    scheme = urlsplit(uri).scheme
    package = FSSPEC_PACKAGES.get(scheme)
    try:
        if package is None:
            system, root = fs.FileSystem.from_uri(uri)
            return (_impatient(system) if system.type_name == "s3" else system), root
        system, root = importlib.import_module("fsspec.core").url_to_fs(uri)
    except OSError as error:
        raise RemoteProblem(f"cannot open {public(uri)}: {_said(error)}") from error
    except Exception as error:
        if package is None or not isinstance(error, ImportError):
            raise InputError(f"--storage {public(uri)}: {_said(error)}{HINTS.get(scheme, '')}") from error
        raise InputError(
            f"--storage {public(uri)}: {scheme}:// needs the package {package}, which is not installed; "
            f"pip install {package}, on every machine"
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), root


def _impatient(system: FileSystem) -> FileSystem:
    """The same client of S3; by itself it would try for 6 s where nobody listens, and for longer where none answers."""
    from pyarrow import fs

    rebuild, (options,) = system.__reduce__()
    return rebuild({**options, "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=S3_TRIES)})
