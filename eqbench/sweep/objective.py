"""What a sweep is for: one metric, several (a Pareto front), or one under constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eqbench.suite_yaml import Place
    from eqbench.sweep.record import Trial

TOLERANCE = 1e-9
"""By how much a constraint may be missed because of rounding."""


@dataclass(frozen=True)
class Goal:
    """A metric that is to be as high, or as low, as possible; `place` is where it is written."""

    metric: str
    maximize: bool = True
    place: Place = field(default=(), compare=False, repr=False)

    def describe(self) -> str:
        """
        >>> Goal("val/few").describe()
        'maximize val/few'
        """
        return f"{'maximize' if self.maximize else 'minimize'} {self.metric}"


@dataclass(frozen=True)
class Constraint:
    """A limit of a metric: a number, or one counted from the baseline's value (`relative`); `place` as of a goal."""

    metric: str
    at_least: bool
    number: float
    relative: bool = False
    place: Place = field(default=(), compare=False, repr=False)

    def describe(self) -> str:
        """As it is written in a sweep file.

        >>> Constraint("val/ap_f", True, -0.5, relative=True).describe()
        'val/ap_f >= baseline - 0.5'
        """
        size = f"{abs(self.number):.10g}"
        if float(size) != abs(self.number):
            size = repr(abs(self.number))
        sign = "-" if self.number < 0 else "+"
        limit = (f"baseline {sign} {size}" if self.number else "baseline") if self.relative else f"{sign}{size}"
        limit = limit.removeprefix("+")
        return f"{self.metric} {'>=' if self.at_least else '<='} {limit}"

    def shortfall(self, metrics: Mapping[str, float], baseline: Mapping[str, float] | None) -> float:
        """By how much it is missed, in the metric's unit; 0 if it holds, NaN if a number that it needs is missing."""
        value = metrics.get(self.metric, math.nan)
        limit = self.number
        if self.relative:
            limit += math.nan if baseline is None else baseline.get(self.metric, math.nan)
        missing = limit - value if self.at_least else value - limit
        return 0.0 if missing <= TOLERANCE else missing


@dataclass(frozen=True)
class Objective:
    """Goals, main one first, and constraints."""

    goals: tuple[Goal, ...]
    constraints: tuple[Constraint, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that it needs, goals first."""
        goals = [goal.metric for goal in self.goals]
        return tuple(dict.fromkeys([*goals, *(constraint.metric for constraint in self.constraints)]))

    @property
    def relative(self) -> bool:
        """Whether a constraint is counted from the baseline."""
        return any(constraint.relative for constraint in self.constraints)

    @property
    def several(self) -> bool:
        """Whether there is more than one goal, so that the answer is a front and not one setting."""
        return len(self.goals) > 1

    def describe(self) -> str:
        """
        >>> Objective((Goal("val/ap_r"),), (Constraint("val/ap_f", True, 0, True),)).describe()
        'maximize val/ap_r subject to val/ap_f >= baseline'
        """
        text = " and ".join(goal.describe() for goal in self.goals)
        limits = " and ".join(constraint.describe() for constraint in self.constraints)
        return f"{text} subject to {limits}" if limits else text

    def scores(self, metrics: Mapping[str, float]) -> tuple[float, ...] | None:
        """The value of each goal; None if one is missing or not finite."""
        values = tuple(float(metrics.get(goal.metric, math.nan)) for goal in self.goals)
        return values if all(map(math.isfinite, values)) else None

    def violation(self, metrics: Mapping[str, float], baseline: Mapping[str, float] | None) -> float:
        """Sum of what is missing for each constraint; 0 if all hold, NaN if that cannot be said.

        Args:
            metrics: of a setting, by name.
            baseline: of the baseline; None if there is none, or it has not finished.
        """
        return float(sum(constraint.shortfall(metrics, baseline) for constraint in self.constraints))

    def better(self, scores: Sequence[float], other: Sequence[float]) -> bool:
        """Whether `scores` are nowhere worse than `other` and better somewhere."""
        ours, theirs = self._ascending(scores), self._ascending(other)
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))

    def _ascending(self, scores: Sequence[float]) -> tuple[float, ...]:
        """The scores with signs such that higher is better."""
        return tuple(score if goal.maximize else -score for goal, score in zip(self.goals, scores, strict=True))


def best(objective: Objective, trials: Sequence[Trial], baseline: Mapping[str, float] | None) -> Trial | None:
    """The best finished setting of the swept loss that keeps the constraints; None if none does, or for several goals.

    Of equals it is the one with the lowest number, so the default before any other. The baseline is no candidate.
    """
    if objective.several:
        return None
    found = front(objective, trials, baseline)
    return found[0] if found else None


def front(objective: Objective, trials: Sequence[Trial], baseline: Mapping[str, float] | None) -> list[Trial]:
    """The finished settings that keep the constraints and that no other is better than, best first goal first.

    For one goal it is the best alone. The baseline is no candidate.
    """
    scored = [(scores, trial) for trial in trials if (scores := _feasible(objective, trial, baseline)) is not None]
    kept = [
        (scores, trial) for scores, trial in scored if not any(objective.better(other, scores) for other, _ in scored)
    ]
    kept.sort(key=lambda entry: (tuple(-score for score in objective._ascending(entry[0])), entry[1].number))
    trials_kept = [trial for _, trial in kept]
    return trials_kept if objective.several else trials_kept[:1]


def _feasible(objective: Objective, trial: Trial, baseline: Mapping[str, float] | None) -> tuple[float, ...] | None:
    if trial.status != "finished" or trial.kind == "baseline":
        return None
    return objective.scores(trial.metrics) if objective.violation(trial.metrics, baseline) == 0 else None
