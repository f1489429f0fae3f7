"""Learning curves: each goal's metric over epochs, of finished and stopped trials, default and baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D

from eqbench.plots.canvas import INK, MUTED, Picture, panels
from eqbench.plots.palette import BLUE, ORANGE, RED
from eqbench.sweep.objective import Goal
from eqbench.sweep.plots.canvas import gid, head, score_label, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from eqbench.sweep.record import Trial
    from eqbench.sweep.standings import Standings

STYLES: dict[str, dict[str, Any]] = {
    "finished": {"color": BLUE, "linewidth": 1.0, "alpha": 0.6, "label": "finished"},
    "stopped": {"color": ORANGE, "linewidth": 1.0, "marker": "v", "markevery": [-1], "label": "stopped early"},
    "running": {"color": MUTED, "linewidth": 1.0, "marker": "d", "markevery": [-1], "label": "still running"},
    "failed": {"color": RED, "linewidth": 1.0, "marker": "x", "markevery": [-1], "label": "failed"},
    "best": {"color": INK, "linewidth": 2.2, "label": "best"},
    "front": {"color": INK, "linewidth": 1.8, "label": "on the Pareto front"},
    "default": style_of("default") | {"linewidth": 2.2},
    "baseline": style_of("baseline") | {"linewidth": 2.2},
}


def pictures(standings: Standings) -> list[Picture]:
    """One figure with a panel for each goal."""
    goals = standings.objective.goals
    title = f"Learning curves of {' and '.join(goal.metric for goal in goals)}"
    curves = [trial for trial in standings.results.trials if trial.curve]
    drawable = [goal for goal in goals if any(_points(trial, goal) for trial in curves)]
    if not drawable:
        return [Picture("curves", title, "No trial has been evaluated yet.", None)]
    figure, axes = panels(len(drawable), 2, width=6.4, height=4.0)
    drawn: set[str] = set()
    for each, goal in zip(axes, drawable, strict=True):
        for trial in sorted(curves, key=lambda trial: _layer(standings, trial)):
            _curve(each, standings, trial, goal, drawn)
        each.set_xlabel("epoch", fontsize=9, color=INK)
        each.set_ylabel(score_label(goal), fontsize=9, color=INK, parse_math=False)
    head(figure, standings, title)
    handles = [Line2D([], [], **style) for kind, style in STYLES.items() if kind in drawn]
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8, labelcolor=INK)
    several = "" if len(standings.results.seeds) == 1 else f" Curves are of seed {standings.results.seeds[0]}."
    return [Picture("curves", title, f"A curve is a trial, a bend an evaluation.{several}", figure)]


def _curve(axes: Axes, standings: Standings, trial: Trial, goal: Goal, drawn: set[str]) -> None:
    kind = _kind(standings, trial)
    points = _points(trial, goal)
    if not points or kind not in STYLES:
        return
    single = {} if len(points) > 1 else {"marker": STYLES[kind].get("marker", "o"), "markersize": 4}
    style = {"markersize": 5, **STYLES[kind], **single}
    axes.plot(*zip(*points, strict=True), gid=gid(trial), **style)
    drawn.add(kind)


def _points(trial: Trial, goal: Goal) -> list[tuple[float, float]]:
    numbers = [(epoch, metrics.get(goal.metric, math.nan)) for epoch, metrics in trial.curve]
    return [(epoch, number) for epoch, number in numbers if math.isfinite(number)]


def _kind(standings: Standings, trial: Trial) -> str:
    if trial.kind != "proposed":
        return trial.kind
    if trial in standings.front:
        return "front" if standings.objective.several else "best"
    return trial.status


def _layer(standings: Standings, trial: Trial) -> int:
    """The curves that others are compared with are drawn over them."""
    return list(STYLES).index(kind) if (kind := _kind(standings, trial)) in STYLES else -1
