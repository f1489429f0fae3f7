"""Brings MLflow level with the folder of a suite. The driver process is the only writer of MLflow.

What is on disk is the truth. Every operation asks MLflow what it has, once, and writes what is missing; so after a
crash, a server that was down, or a run that was continued, the same call completes what is there without repeating it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import board, child, marker, parent, problem, schema, views
from eqbench.tracking import invocation as invocations
from eqbench.tracking.invocation import Invocation
from eqbench.tracking.lifetime import read_json, started_ms, was_started
from eqbench.tracking.problem import FilesRefused
from eqbench.tracking.store import Experiment, TrackedRun
from eqbench.tracking.uploads import Uploads
from eqbench.tracking.uri import public


class Tracker:
    """MLflow for one suite.

    No method raises because MLflow is down: `behind` then says why, and the next call tries again. Each attempt ends
    within seconds (`store.REQUEST_LIMITS`). Safe to use from several threads; `open` and `adopt` never wait for one
    that is waiting for MLflow. Where only the artifact store refuses, everything else is sent.
    """

    def __init__(self, uri: str, folder: SuiteFolder) -> None:
        self.uri = uri
        self.folder = folder
        self.reachable = True
        self._lock = threading.RLock()
        self._reasons: dict[str, str] = {}
        self._invocations = invocations.invocations_in(folder)
        self._current: Invocation | None = None
        self._experiment: Experiment | None = None
        self._known: dict[str, TrackedRun] = {}
        self._listed = False
        self._events: dict[str, tuple[int, int]] = {}
        self._uploads = Uploads()
        self._without_files: set[str] = set()

    @property
    def behind(self) -> str | None:
        """Why MLflow does not have everything, or None."""
        return next(iter(self.reasons), None)

    @property
    def reasons(self) -> list[str]:
        """Why the parent runs or a run could not be brought level, each reason once."""
        return list(dict.fromkeys(list(self._reasons.values())))

    def open(self, description: str = "", command: str = "", run_ids: Sequence[str] | None = None) -> None:
        """Record on disk that an `eqbench run` begins, for the holder of the suite's lock.

        Takes no time: the parent run appears in MLflow with the next `level` or `send`. Its children are `run_ids`,
        by default what is not finished of the plan; nothing is recorded when there are none.
        """
        invocations.end_stale(self.folder)
        if run_ids is None:
            run_ids = [run_id for run_id in self.folder.read_plan() if not self.folder.run(run_id).finished]
        self._current = invocations.start(
            self.folder, run_ids, tracking_uri=public(self.uri), command=command, description=description
        )
        self._invocations = invocations.invocations_in(self.folder)

    def close(self, status: str) -> bool:
        """Record how the `eqbench run` ended, FINISHED, FAILED or KILLED (then without figures), end its parent run."""
        if self._current is None:
            return True
        board.write(self.folder, self._current, drawn=status != "KILLED")
        ended = invocations.end(self._current, self.folder, status=status)
        self._replace(ended)
        self._current = None
        level = self.level()
        for run_id in [run_id for run_id in ended.run_ids if run_id in self._reasons]:  # MLflow may be back since
            level = self.reachable and self.send(self.folder.run(run_id), running=False) and level
        return level and self.write_views()

    def adopt(self, run_ids: Sequence[str]) -> None:
        """Add children to the `eqbench run` that was begun."""
        if self._current is not None:
            self._current = invocations.extend(self._current, run_ids)
            self._replace(self._current)

    def write_views(self) -> bool:
        """Keep the suite's views in its experiment; whether they are."""
        return self._attempt("views", self._write_views)

    def _write_views(self) -> None:
        views.write(self._store.client, self._store.experiment_id, self.folder)

    def _replace(self, new: Invocation) -> None:
        """Without the lock, which is held as long as MLflow takes to answer: only the driver's thread does this."""
        self._invocations = [new if old.invocation_id == new.invocation_id else old for old in self._invocations]

    def level(self, *, everywhere: bool = False) -> bool:
        """Bring the parent runs of this store level, or those tracked elsewhere too; whether they are.

        An artifact store that refused files is tried again from here on.
        """
        self._uploads.retry()
        return self._attempt("suite", lambda: self._send_invocations(everywhere))

    def send(self, run: RunFolder, running: bool) -> bool:
        """Bring one run level; whether it is. With `running` false it is ended as its result says, else KILLED."""

        def action() -> None:
            if running or not self.is_level(run):
                self._send(run, running)

        if not running and self._uploads.refusal and run.run_id in self._without_files:
            return False
        return self._attempt(run.run_id, action)

    def list_runs(self) -> bool:
        """Ask once for everything MLflow has of this suite, before many `send`; whether it answered."""
        return self._attempt("suite", self._list)

    def is_level(self, run: RunFolder) -> bool:
        """Whether MLflow has everything of a run that has ended."""
        return self._marked(run.path, run.run_id, self._fingerprint(run))

    def stale(self, active: Collection[str] = ()) -> list[TrackedRun]:
        """Runs and parent runs of this folder that are RUNNING in MLflow, though not on disk and not in `active`."""
        found: list[TrackedRun] = []
        self._attempt("suite", lambda: found.extend(self._stale(active)))
        return found

    def running(self) -> list[TrackedRun]:
        """Everything of the suite that is RUNNING in MLflow."""
        found: list[TrackedRun] = []
        self._attempt("suite", lambda: found.extend(self._store.search("attributes.status = 'RUNNING'")))
        return found

    def end_stale(self, active: Collection[str] = ()) -> bool:
        """End the `stale` runs as KILLED, or as their result says; whether all are."""
        ended = [self._attempt(run.run_id, partial(self._end, run)) for run in self.stale(active)]
        return self.reachable and all(ended)

    # -- one attempt ---------------------------------------------------------------------------------------------

    def _attempt(self, key: str, action: Callable[[], None]) -> bool:
        with self._lock:
            self._without_files.discard(key)
            try:
                action()
            except Exception as error:
                self.reachable = problem.store_answers(error)
                self._reasons[key] = problem.describe(error, self.uri)
                if isinstance(error, FilesRefused):
                    self._without_files.add(key)
                else:
                    self._forget()
                return False
            self.reachable = True
            self._reasons.pop(key, None)
            return True

    def _forget(self) -> None:
        """A request that failed may have been carried out: what MLflow has must be asked again."""
        self._experiment = None
        self._known.clear()
        self._events.clear()
        self._listed = False

    @property
    def _store(self) -> Experiment:
        if self._experiment is None:
            self._experiment = Experiment(self.uri, self.folder.suite)
        return self._experiment

    def _list(self) -> None:
        self._known.clear()
        for run in self._store.search():
            self._known.setdefault(run.run_id, run)
        self._listed = True

    def _find(self, run_id: str) -> TrackedRun | None:
        if run_id not in self._known and not self._listed:
            found = self._store.find(run_id)
            if found is not None:
                self._known[run_id] = found
        return self._known.get(run_id)

    def _create(self, run_id: str, name: str, tags: Mapping[str, str], started_ms: int) -> TrackedRun:
        self._known[run_id] = self._store.create(name, tags, started_ms)
        return self._known[run_id]

    def _marked(self, folder: Path, run_id: str, fingerprint: str) -> bool:
        entry = marker.read(folder, self.uri)
        if entry is None or entry[1] != fingerprint:
            return False
        known = self._known.get(run_id)
        if not self._listed:
            return True
        return known is not None and known.mlflow_id == entry[0] and known.status != "RUNNING"

    # -- runs ----------------------------------------------------------------------------------------------------

    def _send(self, run: RunFolder, running: bool) -> None:
        result = None if running else run.read_result()
        if not running and result is None and not was_started(run) and self._find(run.run_id) is None:
            return
        spec = run.read_spec()
        invocation = self._invocation_of(run.run_id)
        parent_id = self._parent(invocation).mlflow_id if invocation else None
        tags = schema.tags(spec, result, running=running, attempts=run.attempts, parent=parent_id)
        tags |= schema.tag_values(read_json(run.path / "tags.json"))
        tracked = self._find(run.run_id) or self._create(run.run_id, spec.name, tags, started_ms(run))
        tracked.set_name(spec.name)
        tracked.set_params(schema.params(spec))
        child.add_data(run, spec, tracked, final=not running)
        if running:
            tracked.set_running()
            tracked.set_tags(tags)
            self._send_events(run, tracked)
        else:
            fingerprint = self._fingerprint(run)
            self._send_events(run, tracked)
            child.finish(run, result, tracked, tags, self._uploads)
            marker.write(run.path, self.uri, tracked.mlflow_id, fingerprint)

    def _send_events(self, run: RunFolder, tracked: TrackedRun) -> None:
        if not run.events_file.exists():
            return
        stat = run.events_file.stat()
        seen = (stat.st_size, stat.st_mtime_ns)
        if self._events.get(run.run_id) != seen:
            child.add_events(run, tracked)
            self._events[run.run_id] = seen

    def _fingerprint(self, run: RunFolder) -> str:
        invocation = self._invocation_of(run.run_id)
        files = (run.spec_file, run.state_file, run.events_file, run.result_file, run.path / "tags.json")
        return marker.fingerprint(files, schema.VERSION, invocation.invocation_id if invocation else "")

    # -- parent runs ---------------------------------------------------------------------------------------------

    def _invocation_of(self, run_id: str) -> Invocation | None:
        """The last `eqbench run` that had this run to train."""
        return next((known for known in reversed(self._invocations) if run_id in known.run_ids), None)

    def _send_invocations(self, everywhere: bool) -> None:
        for known in self._invocations:
            if (everywhere or known.tracking_uri == public(self.uri)) and not self._invocation_is_level(known):
                self._send_invocation(known)

    def _parent(self, invocation: Invocation) -> TrackedRun:
        """The parent run, created if it is not there."""
        tracked = self._find(invocation.invocation_id)
        if tracked is None:
            tracked = parent.create(self._store, invocation, self._uploads)
            self._known[invocation.invocation_id] = tracked
        return tracked

    def _send_invocation(self, invocation: Invocation) -> None:
        """The parent run, created or ended when that is still to be done."""
        tracked = self._parent(invocation)
        if invocation.ended is None or invocation.status is None:
            return
        if tracked.status != invocation.status or not self._invocation_is_level(invocation):
            if invocation is self._last_ended() and board.is_missing(invocation):
                board.write(self.folder, invocation)
            parent.end(invocation, tracked, invocation.status, invocation.ended, self._uploads)
            marker.write(invocation.path, self.uri, tracked.mlflow_id, self._invocation_fingerprint(invocation))

    def _last_ended(self) -> Invocation | None:
        """The one whose leaderboard is that of today, should it have been killed before it made one."""
        return next((known for known in reversed(self._invocations) if known.status is not None), None)

    def _invocation_is_level(self, known: Invocation) -> bool:
        return self._marked(known.path, known.invocation_id, self._invocation_fingerprint(known))

    def _invocation_fingerprint(self, known: Invocation) -> str:
        return marker.fingerprint([known.file], schema.VERSION)

    def _stale(self, active: Collection[str]) -> list[TrackedRun]:
        ended = {known.invocation_id for known in self._invocations if known.status is not None}
        return [
            run
            for run in self._store.search("attributes.status = 'RUNNING'")
            if run.run_id not in active
            and (run.run_id in ended if run.kind == "suite" else self.folder.run(run.run_id).spec_file.exists())
        ]

    def _end(self, tracked: TrackedRun) -> None:
        self._known[tracked.run_id] = tracked
        if tracked.kind == "suite":
            for known in self._invocations:
                if known.invocation_id == tracked.run_id:
                    self._send_invocation(known)
        else:
            self._send(self.folder.run(tracked.run_id), running=False)
