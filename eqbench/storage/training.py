"""A run that is trained here and mirrored behind a URI.

Before it starts, what another machine has done of it is read, with patience. While it is trained, a thread writes what
is new every few seconds, the latest state only, and training never waits for it. At its end the rest is written, with
patience again.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from eqbench import file_lock, stopping
from eqbench.errors import EnvironmentProblem, EqbenchError
from eqbench.origin import folder_of
from eqbench.run_folder import RunFolder
from eqbench.storage import suite_mirror
from eqbench.storage.checkpoint_files import CHECKPOINTS, MANIFEST, digest, is_intact, name_of
from eqbench.storage.mirror import STATE
from eqbench.storage.place import below, located, place, place_of, uri_of
from eqbench.storage.run_mirror import RunMirror, Superseded

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
SECONDS_BETWEEN_PUSHES = 5.0
MINUTES_OF_PATIENCE = 30.0
"""For a store that does not answer when a run begins, or refuses writes when it is at its end."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
PATIENCE_FOR_A_CHECKPOINT = 1800.0
SCRATCH = ".ray"


class NotMirrored(EnvironmentProblem):
    """What is behind the URI could not be read, or not be written, for as long as there was patience."""


def patiently(act: Callable[[], Answer], kept: Path | None = None) -> Answer:
    """Do what needs the store; again and again for `MINUTES_OF_PATIENCE` while it does not answer.

    Args:
        kept: where all that is to be written is meanwhile. Without, a store that denies access is not asked again.

    Raises:
        NotMirrored: it has not become possible.
        Superseded: another machine has started the run again.
    """
    deadline, pause = monotonic() + 60 * MINUTES_OF_PATIENCE, FIRST_PAUSE
    while True:
        try:
            return act()
        except Superseded:
            raise
        except (EnvironmentProblem, OSError) as error:
            left = deadline - monotonic()
            if left <= 0 or (kept is None and isinstance(error.__cause__, PermissionError)):
                tried = f"; tried for {MINUTES_OF_PATIENCE:g} min" if left <= 0 else ""
                where = f"; all of it is in {kept}" if kept else ""
                raise NotMirrored(f"{error}{tried}{where}") from error
            logger.warning("%s; trying for %.0f more minutes", error, left / 60)
        sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)


def for_workers(suite: Path) -> dict[str, str]:
    """What a worker on another machine needs to find its run; nothing where storage is a shared folder."""
    found = place_of(suite)
    return {} if found is None else {"storage": uri_of(suite), "storage_root": str(found.local)}


def run_here(config: Mapping[str, Any]) -> RunFolder:
    """The run of a trial's configuration, in this machine's folder, with what the driver has planned.

    Raises:
        NotMirrored: that cannot be read.
    """
    run = Path(config["run"])
    if "storage" in config:
        here = place(config["storage"])
        run = here.local / run.relative_to(config["storage_root"])
        patiently(lambda: suite_mirror.fetch_planned(run))
    return RunFolder(run)


@contextlib.contextmanager
def scratch(suite: Path) -> Iterator[str]:
    """A folder for what Ray writes during this call that works on a suite, which all machines see; gone afterwards."""
    name = f"{SCRATCH}/{uuid.uuid4().hex[:12]}"
    there = located(suite)
    try:
        yield str(suite / name) if there is None else below(uri_of(suite), f"{there[1]}/{name}")
    finally:
        _remove(suite, name)


def remove_leftovers(suite: Path) -> None:
    """Remove what killed calls have left of it. Only for a driver that has just got the suite for itself."""
    _remove(suite, SCRATCH)


