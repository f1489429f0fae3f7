"""Which trials are ended early: Ray Tune's schedulers, for sweeps that are continued, and with trials that are spared.

Ray Tune's own are asked through their public methods alone. They never see its trials, only stand-ins with their ids:
what an earlier process reported can be repeated to them, and a trial that is started again is still the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from eqbench.sweep.schema import SCHEDULERS

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    from eqbench.sweep.objective import Goal
    from eqbench.sweep.schema import SchedulerConfig

EPOCH, LAST, PROTECTED = "epoch", "last", "protected"
"""Keys of a trial's reports, and of its configuration."""
DIGITS = 6
"""Of an epoch: 2.9999999996 is 3."""


@dataclass(frozen=True)
class _StandIn:
    """A trial, as far as a scheduler of Ray Tune looks at it."""

    trial_id: str


class Stopping(FIFOScheduler):
    """Ends trials early as `inner` says, but no trial whose configuration has `protected`, and none at its last report.

    Reports without an epoch or a finite value of the goal pass unseen, and so do those that repeat what a trial has
    reported before.
    """

    def __init__(self, inner: TrialScheduler, goal: Goal, name: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.stopped: dict[str, float] = {}
        """Epoch at which a trial was ended early, by its id."""
        self._inner = inner
        self._goal = goal
        self._seen: dict[str, float] = {}

    def replay(self, trial_id: str, reports: Sequence[Mapping[str, Any]]) -> None:
        """What a trial reported to an earlier process, oldest first. It ends nothing: that process has decided."""
        for report in reports:
            if self._news(trial_id, report):
                self._show(trial_id, report)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Whether a trial goes on."""
        trial_id = trial.trial_id
        if trial_id in self.stopped:
            return self.STOP
        if not self._news(trial_id, result):
            return self.CONTINUE
        if trial.config.get(PROTECTED) or result.get(LAST):
            self._show(trial_id, result)
            return self.CONTINUE
        stand_in: Any = _StandIn(trial_id)
        self._inner.on_trial_add(tune_controller, stand_in)
        decision = self._inner.on_trial_result(tune_controller, stand_in, self._excerpt(result))
        if decision == self.STOP:
            self.stopped[trial_id] = self._seen[trial_id]
        return decision

    def debug_string(self) -> str:
        """One line: how many were ended."""
        return f"{self.name or 'none'}: {len(self.stopped)} trials stopped early"

    def _news(self, trial_id: str, report: Mapping[str, Any]) -> bool:
        """Whether a report is one to be looked at; from then on it is not new any more."""
        epoch, value = report.get(EPOCH), report.get(self._goal.metric)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in (epoch, value)):
            return False
        reached = round(float(epoch), DIGITS)  # type: ignore[arg-type]  # a number, as was just seen
        if reached <= self._seen.get(trial_id, -math.inf):
            return False
        self._seen[trial_id] = reached
        return True

    def _show(self, trial_id: str, report: Mapping[str, Any]) -> None:
        """Let `inner` compare others with a report without deciding on it: that is what it does at a trial's end."""
        stand_in: Any = _StandIn(trial_id)
        nobody: Any = None
        self._inner.on_trial_add(nobody, stand_in)
        self._inner.on_trial_complete(nobody, stand_in, self._excerpt(report))

    def _excerpt(self, report: Mapping[str, Any]) -> dict[str, Any]:
        return {EPOCH: round(float(report[EPOCH]), DIGITS), self._goal.metric: float(report[self._goal.metric])}


def build(config: SchedulerConfig, goal: Goal, epochs: float) -> Stopping:
    """The scheduler of a sweep.

    Args:
        config: name and options.
        goal: what trials are compared by; its metric is the key of the reports.
        epochs: of a trial that is not ended early.

    Raises:
        ValueError: it is none of those that end trials early, or may not end any within `epochs`.
    """
    if config.name not in ("none", "asha", "median"):
        raise ValueError(f"scheduler {config.name!r}, expected none, asha or median")
    options = SCHEDULERS[config.name].model_validate(config.options).model_dump()
    if options.get("grace_epochs", 0) > epochs:
        raise ValueError(f"grace_epochs {options['grace_epochs']}, expected at most {epochs:g}, the epochs of a trial")
    compared: dict[str, Any] = {
        "time_attr": EPOCH,
        "metric": goal.metric,
        "mode": "max" if goal.maximize else "min",
        "grace_period": options.get("grace_epochs"),
    }
    inner: TrialScheduler
    match config.name:
        case "asha":
            inner = AsyncHyperBandScheduler(
                **compared,
                max_t=epochs,  # type: ignore[arg-type]  # any number will do
                reduction_factor=options["reduction_factor"],
                stop_last_trials=False,  # else the first rung would judge a trial by what it reports much later
            )
        case "median":
            # a trial that waits for others would have to be started again: no time slice is long enough for that
            inner = MedianStoppingRule(
                **compared,
                min_samples_required=options["min_trials"],
                min_time_slice=math.inf,  # type: ignore[arg-type]
            )
        case _:
            inner = FIFOScheduler()  # type: ignore[no-untyped-call]
    return Stopping(inner, goal, config.name)
