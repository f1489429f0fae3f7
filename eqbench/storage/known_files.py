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
Start = tuple[int, float]
"""Number and time of a start of a run."""
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
        self._same: dict[str, tuple[Stamp, Stamp]] = {}
        self.checkpoints: dict[int, str] = {}
        """Those behind the URI that are complete, with the digest of their manifest where it is known."""
        self.starts: list[Start] = []
        """Starts of the run that what is here goes on from, as far as the mirror may tell of them."""
        with contextlib.suppress(stored_json.Damaged):
            self._take(stored_json.read_object(folder / FILE) or {})

    def save(self) -> None:
        from eqbench.run_folder import write_atomically

        stored = {"files": self._same, "checkpoints": self.checkpoints, "starts": self.starts}
        write_atomically(self.folder / FILE, json.dumps(stored) + "\n")

    def _take(self, stored: dict[str, Any]) -> None:
        """What was saved; nothing of it where it is not as expected: then all is compared again."""
        with contextlib.suppress(AttributeError, LookupError, OverflowError, TypeError, ValueError):
            same = {path: ((int(a), int(b)), (int(c), int(d))) for path, ((a, b), (c, d)) in stored["files"].items()}
            checkpoints = {int(key): str(value) for key, value in stored["checkpoints"].items()}
            starts = [(int(number), float(when)) for number, when in stored["starts"]]
            self._same, self.checkpoints, self.starts = same, checkpoints, starts

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

    def forget_all(self) -> None:
        """Files and checkpoints."""
        self._same.clear()
        self.checkpoints.clear()


def stamp_of(file: Path) -> Stamp | None:
    """Size and time of the last change of a file; None if there is none."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size, found.st_mtime_ns
