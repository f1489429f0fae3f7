"""Lets the members of a population wait for each other in Ray Tune until it is decided who goes on from whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from eqbench import value_schedule
from eqbench.run_folder import RunFolder
from eqbench.sweep.population import options_of
from eqbench.sweep.population_decision import Decisions, Standing, decide

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.folder import SweepFolder


class PopulationScheduler(FIFOScheduler):
    """Pauses members every `every_epochs`; all other trials of Ray Tune pass by.

    Those that wait are decided on when no other member can still join them: all have come as far, or have ended. So are
    members waited for that an earlier process has trained less far.
    """

    def __init__(self, sweep: Sweep, folder: SweepFolder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._section = sweep.section
        self.every_epochs = int(options_of(sweep.section.scheduler)["every_epochs"])
        self._decisions = Decisions(folder, sweep.digest)
        self._decisions.carry_out()
        self._expected: set[str] = set()
        self._waiting: dict[str, Standing] = {}

    def expect(self, runs: Iterable[Path]) -> None:
        """The members that are to be trained, by folder: those that Ray Tune does not have yet are waited for, too."""
        self._expected = {str(run) for run in runs}

    def replay(self, trial_id: str, reports: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: decisions are on disk."""

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Whether a trial goes on: a member that has come to an epoch to be decided on does not."""
        path, epoch = trial.config["run"], result.get("epoch")
        if path not in self._expected or epoch is None or result.get("last"):
            return self.CONTINUE
        if round(float(epoch), 6) < self._next(path):
            return self.CONTINUE
        run = RunFolder(Path(path))
        segments = value_schedule.read(run)
        score = result.get(self._section.objective.goals[0].metric)
        self._waiting[path] = Standing(run.run_id, score, segments[-1].values, int(result["iteration"]))
        if not self._place_is_needed(tune_controller):
            return self.CONTINUE  # it waits in its process, and need not be started again
        tune_controller.pause_trial(trial, should_checkpoint=False)
        return self.NOOP

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The first trial that waits for nothing but resources."""
        trials: list[Trial] = tune_controller.get_trials()  # type: ignore[no-untyped-call]
        if self._waiting:
            self._decide({trial.config["run"]: trial for trial in trials})
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in trials:
                if trial.status == status and trial.config["run"] not in self._waiting:
                    return trial
        return None

    def debug_string(self) -> str:
        """One line: how many decisions there were."""
        return f"pbt: {len(self._decisions.all)} decisions, {len(self._waiting)} members wait"

    def _place_is_needed(self, tune_controller: TuneController) -> bool:
        """Whether a trial could be trained where a member only waits."""
        trials: list[Trial] = tune_controller.get_trials()  # type: ignore[no-untyped-call]
        if self._expected - {trial.config["run"] for trial in trials}:
            return True
        idle = [trial for trial in trials if trial.status in (Trial.PENDING, Trial.PAUSED)]
        return any(trial.config["run"] not in self._waiting for trial in idle)

    def _next(self, path: str) -> float:
        """The epoch at which a member is decided on next."""
        reached = self._decisions.reached(Path(path).name)
        return (reached // self.every_epochs + 1) * self.every_epochs

    def _decide(self, trials: Mapping[str, Trial]) -> None:
        """Decide on those that are furthest behind, if they all wait."""
        ended = {path for path, trial in trials.items() if trial.status in (Trial.TERMINATED, Trial.ERROR)}
        due = {path: self._next(path) for path in sorted(self._expected - ended)}
        epoch = min(due.values(), default=0.0)
        members = [path for path, when in due.items() if when == epoch]
        if not members or not all(path in self._waiting for path in members):
            return
        standings = [self._waiting[path] for path in members]
        section = self._section
        goal, seed = section.objective.goals[0], section.search.seed
        exploits = decide(standings, section.space, section.scheduler, goal, seed, epoch)
        self._decisions.make(epoch, standings, exploits)
        for path in members:
            del self._waiting[path]
