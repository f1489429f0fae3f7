"""The score over each parameter: a panel per parameter, a mark per trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from eqbench.plots.canvas import INK, MUTED, PAPER, Picture, panels
from eqbench.sweep.objective import Goal
from eqbench.sweep.plots.canvas import (
    LINES,
    Scale,
    aside,
    dot,
    file_name,
    head,
    kind_of,
    legend,
    references,
    score_label,
    style_of,
)

if TYPE_CHECKING:
    from eqbench.sweep.record import Trial
    from eqbench.sweep.standings import Comparison, Standings

COLUMNS = 3
FEWEST_FOR_A_TREND = 10
FEWEST_PLACES = 5
BANDWIDTH = 0.15
"""Of the smoother, as a share of the range."""


def pictures(standings: Standings) -> list[Picture]:
    """A figure for each goal."""
    goals = standings.objective.goals
    return [_picture(standings, goal, file_name("response", goal, goals)) for goal in goals]


def _picture(standings: Standings, goal: Goal, name: str) -> Picture:
    title = f"Response of {goal.metric} to each parameter"
    trials = [trial for trial in standings.results.trials if trial.kind != "baseline" and trial.status != "waiting"]
    parameters = standings.results.section.space.parameters
    if all(math.isnan(standings.score(trial, goal)) for trial in trials):
        return Picture(name, title, f"No trial has a number for {goal.metric} yet.", None)
    figure, axes = panels(len(parameters), COLUMNS)
    kinds: set[str] = set()
    compared = standings.comparable(goal)
    trends: list[float] = []
    for each, parameter in zip(axes, parameters, strict=True):
        scale = Scale(parameter)
        _panel(each, standings, goal, scale, trials, kinds)
        trends += _trend(each, scale, trials, compared)
    low, high = _limits(standings, goal, trends)
    for each in axes:
        each.set_ylim(low, high)
        if each.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            each.set_ylabel(score_label(goal), fontsize=9, color=INK, parse_math=False)
    head(figure, standings, title)
    label = f"trend{compared.when}, {len(compared.scores)} trials (local linear)"
    legend(figure, kinds, [Line2D([], [], color=MUTED, linewidth=3, alpha=0.5, label=label)] if trends else ())
    caption = (
        "A mark is a trial, a star the default, a ring the best. The other parameters differ between marks too: what a "
        "panel shows is not cause alone."
    )
    if trends:
        caption += f" The trend is of {compared.counted}."
    if any(trial.status == "failed" for trial in trials):
        caption += " Failed trials stand at the lower edge."
    return Picture(name, title, caption, figure)


def _panel(
    axes: Axes, standings: Standings, goal: Goal, scale: Scale, trials: Sequence[Trial], kinds: set[str]
) -> None:
    """Draw one parameter."""
    path = scale.parameter.path
    scale.set_on(axes, "x")
    kinds.update(references(axes, standings, goal))
    for trial in trials:
        place = scale.place(trial.values.get(path))
        score = standings.score(trial, goal)
        if path not in trial.values or math.isnan(place):
            continue
        kind = kind_of(standings, trial)
        style = style_of(kind)
        if scale.values:
            place += aside(trial)
        if trial.status == "failed":
            axes.plot([place], [0.03], gid=f"trial:{trial.number}", transform=axes.get_xaxis_transform(), **style)
        elif math.isnan(score):
            continue
        else:
            dot(axes, place, score, trial, **(style | _special(standings, trial)))
        kinds.add(kind)


def _special(standings: Standings, trial: Trial) -> dict[str, Any]:
    """A star for the default, a dark edge for the best."""
    if trial.kind == "default":
        return {
            "marker": "*",
            "markersize": 14,
            "color": LINES["default"]["color"],
            "markeredgecolor": PAPER,
            "zorder": 5,
        }
    if trial in standings.front:
        return {"markeredgecolor": INK, "markeredgewidth": 1.6, "markersize": 9, "zorder": 4}
    return {}


def _trend(axes: Axes, scale: Scale, trials: Sequence[Trial], compared: Comparison) -> list[float]:
    """Draw the smoothed scores of trials that were trained equally long, if there are enough; lowest and highest."""
    path = scale.parameter.path
    points = [
        (scale.even(place), compared.scores[trial.number])
        for trial in trials
        if path in trial.values and trial.number in compared.scores
        if not math.isnan(place := scale.place(trial.values[path]))
    ]
    if scale.values or len(points) < FEWEST_FOR_A_TREND or len({x for x, _ in points}) < FEWEST_PLACES:
        return []
    x, y = np.array(points).T
    at = np.linspace(x.min(), x.max(), 80)
    drawn = 10**at if scale.log else at
    values = smoothed(x, y, at)
    axes.plot(drawn, values, color=MUTED, linewidth=3, alpha=0.5, zorder=1.4)
    return [float(values.min()), float(values.max())]


def smoothed(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The local linear fit to points (N,) at places (M,), with Gaussian weights; a line stays that line.

    >>> smoothed(np.array([0.0, 1, 3]), np.array([1.0, 3, 7]), np.array([2.0])).round(9).tolist()
    [5.0]
    """
    distance = x[None] - at[:, None]
    width = BANDWIDTH * (x.max() - x.min())
    weight = np.exp(-0.5 * (distance / width) ** 2) + 1e-9
    total, first, second = ((weight * distance**power).sum(1) for power in range(3))
    pull = weight * (second[:, None] - distance * first[:, None])
    fitted: NDArray[np.float64] = (pull * y).sum(1) / (total * second - first**2)
    return fitted


def _limits(standings: Standings, goal: Goal, trends: Sequence[float]) -> tuple[float, float]:
    """The same for all panels, with room for failed trials below."""
    scores = [*(standings.score(trial, goal) for trial in standings.results.trials), *trends]
    known = [score for score in scores if math.isfinite(score)]
    low, high = min(known), max(known)
    room = (high - low) or abs(high) * 0.1 or 1.0
    return low - 0.12 * room, high + 0.06 * room
