"""How good the trials of a sweep are: their order, the best, the front, whether the published setting is beaten."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from eqbench.plots.text import cleaned
from eqbench.sweep.objective import Goal, best, front
from eqbench.sweep.space import spelled

if TYPE_CHECKING:
    from eqbench.sweep.record import Results, Trial
    from eqbench.sweep.space import Space, Value

SHARE_COMPARED = 0.9
STATUSES = ("finished", "stopped", "running", "waiting", "failed")


@dataclass(frozen=True)
class Verdict:
    """Whether a setting better than the published one was found; `change` is the best one's in its only goal."""

    answer: Literal["yes", "no", "open"]
    sentence: str
    change: float = math.nan


@dataclass(frozen=True)
class Savings:
    """Epochs of the trials that are over: `trained`, and `whole` had none been stopped."""

    stopped: int
    trained: float
    whole: float

    @property
    def share(self) -> float:
        """Of the epochs, what stopping saved: 0 to 1."""
        return max(0.0, 1 - self.trained / self.whole) if self.whole else 0.0


@dataclass(frozen=True)
class Comparison:
    """Scores by trial number that were reached with the same training: at the end, or at `epoch`."""

    scores: dict[int, float]
    epoch: float | None = None

    @property
    def when(self) -> str:
        """` at epoch 6`, or nothing where it is the end."""
        return "" if self.epoch is None else f" at epoch {self.epoch:.4g}"

    @property
    def trials(self) -> str:
        """What the trials have in common that are compared."""
        return "finished trials" if self.epoch is None else f"trials that reached epoch {self.epoch:.4g}"

    @property
    def counted(self) -> str:
        """Which numbers are compared, and of how many trials, for a caption."""
        number = len(self.scores)
        if self.epoch is None:
            return f"the last numbers of {number} finished trial{'' if number == 1 else 's'}"
        return (
            f"the numbers at epoch {self.epoch:.4g} of {number} trials, finished or stopped: the last epoch that "
            f"{SHARE_COMPARED:.0%} of the trials reached (later ones are of survivors, chosen by their scores)"
        ).replace("%", " %")


