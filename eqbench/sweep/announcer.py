"""Tells the watchers of a sweep what becomes of its runs, those that a scheduler stops included."""

from __future__ import annotations

from typing import Any

from eqbench import stopping
from eqbench.announcer import Announcer
from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import RunFolder
from eqbench.run_result import stopped_result
from eqbench.run_spec import RunSpec
from eqbench.storage import suite_mirror
from eqbench.sweep.space import spelled
from eqbench.trial import draw


class SweepAnnouncer(Announcer):
    """As the announcer of suites; a run that ends without having said so was stopped by the scheduler."""

    hands_out_again = False

    def __init__(self, *arguments: Any, scheduler: str) -> None:
        super().__init__(*arguments)
        self._scheduler = scheduler

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        path = trial.config["run"]
        if path in self._endings or "epoch" not in (trial.last_result or {}):
            super().on_trial_complete(iteration, trials, trial, **info)
            return
        run, spec = self._run_of(trial)
        result = self._stop(run, spec, trial.last_result)
        self._tell(trial, lambda watcher, run, spec: watcher.ended(run, spec, result))

    def _stop(self, run: RunFolder, spec: RunSpec, report: dict[str, Any]) -> dict[str, Any]:
        """The result of a run that is stopped at this report; its own if it has got to its end meanwhile."""
        epochs = spec.budget.iterations / spec.budget.iterations_per_epoch
        reached = spelled(float(report["epoch"]))
        detail = f"stopped early by {self._scheduler} after epoch {reached} of {spelled(epochs)}"
        try:
            stopping.mark(run, report["iteration"])
            suite_mirror.stop(run, report["iteration"])
            result = run.read_result()
            if result is not None and result["status"] == "finished":
                stopping.clear(run)
                return result
            run.rewind_to(report["iteration"])
            result = stopped_result(spec, run, detail)
            run.write_result(result)
            draw(run, spec)
        except (OSError, EnvironmentProblem):  # the watchers hear of it all the same
            result = stopped_result(spec, run, detail)
        return result
