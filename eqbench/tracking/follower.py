"""A thread of the driver that keeps MLflow level with the runs in progress."""

from __future__ import annotations

import threading
from types import TracebackType

from eqbench.run_folder import RunFolder
from eqbench.tracking.null import NullTracker
from eqbench.tracking.tracker import Tracker

INTERVAL_SECONDS = 5.0


class Follower:
    """Sends a changing set of runs every `interval` seconds, and everything once more when it ends.

    The driver says with `follow` that a run has started and with `ended` that it is over; neither waits for MLflow.
    """

    def __init__(self, tracker: Tracker | NullTracker, interval: float = INTERVAL_SECONDS) -> None:
        self._tracker = tracker
        self._interval = interval
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._running: dict[str, RunFolder] = {}
        self._ended: dict[str, RunFolder] = {}
        self._cleaned = False
        self._thread = threading.Thread(target=self._work, name="eqbench-mlflow", daemon=True)

    def follow(self, run: RunFolder) -> None:
        """Start to send a run."""
        with self._guard:
            self._ended.pop(run.run_id, None)
            self._running[run.run_id] = run

    def ended(self, run: RunFolder) -> None:
        """Send the end of a run, until MLflow has it."""
        with self._guard:
            self._running.pop(run.run_id, None)
            self._ended[run.run_id] = run

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            self._pass()
            if self._stop.wait(self._interval):
                break
        with self._guard:
            self._ended.update(self._running)
            self._running.clear()
        self._pass()

    def _pass(self) -> None:
        """Send everything once; stop at the first sign that the store does not answer."""
        if not self._tracker.level() and not self._tracker.reachable:
            return
        with self._guard:
            work = [(run, True) for run in self._running.values()] + [(run, False) for run in self._ended.values()]
        for run, running in work:
            if self._tracker.send(run, running):
                self._done(run, running)
            elif not self._tracker.reachable:
                return
        if not self._cleaned:
            with self._guard:
                active = set(self._running)
            self._cleaned = self._tracker.end_stale(active)

    def _done(self, run: RunFolder, running: bool) -> None:
        with self._guard:
            if not running and self._ended.get(run.run_id) is run:
                del self._ended[run.run_id]