class Standings:
    """The trials of a sweep against each other.

    `best` is the best trial of one goal, `front` the trials that none beats in every goal, by the first one; both are
    of finished trials of the swept loss that keep the constraints. `order` has every trial, best first.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.objective = results.section.objective
        baseline = results.baseline
        self.reference = baseline.metrics if baseline and baseline.status == "finished" else None
        swept = [trial for trial in results.trials if trial.kind != "baseline"]
        self.best: Trial | None = best(self.objective, swept, self.reference)
        self.front: list[Trial] = front(self.objective, swept, self.reference)
        self.order = sorted(results.trials, key=self._place)

    def score(self, trial: Trial, goal: Goal) -> float:
        """The trial's number for a goal at its last evaluation, NaN if there is none."""
        value = trial.metrics.get(goal.metric, math.nan)
        return value if math.isfinite(value) else math.nan

    def comparable(self, goal: Goal) -> Comparison:
        """Scores of the swept loss after equal training.

        Those at the end; where trials were stopped, those of the latest evaluation that nine in ten trials have
        reached: what is left later was chosen by its scores.
        """
        swept = [trial for trial in self.results.trials if trial.kind != "baseline"]
        scores = {trial.number: self.score(trial, goal) for trial in swept if trial.status == "finished"}
        at_end = Comparison({at: score for at, score in scores.items() if math.isfinite(score)})
        if not any(trial.status == "stopped" for trial in swept):
            return at_end
        by_epoch: dict[float, dict[int, float]] = {}
        for trial in swept:
            for epoch, metrics in trial.curve if trial.status in ("finished", "stopped") else ():
                if math.isfinite(score := metrics.get(goal.metric, math.nan)):
                    by_epoch.setdefault(round(epoch, 6), {})[trial.number] = score
        over = sum(trial.status in ("finished", "stopped") for trial in swept)
        enough = math.ceil(SHARE_COMPARED * over)
        reached = [epoch for epoch, found in by_epoch.items() if len(found) >= enough]
        return Comparison(by_epoch[max(reached)], max(reached)) if reached else at_end

    def violation(self, trial: Trial) -> float:
        """By how much the trial breaks the constraints; NaN: that cannot be said."""
        return self.objective.violation(trial.metrics, self.reference)

    def feasible(self, trial: Trial) -> bool:
        """Whether the trial keeps every constraint."""
        return self.violation(trial) == 0

    def counts(self) -> dict[str, int]:
        """Trials by status."""
        counts: Counter[str] = Counter(trial.status for trial in self.results.trials)
        return {status: counts[status] for status in STATUSES if counts[status]}

    def verdict(self) -> Verdict:
        """The answer to what a sweep is for."""
        default = self.results.default
        proposed = [trial for trial in self.results.trials if trial.kind == "proposed"]
        finished = [trial for trial in proposed if trial.status == "finished"]
        if default is None or default.status != "finished" or self._unscored(default):
            state = "has not run" if default is None else f"is {default.status}"
            if default is not None and default.status == "finished":
                state = f"has no {' or '.join(goal.metric for goal in self.objective.goals)}"
            return Verdict("open", f"cannot be said: the published setting {state}")
        if not finished:
            return Verdict("open", "cannot be said: no other setting has finished")
        if self.objective.several:
            return self._verdict_of_front(default, len(finished))
        return self._verdict_of_best(default, len(finished))

    def savings(self) -> Savings:
        """What stopping trials early has saved."""
        over = [trial for trial in self.results.trials if trial.status in ("finished", "stopped")]
        stopped = [trial for trial in over if trial.status == "stopped"]
        trained = math.fsum(trial.epochs for trial in over)
        whole = math.fsum(
            self.results.epochs * max(1, len(trial.run_ids)) if trial.status == "stopped" else trial.epochs
            for trial in over
        )
        return Savings(len(stopped), trained, max(trained, whole))

    def _verdict_of_best(self, default: Trial, finished: int) -> Verdict:
        (goal,) = self.objective.goals
        published = self.score(default, goal)
        if self.best is None:
            return Verdict("no", f"no: none of {finished} finished settings keeps the constraints")
        change = self.score(self.best, goal) - published
        numbers = (
            f"{number(goal.metric, self.score(self.best, goal))} against {number(goal.metric, published)} "
            f"{goal.metric} ({signed(goal.metric, change)})"
        )
        if self.best.kind == "default":
            return Verdict("no", f"no: none of {finished} finished settings is better than it", 0.0)
        if not self.feasible(default):
            sentence = f"yes: it breaks the constraints, {self.best.name} keeps them, with {numbers}"
            return Verdict("yes", sentence, change)
        return Verdict("yes", f"yes: {self.best.name}, the best of {finished} finished settings, {numbers}", change)

    def _verdict_of_front(self, default: Trial, finished: int) -> Verdict:
        better = [trial for trial in self.front if trial.kind == "proposed" and self.dominates(trial, default)]
        if better:
            verb = "is" if len(better) == 1 else "are"
            sentence = f"{len(better)} of {finished} finished settings {verb} better in a goal and worse in none"
            return Verdict("yes", f"yes: {sentence} ({', '.join(trial.name for trial in better[:5])})")
        on_front = any(trial.kind == "default" for trial in self.front)
        place = "it is on the front itself" if on_front else "each that gains in a goal loses in another"
        return Verdict("no", f"no: none of {finished} finished settings is better in a goal and worse in none; {place}")

    def dominates(self, trial: Trial, other: Trial) -> bool:
        """Whether `trial` is better in a goal and worse in none."""
        scores, others = self.objective.scores(trial.metrics), self.objective.scores(other.metrics)
        return scores is not None and others is not None and self.objective.better(scores, others)

    def _unscored(self, trial: Trial) -> bool:
        return self.objective.scores(trial.metrics) is None

    def _place(self, trial: Trial) -> tuple[float, ...]:
        """What trials are sorted by: finished and feasible first, then by the first goal, then by number."""
        goal = self.objective.goals[0]
        score, violation = self.score(trial, goal), self.violation(trial)
        worth = math.inf if math.isnan(score) else -score if goal.maximize else score
        unknown = self._unscored(trial)
        broken = math.inf if math.isnan(violation) else violation
        return (STATUSES.index(trial.status), unknown, broken, trial not in self.front, worth, trial.number)


def number(metric: str, value: float) -> str:
    """A metric as people read it: percent with two digits, a loss with four significant ones.

    >>> number("val/few", 41.256), number("train/loss", 0.0123456), number("val/few", math.nan)
    ('41.26', '0.01235', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if metric.startswith("val/") else f"{value:.4g}"


def signed(metric: str, change: float) -> str:
    """A change with its sign, as `number`; one that rounds to nothing has none.

    >>> signed("val/few", 1.5), signed("val/few", -0.001), signed("train/loss", -0.25)
    ('+1.50', '0.00', '-0.25')
    """
    text = number(metric, abs(change))
    if text == "–" or not any(digit in text for digit in "123456789"):
        return text
    return f"{'+' if change > 0 else '-'}{text}"


def value_text(value: Value) -> str:
    """A value of a setting with at most four significant digits, as YAML spells it.

    >>> value_text(0.123456), value_text(12), value_text(True), value_text(None), value_text("all")
    ('0.1235', '12', 'true', 'null', 'all')
    """
    return f"{value:.4g}" if isinstance(value, float) else cleaned(spelled(value))


def short_names(space: Space) -> dict[str, str]:
    """Parameters' last names by path; the whole path where two would have the same."""
    last = {parameter.path: parameter.path.rpartition(".")[2] for parameter in space.parameters}
    times = Counter(last.values())
    return {path: name if times[name] == 1 else path for path, name in last.items()}


def setting_text(values: Mapping[str, Value], names: Mapping[str, str]) -> str:
    """`tau=1.5, indicator=all`."""
    return ", ".join(f"{names.get(path, path)}={value_text(value)}" for path, value in values.items())
