"""The driver of a suite behind a URI: it has the lease, follows the runs in progress, and writes what it decides."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.errors import EqbenchError
from eqbench.storage import suite_mirror, training
from eqbench.storage.lease import FILE as LEASE_FILE
from eqbench.storage.lease import Lease, holder_of, refuse_other
from eqbench.storage.place import located, place_of

if TYPE_CHECKING:
    from eqbench.run_folder import RunFolder
    from eqbench.run_spec import RunSpec

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 5.0


class Following:
    """A thread that keeps a changing set of runs level with their mirrors, as far as they are trained elsewhere."""

    def __init__(self) -> None:
        self._runs: set[Path] = set()
        self._unread: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="eqbench-mirror", daemon=True)

    def add(self, run: Path) -> None:
        self._runs.add(run)

    def remove(self, run: Path) -> None:
        self._runs.discard(run)
        self._unread.discard(run)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            for run in list(self._runs):
                if self._stop.is_set():
                    return
                self._look(run)

    def _look(self, run: Path) -> None:
        """Read what has changed of a run; that it cannot be read is said once."""
        try:
            suite_mirror.fetch_run(run)
            self._unread.discard(run)
        except Exception as error:
            if not self._unread:
                logger.warning("%s: %s; looking again", type(error).__name__, error)
            self._unread.add(run)


@contextlib.contextmanager
def following(run: Path) -> Iterator[None]:
    """Keep what is here of a run level with its mirror, where it has one."""
    if place_of(run) is None:
        yield
        return
    with Following() as thread:
        thread.add(run)
        yield
    with contextlib.suppress(EqbenchError, OSError):
        suite_mirror.fetch_run(run, suite_mirror.PATIENCE_SECONDS)


class Driving:
    """A watcher of the runs of a suite (`eqbench.announcer.Watcher`), before all others; this one has no URI."""

    def started(self, run: RunFolder, spec: RunSpec) -> None: ...

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None: ...


class DrivingMirror(Driving):
    """Keeps runs in progress, and what became of them, level with the mirror."""

    def __init__(self, lease: Lease, following: Following) -> None:
        self._lease = lease
        self._following = following

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self._lease.check()
        self._following.add(run.path)

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None:
        self._lease.check()

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._following.remove(run.path)
        if not self._lease.lost:
            suite_mirror.try_to_settle(run.path)


@contextlib.contextmanager
def driving(suite: Path) -> Iterator[Driving]:
    """Drive the suite whose folder's lock is held; what its mirror has is read before, what changed is written after.

    Raises:
        EnvironmentProblem: another machine drives it, or does since; or the place behind the URI cannot be written.
    """
    if (there := located(suite)) is None:
        training.remove_leftovers(suite)
        yield Driving()
        return
    lease = Lease(*there, suite)
    lease.acquire()
    try:
        training.remove_leftovers(suite)
        suite_mirror.fetch_suite(suite)
        try:
            with Following() as following:
                yield DrivingMirror(lease, following)
        except Exception:
            lease.check()  # Ray Tune makes an error of its own of what a watcher raises
            raise
        else:
            lease.check()
        finally:
            if not lease.lost:
                _publish(suite)
    finally:
        lease.release()


def _publish(suite: Path) -> None:
    try:
        suite_mirror.publish(suite, suite_mirror.runs_in(suite))
    except (EqbenchError, OSError) as error:
        logger.warning("%s: not level with its mirror (%s); running again writes the rest", suite, error)


def holder(suite: Path) -> str:
    """Which process of another machine works on a suite behind a URI; empty: none."""
    if (there := located(suite)) is None:
        return ""
    remote, prefix = there
    return holder_of(remote, f"{prefix}/{LEASE_FILE}", suite)


def refuse_driver_elsewhere(suite: Path) -> None:
    """That no process of another machine works on a suite behind a URI.

    Raises:
        EnvironmentProblem: one does, or the place behind the URI cannot be written.
    """
    if there := located(suite):
        refuse_other(*there, suite)
