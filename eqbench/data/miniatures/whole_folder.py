"""Writing a folder as a whole or not at all, and once, however many processes ask for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from eqbench import file_lock
from eqbench.errors import EnvironmentProblem

PATIENCE = 1800.0  # seconds that another process may take to write the same folder


def write_if_absent(folder: Path, write: Callable[[Path], None]) -> bool:
    """Let `write` fill a new folder, then give it the name `folder`; what a killed process has left is removed.

    Returns:
        Whether this process wrote it; False where it exists.

    Raises:
        EnvironmentProblem: it cannot be written, or another process has been writing it for too long.
    """
    if folder.exists():
        return False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with file_lock.hold(folder.with_name(f".{folder.name}.lock"), PATIENCE) as lock:
            if lock is None:
                raise EnvironmentProblem(f"{folder}: another process has been making it for {PATIENCE:.0f} s")
            if folder.exists():
                return False
            unfinished = folder.with_name(f".{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            write(unfinished)
            unfinished.rename(folder)
    except OSError as error:
        raise EnvironmentProblem(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    return True
