"""A run that is trained here and mirrored behind a URI.

Before it starts, what another machine has done of it is read. While it is trained, a thread writes what is new every
few seconds, the latest state only, and training never waits for it. At its end the rest is written, with patience.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eqbench import stopping
from eqbench.errors import EnvironmentProblem, EqbenchError
from eqbench.origin import folder_of
from eqbench.run_folder import RunFolder
from eqbench.storage import suite_mirror
from eqbench.storage.place import below, place, place_of
from eqbench.storage.run_mirror import RunMirror, Superseded

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_PUSHES = 5.0
MINUTES_OF_PATIENCE = 30.0
"""For a store that refuses writes when a run is at its end."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
PATIENCE_FOR_A_CHECKPOINT = 1800.0


class NotMirrored(EnvironmentProblem):
    """A run has ended, and what is behind the URI could not be written."""


def for_workers(suite: Path) -> dict[str, str]:
    """What a worker on another machine needs to find its run; nothing where storage is a shared folder."""
    found = place_of(suite)
    return {} if found is None or found.uri is None else {"storage": found.uri, "storage_root": str(found.local)}


def run_here(config: Mapping[str, Any]) -> RunFolder:
    """The run of a trial's configuration, in this machine's folder, with what the driver has planned."""
    run = Path(config["run"])
    if "storage" in config:
        here = place(config["storage"])
        run = here.local / run.relative_to(config["storage_root"])
        suite_mirror.fetch_planned(run)
    return RunFolder(run)


def scratch(suite: Path) -> str:
    """A folder for what Ray writes while it works on a suite, which all machines see."""
    found = place_of(suite)
    if found is None or found.uri is None:
        return str(suite / ".ray")
    return below(found.uri, f"{suite.relative_to(found.local).as_posix()}/.ray")


def remove_scratch(suite: Path) -> None:
    """Remove that folder."""
    import shutil

    found = place_of(suite)
    if found is not None and (remote := found.remote) is not None:
        with contextlib.suppress(EnvironmentProblem):
            remote.delete_folder(f"{suite.relative_to(found.local).as_posix()}/.ray")
    shutil.rmtree(suite / ".ray", ignore_errors=True)


@contextlib.contextmanager
def mirrored(run: RunFolder, first: bool = True) -> Iterator[dict[str, str]]:
    """Mirror what happens to a run meanwhile; for its first worker, which holds its lock, and for the others.

    Gives what is filled on leaving where the rest could not be written, which this folder has then: `failure`, with an
    empty `traceback`.
    """
    unwritten: dict[str, str] = {}
    mirror = suite_mirror.mirror_of(run.path)
    if mirror is not None and (origin := run.read_spec().origin):
        fetch_origin(folder_of(origin, run.path.parent.parent).path)
    if mirror is None or not first:
        yield unwritten
        return
    mirror.fetch()
    mirror.fetch_checkpoint()
    stopping.clear(run)
    mirror.push_mark()
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
        pusher.finish(60 * MINUTES_OF_PATIENCE)
    except NotMirrored as error:
        unwritten.update(failure=str(error), traceback="")


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

    def finish(self, patience: float) -> None:
        """Write all the rest; again and again for `patience` seconds where the store refuses.

        Raises:
            NotMirrored: it could not be written.
        """
        self.stop()
        deadline, pause = time.monotonic() + patience, FIRST_PAUSE
        while True:
            if self._stopped():
                self.push_records()
                return
            try:
                self._mirror.push(ending=True)
                return
            except Superseded as error:
                raise NotMirrored(str(error)) from error
            except (EnvironmentProblem, OSError) as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    detail = f"tried for {patience / 60:g} min; all of it is in {self._run.path}"
                    raise NotMirrored(f"{error}; {detail}") from error
                logger.warning("%s; the run is complete here, trying for %.0f more minutes", error, left / 60)
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)

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
            except (EnvironmentProblem, OSError) as error:
                if not said:
                    logger.warning("%s; training goes on, and all is written once it is possible", error)
                said = True


def fetch_checkpoint(folder: Path, iteration: int, patience: float = PATIENCE_FOR_A_CHECKPOINT) -> None:
    """For the other workers, on machines of their own: the checkpoint that the first worker goes on from."""
    run = folder.parent
    mirror = suite_mirror.mirror_of(run)
    deadline = time.monotonic() + patience
    while mirror is not None and not (folder / f"{iteration:09d}").exists() and time.monotonic() < deadline:
        if not mirror.read_checkpoint(iteration):
            time.sleep(1.0)


def fetch_origin(run: Path) -> None:
    """Read what a run that others start from has recorded, and its newest checkpoint."""
    if place_of(run) is None:
        return
    with suite_mirror.held(run, patience=PATIENCE_FOR_A_CHECKPOINT) as mirror:
        if mirror is not None:
            mirror.fetch()
            mirror.fetch_checkpoint()
