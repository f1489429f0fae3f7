"""What of a folder is known to be the same here and behind the URI: `.mirror.json` in it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eqbench import stored_json
from eqbench.storage.remote import Stamp

FILE = ".mirror.json"
SECOND = 1_000_000_000
RECENT_SECONDS = 10
UNCERTAIN: Stamp = (-1, -1)


class KnownFiles:
    """Each file with the stamps it had, here and there, when both were the same.

    Args:
        folder: that is mirrored.
        apart: names in it that are none of its files, beside those with a dot in front.
    """

    def __init__(self, folder: Path, apart: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self._apart = apart
        stored: dict[str, Any] = {}
        with contextlib.suppress(stored_json.Damaged):
            stored = stored_json.read_object(folder / FILE) or {}
        self._same: dict[str, tuple[Stamp, Stamp]] = {
            path: ((here[0], here[1]), (there[0], there[1])) for path, (here, there) in stored.get("files", {}).items()
        }
        self.checkpoints: dict[int, str] = {int(key): value for key, value in stored.get("checkpoints", {}).items()}
        """Those behind the URI that are complete, with the digest of their manifest where it is known."""
        self.attempt: tuple[int, float] = tuple(stored.get("attempt", (0, 0.0)))
        """Behind the URI: the number of the newest start of the run, and when it was."""

    def save(self) -> None:
        from eqbench.run_folder import write_atomically

        stored = {"files": self._same, "checkpoints": self.checkpoints, "attempt": self.attempt}
        write_atomically(self.folder / FILE, json.dumps(stored) + "\n")

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._same))

    def here(self) -> dict[str, Stamp]:
        """The folder's files as they are now, by path."""
        found: dict[str, Stamp] = {}
        for base, folders, files in os.walk(self.folder):
            at = Path(base).relative_to(self.folder)
            folders[:] = [
                name for name in folders if not name.startswith(".") and (at / name).as_posix() not in self._apart
            ]
            for name in files:
                if not name.startswith(".") and (stamp := stamp_of(Path(base) / name)):
                    found[(at / name).as_posix()] = stamp
        return found

    def changed_here(self, path: str) -> bool:
        """Whether a file is new or another one, here, than what is known to be the same."""
        now = stamp_of(self.folder / path)
        return now is not None and (path not in self._same or self._same[path][0] != now)

    def changed_there(self, path: str, stamp: Stamp) -> bool:
        return path not in self._same or self._same[path][1] != stamp

    def same(self, path: str, here: Stamp, there: Stamp, read: bool = False) -> None:
        """Remember a file. `read`: it was read from there, and may change again within the second its stamp tells."""
        recent = there[1] % SECOND == 0 and abs(time.time_ns() - there[1]) < RECENT_SECONDS * SECOND
        self._same[path] = (here, UNCERTAIN if read and recent else there)

    def forget(self, path: str) -> None:
        self._same.pop(path, None)


def stamp_of(file: Path) -> Stamp | None:
    """Size and time of the last change of a file; None if there is none."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size, found.st_mtime_ns
