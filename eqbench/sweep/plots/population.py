"""Values of a population over training: one line per member, and where it took another's weights and values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.lines import Line2D

from eqbench.plots.canvas import COLOURS, INK, MUTED, PAPER, Picture, panels
from eqbench.sweep.plots.canvas import Scale, gid, head, style_of
from eqbench.sweep.plots.canvas import score_label as label_of

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

    from eqbench.sweep.record import Trial
    from eqbench.sweep.standings import Standings

TITLE = "Values over training"
CAPTION = (
    "A line is a member of the population, its colour the score at its end. At a ring it went on from the weights of "
    "one of the best members, with values near that one's. A dashed line is the published value."
)
RING: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 6, "markerfacecolor": PAPER}


def pictures(standings: Standings) -> list[Picture]:
    """One figure with a panel for each parameter; none of a sweep whose values do not change while it trains."""
    members = [trial for trial in standings.results.trials if trial.schedule]
    if not members:
        return []
    goal = standings.objective.goals[0]
    scores = {trial.number: standings.score(trial, goal) for trial in members}
    known = [score for score in scores.values() if math.isfinite(score)]
    shades = ScalarMappable(
        Normalize(min(known, default=0.0), max(known, default=1.0)),
        ListedColormap(colormaps[COLOURS](np.linspace(0, 0.88, 256))),
    )
    parameters = standings.results.section.space.parameters
    figure, axes = panels(len(parameters), 2, width=6.4, height=3.4)
    for each, parameter in zip(axes, parameters, strict=True):
        scale = Scale(parameter, steps=True)
        scale.set_on(each, "y")
        each.set_xlabel("epoch", fontsize=9, color=INK)
        _reference(each, scale, standings.results.default)
        for trial in members:
            score = scores[trial.number]
            _member(each, scale, trial, shades.to_rgba(np.array(score)) if math.isfinite(score) else MUTED)
    head(figure, standings, TITLE)
    if known:
        bar = figure.colorbar(shades, ax=axes, fraction=0.03, pad=0.01)
        bar.set_label(label_of(goal), fontsize=9, color=INK, parse_math=False)
        bar.ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=8)
    handles = [
        Line2D([], [], color=INK, linewidth=1.4, label="member"),
        Line2D([], [], color=INK, label="went on from another's weights", **RING),
        Line2D([], [], **style_of("default")),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
    return [Picture("schedule", TITLE, CAPTION, figure)]


def _reference(axes: Axes, scale: Scale, default: Trial | None) -> None:
    place = scale.place(default.values.get(scale.parameter.path)) if default else math.nan
    if default and math.isfinite(place):
        axes.axhline(place, gid=gid(default), zorder=1.5, **style_of("default"))


def _member(axes: Axes, scale: Scale, trial: Trial, colour: Any) -> None:
    """The steps of one member's value up to where it was trained to; a ring where it went on from another."""
    path = scale.parameter.path
    epochs = [epoch for epoch, _, _ in trial.schedule] + [max(trial.epochs, trial.schedule[-1][0])]
    places = [scale.place(values.get(path)) for _, values, _ in trial.schedule]
    axes.step(epochs, [*places, places[-1]], where="post", color=colour, linewidth=1.4, gid=gid(trial))
    taken = [(epoch, place) for (epoch, _, donor), place in zip(trial.schedule, places, strict=True) if donor]
    if taken:
        axes.plot(*zip(*taken, strict=True), color=colour, gid=gid(trial), **RING)
