"""How much of the scores' variance each parameter explains: fANOVA, as Optuna computes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqbench.plots.canvas import INK, Picture, panels
from eqbench.plots.palette import BLUE
from eqbench.sweep.objective import Goal
from eqbench.sweep.plots.canvas import Scale, head

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from eqbench.sweep.record import Trial
    from eqbench.sweep.space import Parameter
    from eqbench.sweep.standings import Standings

FEWEST_TRIALS = 10
RESAMPLED = 10
"""Times that the trials are drawn again with replacement, which says how far the importances can be relied on."""
TREES = 32
METHOD = (
    "fANOVA (Hutter et al., ICML 2014; Optuna): the share of the variance that a parameter explains on its own, over "
    "its whole range, in a random forest fitted to the trials. "
    f"Lines: lowest to highest of {RESAMPLED} times with trials drawn again."
)


@dataclass(frozen=True)
class Importance:
    """Of one parameter: 0 to 1, and the range over resampled trials."""

    share: float
    low: float
    high: float


Importances = Mapping[str, Importance] | str
"""By path, most important first; or why there are none."""


def importances(standings: Standings) -> dict[Goal, Importances]:
    """For each goal. Parameters that only some settings have are left out."""
    return {goal: _of_goal(standings, goal) for goal in standings.objective.goals}


def pictures(standings: Standings, ranked: Mapping[Goal, Importances]) -> list[Picture]:
    """One figure with a panel for each goal that has importances."""
    title = f"Importance of the parameters for {' and '.join(goal.metric for goal in ranked)}"
    known = {goal: found for goal, found in ranked.items() if not isinstance(found, str)}
    if not known:
        reason = next(found for found in ranked.values() if isinstance(found, str))
        return [Picture("importance", title, reason, None)]
    rows = max(len(found) for found in known.values())
    figure, axes = panels(len(known), 2, width=6.4, height=1.2 + 0.35 * rows)
    for each, (goal, found) in zip(axes, known.items(), strict=True):
        places = range(len(found))[::-1]
        each.barh(places, [value.share for value in found.values()], height=0.62, color=BLUE)
        for place, value in zip(places, found.values(), strict=True):
            each.plot([value.low, value.high], [place, place], color=INK, linewidth=1.2, marker="|", markersize=6)
        each.set_yticks(places, list(found), parse_math=False)
        each.set_ylim(-0.6, len(found) - 0.4)
        each.set_xlim(0, 1)
        each.set_xlabel(
            f"share of the variance of {goal.metric}{standings.comparable(goal).when}",
            fontsize=9,
            color=INK,
            parse_math=False,
        )
        each.grid(visible=False, axis="y")
    head(figure, standings, title)
    conditional = [each.path for each in standings.results.section.space.parameters if each.when]
    left_out = f" Left out, since only some settings have them: {', '.join(conditional)}." if conditional else ""
    said = "; ".join(dict.fromkeys(standings.comparable(goal).counted for goal in known))
    return [Picture("importance", title, f"{METHOD} From {said}.{left_out}", figure)]


def _of_goal(standings: Standings, goal: Goal) -> Importances:
    space = standings.results.section.space
    everywhere = [parameter for parameter in space.parameters if not parameter.when]
    compared = standings.comparable(goal)
    points = [
        (encoded, compared.scores[trial.number])
        for trial in standings.results.trials
        if trial.kind == "proposed" and trial.number in compared.scores
        if (encoded := _encoded(everywhere, trial)) is not None
    ]
    if len(points) < FEWEST_TRIALS:
        return f"Importance needs {FEWEST_TRIALS} comparable trials or more; {len(points)} have {goal.metric} so far."
    if len({score for _, score in points}) == 1:
        return f"Importance cannot be said: {goal.metric} is the same in all {len(points)} {compared.trials}."
    distributions = {parameter.path: _distribution(parameter) for parameter in everywhere}
    found = _fanova(points, distributions)
    generator = np.random.default_rng(0)
    draws = (generator.integers(len(points), size=len(points)) for _ in range(RESAMPLED))
    again = [_fanova([points[at] for at in draw], distributions) for draw in draws]
    ranges = {path: [share, *(other[path] for other in again)] for path, share in found.items()}
    order = sorted(found, key=lambda path: -found[path])
    return {path: Importance(found[path], min(ranges[path]), max(ranges[path])) for path in order}


def _encoded(parameters: Sequence[Parameter], trial: Trial) -> dict[str, Any] | None:
    """The trial's values, logarithms where the space has them; None if one is missing or outside."""
    values: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.path not in trial.values or not parameter.takes(value := trial.values[parameter.path]):
            return None
        values[parameter.path] = value if parameter.kind == "choice" else _even(parameter, value)
    return values


def _even(parameter: Parameter, value: Any) -> float:
    scale = Scale(parameter)
    return scale.even(scale.place(value))


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.values)
    ends = parameter.values if parameter.kind == "grid" else (parameter.low, parameter.high)
    places = [_even(parameter, end) for end in ends]
    return FloatDistribution(min(places), max(places))


def _fanova(
    points: Sequence[tuple[Mapping[str, Any], float]], distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """Shares by path; 0 for a parameter with one value. All are 0 where every score is the same."""
    import optuna

    if len({score for _, score in points}) == 1:
        return dict.fromkeys(distributions, 0.0)
    with _quiet():
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.trial.create_trial(params=dict(values), distributions=dict(distributions), value=score)
                for values, score in points
            ]
        )
        shares = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, max_depth=16, seed=0).evaluate(study)
    return {path: float(np.nan_to_num(share)) for path, share in shares.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna reports every study that is created."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
