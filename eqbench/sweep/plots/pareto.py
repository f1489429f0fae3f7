"""The Pareto front: goals against each other, a mark per trial."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from eqbench.plots.canvas import INK, Picture, panels
from eqbench.sweep.objective import Goal
from eqbench.sweep.plots.canvas import LINES, dot, head, kind_of, legend, score_label, style_of

if TYPE_CHECKING:
    from eqbench.sweep.record import Trial
    from eqbench.sweep.standings import Standings

FRONT: dict[str, Any] = {"color": INK, "linewidth": 1.4, "marker": "o", "markersize": 9, "markerfacecolor": "none"}
DEFAULT: dict[str, Any] = {"marker": "*", "markersize": 15, "linestyle": "none", "color": LINES["default"]["color"]}
BASELINE: dict[str, Any] = {"marker": "s", "markersize": 8, "linestyle": "none", "color": LINES["baseline"]["color"]}


def pictures(standings: Standings) -> list[Picture]:
    """One figure with a panel for each pair of goals."""
    goals = standings.objective.goals
    title = f"Pareto front of {' and '.join(goal.metric for goal in goals)}"
    pairs = list(itertools.combinations(goals, 2))
    trials = [trial for trial in standings.results.trials if standings.objective.scores(trial.metrics) is not None]
    trials = [trial for trial in trials if trial.status in ("finished", "stopped", "running")]
    if not trials:
        return [Picture("pareto", title, "No trial has a number for every goal yet.", None)]
    figure, axes = panels(len(pairs), 2, width=6.4, height=4.8)
    kinds: set[str] = set()
    for each, (across, up) in zip(axes, pairs, strict=True):
        for trial in trials:
            _mark(each, standings, trial, (across, up), kinds)
        _front(each, standings, across, up, only_two=len(goals) == 2)
        each.set_xlabel(score_label(across), fontsize=9, color=INK, parse_math=False)
        each.set_ylabel(score_label(up), fontsize=9, color=INK, parse_math=False)
    head(figure, standings, title)
    more = [Line2D([], [], label="on the front, with its number", **FRONT)] if standings.front else []
    more += [
        Line2D([], [], label=label, **style)
        for style, label, trial in (
            (DEFAULT, "default (the published setting)", standings.results.default),
            (BASELINE, "baseline", standings.results.baseline),
        )
        if trial in trials
    ]
    legend(figure, kinds, more)
    caption = (
        "A mark is a trial. On the front are the finished settings of the swept loss that none beats in every goal."
    )
    if standings.objective.constraints:
        limits = " and ".join(constraint.describe() for constraint in standings.objective.constraints)
        caption += f" Hollow marks break a constraint: {limits}."
    return [Picture("pareto", title, caption, figure)]


def _mark(axes: Axes, standings: Standings, trial: Trial, goals: tuple[Goal, Goal], kinds: set[str]) -> None:
    x, y = (standings.score(trial, goal) for goal in goals)
    special = {"default": DEFAULT, "baseline": BASELINE}.get(trial.kind)
    if special is None:
        kinds.add(kind_of(standings, trial))
    dot(axes, x, y, trial, zorder=3, **(special or style_of(kind_of(standings, trial))))


def _front(axes: Axes, standings: Standings, across: Goal, up: Goal, *, only_two: bool) -> None:
    """Rings and numbers; a step line through them where the front is a line."""
    points = sorted((standings.score(trial, across), standings.score(trial, up)) for trial in standings.front)
    if not points:
        return
    x, y = zip(*points, strict=True)
    if only_two:
        step = "steps-pre" if across.maximize else "steps-post"
        axes.plot(x, y, drawstyle=step, color=INK, linewidth=1.4, zorder=2)
    axes.plot(x, y, zorder=4, **(FRONT | {"linestyle": "none"}))
    for trial in standings.front:
        place = standings.score(trial, across), standings.score(trial, up)
        if all(map(math.isfinite, place)) and trial.kind == "proposed":
            axes.annotate(
                str(trial.number), place, (5, 5), textcoords="offset points", fontsize=8, color=INK, parse_math=False
            )
