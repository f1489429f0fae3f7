"""Hands Ray Tune the runs of one trial after another, and tells the search what came of them.

Nothing that has to survive is kept here. A trial is written down before it starts, its results are in the folders of
its runs; a driver that was killed and started again reads both, tells search and scheduler, and goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from eqbench import value_schedule
from eqbench.errors import InputError
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.storage import suite_mirror
from eqbench.sweep import population
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import BASELINE, DEFAULT, Entry, Trial, evaluations
from eqbench.sweep.search import Outcome, Search
from eqbench.trial import report_of
from eqbench.value_schedule import Segment

if TYPE_CHECKING:
    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.population_scheduler import PopulationScheduler
    from eqbench.sweep.schedulers import Stopping
    from eqbench.sweep.space import Value

ENDED = ("finished", "stopped", "failed")
MOST_REPETITIONS = 100
"""Proposals in a row that were made before, after which the space counts as exhausted."""
MOST_FAILURES = 20
"""Proposals in a row that cannot be built, after which the sweep ends."""


class Proposer(Searcher):
    """A search algorithm of Ray Tune, each of whose trials is one run; also a watcher of these runs.

    Args:
        sweep: what is tried.
        folder: where it is written down; locked by this process.
        search: proposes settings.
        scheduler: hears of evaluations of earlier processes.
        config: what every trial of Ray Tune is given beside its run.
        retry_failed: start failed trials again.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: SweepFolder,
        search: Search,
        scheduler: Stopping | PopulationScheduler,
        config: Mapping[str, Any],
        retry_failed: bool = False,
    ) -> None:
        super().__init__()
        self.specs: dict[str, RunSpec] = {}
        """Every run that was handed out, by its path."""
        self.note = ""
        """Why fewer settings than asked for were tried."""
        self._sweep = sweep
        self._folder = folder
        self._search = search
        self._scheduler = scheduler
        self._config = dict(config)
        self._entries: dict[int, Entry] = {}
        self._queue: deque[tuple[Entry, RunSpec]] = deque()
        self._open: dict[int, set[str]] = {}
        self._untold: list[int] = []
        self._twins: dict[int, list[tuple[int, dict[str, Value]]]] = {}
        self._population = sweep.section.scheduler.name == population.NAME
        self._read_earlier(retry_failed)
        if self._population:
            while self._propose():
                pass
            scheduler.expect(folder.run(spec.run_id).path for entry, spec in self._queue if entry.number >= 0)  # type: ignore[union-attr]

    # -- what earlier processes did ------------------------------------------------------------------------------

    def _read_earlier(self, retry_failed: bool) -> None:
        for entry in self._folder.entries(self._sweep.digest):
            self._entries[entry.number] = entry
        for number, kind, specs in (
            (BASELINE, "baseline", self._sweep.baseline_specs()),
            (DEFAULT, "default", self._sweep.default_specs()),
        ):
            if specs and (number not in self._entries or self._entries[number].run_ids != _ids(specs)):
                values = self._sweep.default_values() if number == DEFAULT else {}
                self._add(Entry(self._sweep.digest, number, kind, values, specs[0].loss_label, _ids(specs)))  # type: ignore[arg-type]
        kept = ("finished", "stopped") if retry_failed else ENDED
        for entry in sorted(self._entries.values(), key=lambda entry: entry.number):
            for run_id in entry.run_ids:
                self._replay(run_id, kept)
            if entry.failure or all(self._status(run_id) in kept for run_id in entry.run_ids):
                self._finish(entry.number)
            else:
                self._continue(entry, kept)

    def _continue(self, entry: Entry, kept: Sequence[str]) -> None:
        """Queue what is left of a trial; its runs may have become others, of a version whose identities differ."""
        specs = self._specs_of(entry)
        if entry.run_ids != _ids(specs):
            entry = replace(entry, run_ids=_ids(specs))
            self._add(entry)
        self._queue_runs(entry, specs, kept)

    def _replay(self, run_id: str, kept: Sequence[str]) -> None:
        """Tell the scheduler of a run that has ended and is not started again."""
        run = self._folder.run(run_id)
        if self._status(run_id) in kept:
            spec = run.read_spec()
            self._scheduler.replay(run_id, [report_of(spec, **each) for each in evaluations(run.read_events())])

    def _specs_of(self, entry: Entry) -> list[RunSpec]:
        if entry.number == BASELINE:
            return self._sweep.baseline_specs()
        if entry.number == DEFAULT:
            return self._sweep.default_specs()
        return self._sweep.specs(entry.values, entry.number)

    def _queue_runs(self, entry: Entry, specs: Sequence[RunSpec], kept: Sequence[str] = ENDED) -> None:
        """Let those runs of a trial start that have not ended; tell the search that it is in progress, or its end."""
        todo = [spec for spec in specs if self._status(spec.run_id) not in kept]
        self._folder.plan_runs(entry, specs)
        if not todo:
            self._finish(entry.number)
            return
        if entry.number != BASELINE:
            self._search.running(entry.number, entry.values)
        self._open[entry.number] = {spec.run_id for spec in todo}
        self._queue += [(entry, spec) for spec in todo]
        for spec in specs:
            run = self._folder.run(spec.run_id)
            if spec.population and not value_schedule.read(run):
                value_schedule.append(run, Segment(0, entry.values))

    def _status(self, run_id: str) -> str:
        return str((self._folder.run(run_id).read_result() or {}).get("status", ""))

    @property
    def queued(self) -> list[str]:
        """Ids of the runs that are known to be started; none: there is nothing left to do."""
        if not self._queue and not self._open:
            self._propose()
        return [spec.run_id for _, spec in self._queue]

    # -- Ray Tune asks -------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next run, as a trial's configuration."""
        while not self._queue:
            if self._population and self._open:  # Tune ends the processes of members that wait once there is no more
                return None
            if not self._propose():
                return Searcher.FINISHED
        entry, spec = self._queue.popleft()
        run = self._folder.run(spec.run_id)
        suite_mirror.publish(self._folder.path, [run.path])
        self.specs[str(run.path)] = spec
        self._scheduler.replay(trial_id, [report_of(spec, **each) for each in evaluations(self._kept_events(run))])
        return {**self._config, "run": str(run.path), "protected": entry.number < 0, "number": entry.number}

    def _kept_events(self, run: RunFolder) -> list[dict[str, Any]]:
        """What a run that is continued will not record again."""
        newest = run.newest_checkpoint
        return [event for event in run.read_events() if event["iteration"] <= newest]

    def _propose(self) -> bool:
        """Write down one more setting; False when there are no more."""
        limit = self._sweep.section.trials
        tried = [number for number in self._entries if number >= 0]
        if limit is not None and len(tried) >= limit:
            return False
        number = max(tried, default=-1) + 1
        for attempt in range(number, number + MOST_REPETITIONS):
            values = self._search.ask(attempt)
            if values is None:
                self.note = f"the space has {len(tried)} settings, all were tried"
                return False
            if self._try(attempt, values):
                return self._within_failures()
        self.note = f"the last {MOST_REPETITIONS} proposals had all been made before"
        return False

    def _try(self, number: int, values: dict[str, Value]) -> bool:
        """Write a setting down and queue its runs; False if it was tried before."""
        digest = self._sweep.digest
        try:
            specs = self._sweep.specs(values, number)
        except InputError as error:
            self._add(Entry(digest, number, "proposed", values, self._sweep.swept, failure=str(error)))
            self._finish(number)
            return True
        twin = next((entry for entry in self._entries.values() if entry.run_ids == _ids(specs)), None)
        if twin is not None:
            if twin.number in self._open or twin.number in self._untold:
                self._twins.setdefault(twin.number, []).append((number, values))
            else:
                self._tell(number, values, self._folder.trial(twin))
            return False
        entry = Entry(digest, number, "proposed", values, specs[0].loss_label, _ids(specs))
        self._add(entry)
        self._queue_runs(entry, specs)
        return True

    def _within_failures(self) -> bool:
        newest = [entry.failure for entry in self._entries.values()][-MOST_FAILURES:]
        if len(newest) == MOST_FAILURES and all(newest):
            self.note = f"the last {MOST_FAILURES} settings could not be built: {newest[-1]}"
            return False
        return True

    def _add(self, entry: Entry) -> None:
        self._folder.add(entry)
        self._entries[entry.number] = entry

    # -- what comes of it ----------------------------------------------------------------------------------------

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the end of a run is heard of through `ended`, when its result is written."""

    def started(self, run: RunFolder, spec: RunSpec) -> None: ...

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        """A run has ended; with the last one of a trial, the search is told."""
        for number, waiting in list(self._open.items()):
            waiting.discard(spec.run_id)
            if not waiting:
                del self._open[number]
                self._finish(number)

    def _finish(self, number: int) -> None:
        """Tell the search of a trial that has ended, as soon as the baseline that judges it has."""
        self._untold.append(number)
        relative = self._sweep.section.objective.relative
        if relative and BASELINE in self._open:
            return
        if relative and number == BASELINE and self._baseline() is None:
            self.note = "the baseline has failed, so no setting can be said to keep the constraints"
        for each in self._untold:
            entry = self._entries[each]
            trial = self._folder.trial(entry)
            if each != BASELINE:
                self._tell(each, entry.values, trial)
            for twin, values in self._twins.pop(each, []):
                self._tell(twin, values, trial)
        self._untold.clear()

    def _tell(self, number: int, values: Mapping[str, Value], trial: Trial) -> None:
        objective = self._sweep.section.objective
        baseline = self._baseline()
        goal = objective.goals[0].metric
        outcome = Outcome(
            state=trial.status,  # type: ignore[arg-type]
            scores=objective.scores(trial.metrics),
            steps=[(epoch, metrics[goal]) for epoch, metrics in trial.curve if goal in metrics],
            violation=objective.violation(trial.metrics, baseline.metrics if baseline else None),
        )
        self._search.tell(number, values, outcome)

    def _baseline(self) -> Trial | None:
        """The baseline, if it has finished."""
        entry = self._entries.get(BASELINE)
        trial = self._folder.trial(entry) if entry else None
        return trial if trial and trial.status == "finished" else None

    # -- what Ray Tune saves of a search -------------------------------------------------------------------------

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what has to survive is in the sweep's folder."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _ids(specs: Sequence[RunSpec]) -> list[str]:
    return [spec.run_id for spec in specs]
