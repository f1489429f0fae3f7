"""Locks between processes, each on a file of its own; a lock ends when its process does, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from eqbench.errors import EnvironmentProblem

SECONDS_BETWEEN_TRIES = 0.1


@contextlib.contextmanager
def hold(path: Path, patience: float) -> Iterator[IO[str] | None]:
    """Hold the lock on `path`; gives the open file, or None if another process holds it for `patience` seconds."""
    with path.open("a+") as file:
        deadline = time.monotonic() + patience
        while not _try(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                yield None
                return
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield file


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock on `path`; needs permission to read it only."""
    try:
        with path.open() as file:
            return not _try(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _try(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EnvironmentProblem(
            f"{file.name}: cannot be locked ({error.strerror}); the file system must support flock"
        ) from error
    return True
