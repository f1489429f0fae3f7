"""The folder of a run and its mirror.

A run's mirror holds, at any moment, a state that the run can go on from: what was recorded is there before the
checkpoint that it led to, a checkpoint's manifest is written after its state, older checkpoints go after that, and
`result.json` comes last of all. A mirror that another machine has trained on (its `state.json` tells of a start that
what is here does not go on from) replaces what is here. What was deleted there is put aside here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from eqbench import stopping
from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import RunFolder
from eqbench.storage.checkpoint_files import (
    CHECKPOINTS,
    MANIFEST,
    complete,
    digest,
    files_of,
    is_intact,
    iterations,
    name_of,
    number_in,
    parsed,
)
from eqbench.storage.known_files import Start
from eqbench.storage.mirror import EVENTS, STATE, Mirror
from eqbench.storage.remote import Remote, Stamp

RESULT, MARK = "result.json", stopping.FILE
NEWEST = "mirrored."
"""In the folder of checkpoints, a file so called and the iteration of the newest one behind the URI."""
PLANNED = ("run.yaml", "tags.json")
NOTED = (*PLANNED, "synced.json", "params.json")
"""Written by the driver, and by nobody else."""
ENDING = (RESULT, "error.txt", MARK)
KEEP = 2
NO_START: Start = (0, 0.0)


class Superseded(EnvironmentProblem):
    """Another machine has started the run again."""


class RunMirror(Mirror):
    """A run's folder and its mirror. Only for the holder of the run's lock."""

    def __init__(self, folder: Path, remote: Remote, prefix: str) -> None:
        super().__init__(folder, remote, prefix, frozenset({CHECKPOINTS}))
        self.checkpoints = folder / CHECKPOINTS

    # -- from there to here --------------------------------------------------------------------------------------

    def fetch(self, there: Mapping[str, Stamp] | None = None) -> None:
        """Make the folder what the mirror is, without checkpoints; what this machine has added to it stays.

        Args:
            there: what is below the folder behind the URI, by path; asked for by default.
        """
        there = self.listed() if there is None else there
        files = {path: stamp for path, stamp in there.items() if not path.startswith(f"{CHECKPOINTS}/")}
        self.known.checkpoints = {each: self.known.checkpoints.get(each, "") for each in complete(there)}
        if STATE in self.known and STATE not in files:
            self._put_all_aside()
        replaced = MARK in files and self.known.changed_there(MARK, files[MARK])  # what came after the stop is void
        if STATE in files and self.known.changed_there(STATE, files[STATE]):
            start = self._start_there()
            if start not in (*self.known.starts, self._start_here()):
                replaced, self.known.starts = True, []
            if start not in self.known.starts:
                self.known.starts.append(start)
        if replaced:
            self._drop(files)
        self.fetch_files(files, lambda path: path in NOTED or not (replaced or self._finished_there(path)))
        self._note_newest()
        self.known.save()

    def fetch_checkpoint(self) -> None:
        """After `fetch`: read the newest intact checkpoint, unless it or a newer one is here."""
        for iteration in sorted(self.known.checkpoints, reverse=True):
            here = self.checkpoints / name_of(iteration)
            if max(iterations(self.checkpoints), default=0) > iteration or is_intact(here):
                return
            shutil.rmtree(here, ignore_errors=True)
            if self.read_checkpoint(iteration):
                return

    def read_checkpoint(self, iteration: int) -> bool:
        """Read a checkpoint; False if it is not there or not intact."""
        final = self.checkpoints / name_of(iteration)
        there = self.at(f"{CHECKPOINTS}/{final.name}")
        manifest = self.remote.read(f"{there}/{MANIFEST}")
        if not manifest:
            return False
        temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            for name in files_of(manifest):
                if not self.remote.download(f"{there}/{name}", temporary / name):
                    return False
            (temporary / MANIFEST).write_bytes(manifest)
            if not is_intact(temporary):
                return False
            with contextlib.suppress(OSError):  # another worker on this machine has read it meanwhile
                temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.known.checkpoints[iteration] = digest(manifest)
        return True

    def _drop(self, there: Mapping[str, Stamp]) -> None:
        """Remove what only this machine has, of a start that is not the mirror's."""
        present = self.known.here()
        for path in set(present).union(self.known).difference(NOTED, (STATE,)):
            if path not in there:
                (self.folder / path).unlink(missing_ok=True)
            elif path not in present or self.known.changed_here(path):
                self.known.forget(path)  # to be read again, whether it has changed there or not
        self.known.checkpoints = dict.fromkeys(self.known.checkpoints, "")
        for iteration in iterations(self.checkpoints):
            at = f"{CHECKPOINTS}/{name_of(iteration)}"
            manifest = self.remote.read(self.at(f"{at}/{MANIFEST}")) if iteration in self.known.checkpoints else None
            here = self.folder / at / MANIFEST
            if not manifest or not here.exists() or here.read_bytes() != manifest:
                shutil.rmtree(self.folder / at, ignore_errors=True)

    def _put_all_aside(self) -> None:
        """Begin with nothing, but for what the driver has planned since."""
        checkpoints = [path.relative_to(self.folder).as_posix() for path in self.checkpoints.glob("[0-9]*/*")]
        planned = [path for path in PLANNED if self.known.changed_here(path)]
        self.put_aside(path for path in [*self.known.here(), *checkpoints] if path not in planned)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.known.starts = []

    def _finished_there(self, path: str) -> bool:
        """Whether this is the result of a run that has finished, by its mirror, which is right then."""
        return path == RESULT and parsed(self.remote.read(self.at(RESULT))).get("status") == "finished"

    # -- from here to there --------------------------------------------------------------------------------------

    def push(self, ending: bool, checkpoints: bool = True) -> None:
        """Bring the mirror level with the folder.

        Args:
            ending: the result too, if there is one.
            checkpoints: the newest one too.

        Raises:
            RemoteProblem: it cannot be written; what has been written does no harm.
            Superseded: another machine has started the run again.
        """
        with contextlib.ExitStack() as opened:
            newest = self._newest(opened) if checkpoints else None  # held open: training may remove it meanwhile
            here = self.known.here()
            held_back = {MARK} if ending else {MARK, RESULT}
            waiting = {path for path in here if self.known.changed_here(path)} - held_back
            if newest is None and not waiting and set(self.known) <= set(here):
                return
            self._check_start()
            self.push_files(lambda path: path in ENDING and path not in here)  # how the start before has ended
            self._push_start()
            if EVENTS in waiting:
                self._delete_checkpoints(after=self._reached())
            self.push_files(lambda path: path not in (MARK, RESULT))
            if newest is not None:
                self._push_checkpoint(*newest)
            if ending:
                self.push_files(lambda path: path != MARK)
            self.known.save()

    def push_stopped(self) -> None:
        """After the driver has dropped what came after a stop: the mirror too forgets it."""
        self.push_mark()
        self.push(ending=True)
        for path in set(self.listed()).difference(self.known):
            if not path.startswith(f"{CHECKPOINTS}/"):
                self.remote.delete(self.at(path))

    def push_notes(self) -> None:
        """Write only what the driver writes."""
        self.push_files(lambda path: path in NOTED)

    def push_mark(self) -> None:
        """Write or delete the mark that tells the run's workers to stop."""
        self.push_files(lambda path: path == MARK)

    @property
    def marked(self) -> bool:
        """Whether the driver has stopped the run."""
        return bool(self.remote.stamps([self.at(MARK)]))

    def _push_start(self) -> None:
        if (own := self._start_here()) not in self.known.starts:
            self.known.starts.append(own)
            self.known.save()  # before it can be there
        self.push_files(lambda path: path == STATE)

    def _check_start(self) -> None:
        there = self._start_there()
        if there == NO_START:
            self.check_storage()
            if STATE in self.known:
                self.known.forget_all()  # the run was deleted there: all of it is written again
        elif there not in (*self.known.starts, self._start_here()):
            raise Superseded(f"{self.remote.shown}/{self.prefix}: another machine has started this run again")

    def _push_checkpoint(self, iteration: int, manifest: bytes, files: Mapping[str, IO[bytes]]) -> None:
        folder = self.at(f"{CHECKPOINTS}/{name_of(iteration)}")
        if self.known.checkpoints.pop(iteration, None) is not None:
            self.remote.delete(f"{folder}/{MANIFEST}")
        for name, file in files.items():
            self.remote.upload(f"{folder}/{name}", file)
        if self.marked:
            return  # it may be from after the stop
        self.remote.write(f"{folder}/{MANIFEST}", manifest)
        self.known.checkpoints[iteration] = digest(manifest)
        kept = sorted(self.known.checkpoints)[-KEEP:]
        for old in set(self.known.checkpoints).difference(kept):
            self._delete_checkpoint(old)
        self._note_newest()

    def _reached(self) -> int:
        """How far training is known to have come: its last record, or a checkpoint after it that is the same there."""
        same = [each for each, known in self.known.checkpoints.items() if known and known == self._digest_here(each)]
        return max(_last_iteration(self.folder), *same, 0)

    def _digest_here(self, iteration: int) -> str:
        with contextlib.suppress(FileNotFoundError):
            return digest((self.checkpoints / name_of(iteration) / MANIFEST).read_bytes())
        return ""

    def _delete_checkpoints(self, after: int) -> None:
        """Those that training has gone back behind."""
        for iteration in [each for each in self.known.checkpoints if each > after]:
            self._delete_checkpoint(iteration)

    def _delete_checkpoint(self, iteration: int) -> None:
        folder = self.at(f"{CHECKPOINTS}/{name_of(iteration)}")
        self.remote.delete(f"{folder}/{MANIFEST}")
        self.remote.delete_folder(folder)
        self.known.checkpoints.pop(iteration, None)

    def _newest(self, opened: contextlib.ExitStack) -> tuple[int, bytes, dict[str, IO[bytes]]] | None:
        """The newest checkpoint here, if the mirror lacks it: its manifest, its files opened."""
        for iteration in reversed(iterations(self.checkpoints)):
            folder = self.checkpoints / name_of(iteration)
            with contextlib.suppress(FileNotFoundError):  # removed since
                manifest = (folder / MANIFEST).read_bytes()
                if self.known.checkpoints.get(iteration) == "":
                    there = self.remote.read(self.at(f"{CHECKPOINTS}/{folder.name}/{MANIFEST}"))
                    self.known.checkpoints[iteration] = digest(there or b"")
                if self.known.checkpoints.get(iteration) == digest(manifest):
                    return None
                names = files_of(manifest)
                return iteration, manifest, {name: opened.enter_context((folder / name).open("rb")) for name in names}
        return None

    def _note_newest(self) -> None:
        note = self.checkpoints / f"{NEWEST}{name_of(max(self.known.checkpoints, default=0))}"
        for old in set(self.checkpoints.glob(f"{NEWEST}*")) - {note}:
            old.unlink(missing_ok=True)
        if self.known.checkpoints:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            note.touch()

    def _start_here(self) -> Start:
        file = self.folder / STATE
        return _start(file.read_bytes() if file.exists() else None)

    def _start_there(self) -> Start:
        return _start(self.remote.read(self.at(STATE)))


def _start(content: bytes | None) -> Start:
    """Number and time of a start, by `state.json`; `NO_START` where that does not say."""
    state = parsed(content)
    return int(number_in(state, "attempt")), number_in(state, "started")


def _last_iteration(folder: Path) -> int:
    return max((event["iteration"] for event in RunFolder(folder).read_events(newest_bytes=65536)), default=0)
