"""Tells the watchers of a sweep what becomes of its runs, those that a scheduler stops included."""

from __future__ import annotations

import contextlib
from typing import Any

from eqbench.announcer import Announcer
from eqbench.sweep.space import spelled
from eqbench.trial import cause, stopped_result


class SweepAnnouncer(Announcer):
    """As the announcer of suites; a run that ends without having said so was stopped by the scheduler."""

    def __init__(self, *arguments: Any, scheduler: str) -> None:
        super().__init__(*arguments)
        self._scheduler = scheduler

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        path = trial.config["run"]
        if path in self._endings or "epoch" not in (trial.last_result or {}):
            super().on_trial_complete(iteration, trials, trial, **info)
            return
        run, spec = self._run_of(trial)
        epochs = spec.budget.iterations / spec.budget.iterations_per_epoch
        reached = spelled(float(trial.last_result["epoch"]))
        result = stopped_result(
            spec, run, f"stopped early by {self._scheduler} after epoch {reached} of {spelled(epochs)}"
        )
        with contextlib.suppress(OSError):  # the watchers hear of it all the same
            run.write_result(result)
        self._tell(trial, lambda watcher, run, spec: watcher.ended(run, spec, result))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = trial.get_error()
        self._end(trial, cause(error) if error else "its process was lost, again and again", None)
