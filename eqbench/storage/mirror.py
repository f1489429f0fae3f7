"""A folder and its mirror behind a URI: the files of one that have changed are written to the other."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from eqbench.storage.known_files import KnownFiles, stamp_of
from eqbench.storage.place import place_of
from eqbench.storage.remote import Remote, Stamp

logger = logging.getLogger(__name__)
EVENTS, STATE = "events.jsonl", "state.json"


class Mirror:
    """A folder, what is at `prefix` below a URI, and what is known of both. Only for the holder of the folder's lock.

    Args:
        apart: names of folders in it that are mirrored for themselves.
    """

    def __init__(self, folder: Path, remote: Remote, prefix: str, apart: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.remote = remote
        self.prefix = prefix
        self.known = KnownFiles(folder, apart)

    def at(self, path: str) -> str:
        """A file's path below the URI."""
        return f"{self.prefix}/{path}"

    def listed(self) -> dict[str, Stamp]:
        """What is there, by path below the folder, but for names with a dot in front, which are of one machine.

        Raises:
            RemoteProblem: it cannot be read.
            EnvironmentProblem: what is behind the URI is another storage.
        """
        inside = {path.removeprefix(f"{self.prefix}/"): stamp for path, stamp in self.remote.list(self.prefix).items()}
        found = {path: stamp for path, stamp in inside.items() if not path.startswith(".") and "/." not in path}
        self.check_storage(doubtful=not found or not set(self.known) <= set(found))
        return found

    def check_storage(self, doubtful: bool = True, begin: bool = False) -> None:
        """See `Place.check`."""
        if place := place_of(self.folder):
            place.check(doubtful, begin)

    def push_files(self, chosen: Callable[[str], bool] | None = None) -> None:
        """Write the chosen files, or all, that were changed here, and delete those that are gone.

        Raises:
            RemoteProblem: it cannot be written.
        """
        self.check_storage(doubtful=False, begin=True)
        here = self.known.here()
        gone = [path for path in self.known if path not in here and (chosen is None or chosen(path))]
        for path in gone:
            self.remote.delete(self.at(path))
            self.known.forget(path)
        sent: dict[str, Stamp] = {}
        for path in sorted(here, key=lambda path: (path == EVENTS, path)):  # all else that led to a record first
            wanted = chosen is None or chosen(path)
            if wanted and self.known.changed_here(path) and self._send(path):
                sent[self.at(path)] = here[path]
        for there, stamp in self.remote.stamps(sent).items():
            self.known.same(there.removeprefix(f"{self.prefix}/"), sent[there], stamp)
        if sent or gone:
            self.known.save()

    def fetch_files(self, there: Mapping[str, Stamp], mine: Callable[[str], bool] | None = None) -> None:
        """Delete files that were deleted behind the URI, read those that have changed there, `state.json` last.

        What was deleted there and changed here is put aside.

        Args:
            there: what is there, by path below the folder.
            mine: which files stay as they are, where they were changed here too; by default none.
        """
        before = set(self.known)
        for path in before.difference(there):
            if not self.known.changed_here(path):
                (self.folder / path).unlink(missing_ok=True)
            elif not (mine and mine(path)):
                self.put_aside([path])
            self.known.forget(path)
        changed = not before.issubset(there)
        for path in sorted(there, key=lambda path: (path == STATE, path)):
            other = self.known.changed_there(path, there[path])
            if other and not (mine and self.known.changed_here(path) and mine(path)):
                changed |= self.receive(path, there[path])
        if changed:
            self.known.save()

    def put_aside(self, paths: Iterable[str]) -> None:
        """Move files that the mirror has lost out of the way, into a folder beside them that is not mirrored."""
        kept = self.folder / f".deleted-{time.strftime('%Y%m%d-%H%M%S')}"
        for path in paths:
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.folder / path).replace(kept / path)
        if kept.exists():
            logger.warning("%s/%s: was deleted; what is here of it is now in %s", self.remote.shown, self.prefix, kept)

    def receive(self, path: str, stamp: Stamp) -> bool:
        """Read one file; a reader here sees the old one or the new one. False if it is gone there."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            if not self.remote.download(self.at(path), temporary):
                return False
            here = stamp_of(temporary)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        self.known.same(path, here or (0, 0), stamp, read=True)
        return True

    def _send(self, path: str) -> bool:
        try:
            content = (self.folder / path).read_bytes()
        except FileNotFoundError:
            return False
        self.remote.write(self.at(path), content)
        return True