def _remove(suite: Path, name: str) -> None:
    if there := located(suite):
        remote, prefix = there
        with contextlib.suppress(EnvironmentProblem):
            remote.delete_folder(f"{prefix}/{name}")
        return
    shutil.rmtree(suite / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, or not there
        (suite / SCRATCH).rmdir()


@contextlib.contextmanager
def mirrored(run: RunFolder, first: bool = True) -> Iterator[dict[str, str]]:
    """Mirror what happens to a run meanwhile; for its first worker, which holds its lock, and for the others.

    Gives what is filled on leaving where the rest could not be written, which this folder has then: `failure`, with an
    empty `traceback`.
    """
    unwritten: dict[str, str] = {}
    there = located(run.path)
    if there and (origin := run.read_spec().origin):
        patiently(lambda: fetch_origin(folder_of(origin, run.path.parent.parent).path))
    if there:
        _send_stuck(run, RunMirror(run.path, *there))
    if there is None or not first:
        yield unwritten
        return
    mirror = patiently(lambda: _level(run, RunMirror(run.path, *there)))
    pusher = Pusher(run, mirror, SECONDS_BETWEEN_PUSHES)
    pusher.start()
    try:
        yield unwritten
    except Exception:
        pusher.stop()
        with contextlib.suppress(EqbenchError, OSError):
            mirror.push(ending=False)
        raise
    except BaseException:  # Ray Tune ends the thread of a trial that it stops
        pusher.stop()
        pusher.push_records()
        raise
    try:
        pusher.finish()
    except (NotMirrored, Superseded) as error:
        unwritten.update(failure=str(error), traceback="")


def _send_stuck(run: RunFolder, mirror: RunMirror) -> None:
    """Write where workers stood that were ended on this machine: they could not do it, and other ranks write nothing.

    Not where the mirror knows of no start: then the run was deleted there since.
    """
    from eqbench.supervision import stuck_files

    if not (files := {mirror.at(file.name): file for file in stuck_files(run)}):
        return
    with contextlib.suppress(EnvironmentProblem, OSError):
        mirror.check_storage()
        there = mirror.remote.stamps([mirror.at(STATE), *files])
        for path, file in files.items() if mirror.at(STATE) in there else ():
            if path not in there or there[path][0] != file.stat().st_size:
                mirror.remote.write(path, file.read_bytes())


def _level(run: RunFolder, mirror: RunMirror) -> RunMirror:
    """The mirror, after what another machine has done is read and the mark of a run that was stopped is lifted."""
    mirror.fetch()
    mirror.fetch_checkpoint()
    stopping.clear(run)
    mirror.push_mark()
    return mirror


class Pusher:
    """A thread that writes what is new of a run every few seconds, until the driver stops the run."""

    def __init__(self, run: RunFolder, mirror: RunMirror, seconds: float) -> None:
        self._run = run
        self._mirror = mirror
        self._seconds = seconds
        self._stop = threading.Event()
        self._left = False
        self._thread = threading.Thread(target=self._work, name="eqbench-mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write nothing more; what is being written is completed."""
        self._stop.set()
        self._thread.join()

    def finish(self) -> None:
        """Write all the rest, `patiently`."""
        self.stop()
        patiently(self._rest, kept=self._run.path)

    def _rest(self) -> None:
        if self._stopped():
            self.push_records()
        else:
            self._mirror.push(ending=True)

    def push_records(self) -> None:
        """Write, once, what a driver waits for that has stopped the run; no checkpoint: it may be from after that."""
        done, self._left = self._left, True
        if done:
            return
        with contextlib.suppress(EnvironmentProblem, OSError):
            self._mirror.push(ending=False, checkpoints=False)

    def _stopped(self) -> bool:
        """Whether the driver has stopped the run; it writes the rest then."""
        if stopping.is_marked(self._run):
            return True
        with contextlib.suppress(EnvironmentProblem):
            if self._mirror.marked:
                stopping.mark(self._run, 0)
                return True
        return False

    def _work(self) -> None:
        said = False
        while not self._stop.wait(self._seconds):
            if self._stopped():
                self.push_records()
                return
            try:
                self._mirror.push(ending=False)
                said = False
            except Superseded as error:
                logger.warning("%s", error)
                return
            except Exception as error:
                if not said:
                    kind = type(error).__name__
                    logger.warning("%s: %s; training goes on, and all is written once it is possible", kind, error)
                said = True


def manifest_digest(checkpoint: Path) -> str:
    """Tells a checkpoint from another one of the same iteration; empty where there is none."""
    with contextlib.suppress(OSError):
        return digest((checkpoint / MANIFEST).read_bytes())
    return ""


def fetch_checkpoint(folder: Path, iteration: int, wanted: str, patience: float = PATIENCE_FOR_A_CHECKPOINT) -> None:
    """For the other workers, on machines of their own: the checkpoint that the first worker goes on from.

    One of the same iteration that this machine has from an earlier start is removed.

    Args:
        wanted: its `manifest_digest`.

    Raises:
        EnvironmentProblem: it has not been in the mirror for so many seconds.
    """
    run, here = folder.parent, folder / name_of(iteration)
    if (mirror := suite_mirror.mirror_of(run)) is None:
        return
    manifest = mirror.at(f"{CHECKPOINTS}/{here.name}/{MANIFEST}")
    problem, deadline = "it is not there", monotonic() + patience
    with file_lock.hold(run / ".checkpoint.lock", patience):  # by one of the workers on this machine
        while manifest_digest(here) != wanted or not is_intact(here):
            try:
                if digest(mirror.remote.read(manifest) or b"") == wanted:
                    shutil.rmtree(here, ignore_errors=True)
                    if mirror.read_checkpoint(iteration) and manifest_digest(here) == wanted:
                        return
            except EnvironmentProblem as error:
                problem = str(error)
            if monotonic() > deadline:
                raise EnvironmentProblem(
                    f"{mirror.remote.shown}/{manifest}: no checkpoint that the first worker goes on from within "
                    f"{patience / 60:g} min ({problem}); the machine of that worker must be able to write it there"
                )
            sleep(1.0)


def fetch_origin(run: Path) -> None:
    """Read what a run that others start from has recorded, and its newest checkpoint."""
    if place_of(run) is None:
        return
    with suite_mirror.held(run, patience=PATIENCE_FOR_A_CHECKPOINT) as mirror:
        if mirror is not None:
            mirror.fetch()
            mirror.fetch_checkpoint()
