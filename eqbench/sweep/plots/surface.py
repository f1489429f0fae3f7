"""The score over pairs of parameters: marks over an interpolated field, or a heat map where both have steps."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eqbench.plots.canvas import COLOURS, INK, MUTED, PAPER, Picture, panels
from eqbench.plots.palette import RED
from eqbench.sweep.objective import Goal
from eqbench.sweep.plots.canvas import Scale, aside, dot, file_name, head, score_label
from eqbench.sweep.plots.importance import Importances
from eqbench.sweep.standings import Comparison, number

if TYPE_CHECKING:
    from eqbench.sweep.record import Trial
    from eqbench.sweep.space import Parameter
    from eqbench.sweep.standings import Standings

MOST_PAIRS = 6
COLUMNS = 2
FIELD = 100
"""Points of the interpolated field on each side."""
LEVELS = 15
FEWEST_FOR_A_FIELD = 4


@dataclass(frozen=True)
class _Drawing:
    """What the panels of one figure share."""

    standings: Standings
    goal: Goal
    norm: Normalize
    trials: Sequence[Trial]
    scores: Mapping[int, float]


def pictures(standings: Standings, ranked: Mapping[Goal, Importances]) -> list[Picture]:
    """A figure for each goal, none for a space of one parameter."""
    goals = standings.objective.goals
    if len(standings.results.section.space.parameters) < 2:
        return []
    return [_picture(standings, goal, file_name("surface", goal, goals), ranked[goal]) for goal in goals]


def _picture(standings: Standings, goal: Goal, name: str, ranked: Importances) -> Picture:
    parameters = standings.results.section.space.parameters
    trials = [
        trial
        for trial in standings.results.trials
        if trial.kind != "baseline" and trial.status in ("finished", "stopped", "failed")
    ]
    compared = standings.comparable(goal)
    scored = [trial for trial in trials if trial.number in compared.scores]
    title = f"{goal.metric}{compared.when} over pairs of parameters"
    if not scored:
        return Picture(name, title, f"No finished trial has {goal.metric} yet.", None)
    pairs = _pairs(parameters, ranked, scored)
    if not pairs:
        return Picture(name, title, "No finished trial has two of the parameters.", None)
    figure, axes = panels(len(pairs), COLUMNS, width=5.2, height=4.2)
    drawing = _Drawing(standings, goal, _norm(list(compared.scores.values())), trials, compared.scores)
    with_field = [_panel(each, drawing, *pair) for each, pair in zip(axes, pairs, strict=True)]
    _colour_bar(figure, axes, drawing)
    head(figure, standings, title)
    return Picture(name, title, _caption(len(pairs), parameters, any(with_field), compared), figure)


def _pairs(
    parameters: Sequence[Parameter], ranked: Importances, scored: Sequence[Trial]
) -> list[tuple[Parameter, Parameter]]:
    """Those that a scored trial has both of; the most important ones where there are many."""
    pairs = [
        pair
        for pair in itertools.combinations(parameters, 2)
        if any(all(parameter.path in trial.values for parameter in pair) for trial in scored)
    ]
    if len(pairs) > MOST_PAIRS and not isinstance(ranked, str):
        known = {path: value.share for path, value in ranked.items()}
        pairs.sort(key=lambda pair: -sum(known.get(parameter.path, 0.0) for parameter in pair))
    return pairs[:MOST_PAIRS]


def _norm(scores: Sequence[float]) -> Normalize:
    low, high = min(scores), max(scores)
    return Normalize(low, high) if low < high else Normalize(low - 0.5, high + 0.5)


def _panel(axes: Axes, drawing: _Drawing, across: Parameter, up: Parameter) -> bool:
    """Draw one pair; whether it has an interpolated field."""
    in_steps = all(parameter.kind in ("choice", "grid") for parameter in (across, up))
    x, y = (Scale(parameter, steps=in_steps) for parameter in (across, up))
    x.set_on(axes, "x")
    y.set_on(axes, "y")
    axes.grid(visible=False)
    axes.use_sticky_edges = False
    if in_steps:
        _heat_map(axes, drawing, x, y)
        return False
    points = [(place, trial) for trial in drawing.trials if (place := _place(trial, x, y)) is not None]
    field = not (x.values or y.values) and _field(axes, drawing, x, y, points)
    for (a, b), trial in points:
        _mark(axes, drawing, (a + aside(trial) * bool(x.values), b + aside(trial) * bool(y.values)), trial)
    return field


def _place(trial: Trial, x: Scale, y: Scale) -> tuple[float, float] | None:
    paths = (x.parameter.path, y.parameter.path)
    if not all(path in trial.values for path in paths):
        return None
    places = x.place(trial.values[paths[0]]), y.place(trial.values[paths[1]])
    return None if any(map(math.isnan, places)) else places


def _mark(axes: Axes, drawing: _Drawing, place: tuple[float, float], trial: Trial) -> None:
    score = drawing.scores.get(trial.number)
    style: dict[str, Any] = {"linestyle": "none", "markersize": 7, "zorder": 3}
    if score is None:
        marker = {"stopped": "v", "failed": "x"}.get(trial.status, "_")
        dot(axes, *place, trial, **(style | {"marker": marker, "color": MUTED, "markersize": 5}))
        return
    colour = ScalarMappable(drawing.norm, COLOURS).cmap(drawing.norm(score))
    look: dict[str, Any] = {"marker": "o", "color": colour, "markeredgecolor": PAPER, "markeredgewidth": 1.2}
    if trial.kind == "default":
        look |= {"marker": "*", "markersize": 15, "markeredgecolor": RED, "zorder": 4}
    elif trial in drawing.standings.front:
        look |= {"markersize": 11, "markeredgecolor": INK, "markeredgewidth": 1.8, "zorder": 5}
    dot(axes, *place, trial, **(style | look))


def _field(
    axes: Axes, drawing: _Drawing, x: Scale, y: Scale, points: Sequence[tuple[tuple[float, float], Trial]]
) -> bool:
    """Linear interpolation between trials on the axes' own scales; nothing is said outside of them."""
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    samples: dict[tuple[float, float], list[float]] = defaultdict(list)
    for (a, b), trial in points:
        if (score := drawing.scores.get(trial.number)) is not None:
            samples[x.even(a), y.even(b)].append(score)
    if len(samples) < FEWEST_FOR_A_FIELD:
        return False
    places = np.array(list(samples))
    sides = [np.linspace(low, high, FIELD) for low, high in zip(places.min(0), places.max(0), strict=True)]
    try:
        values: NDArray[np.float64] = griddata(
            places, [float(np.mean(each)) for each in samples.values()], tuple(np.meshgrid(*sides)), rescale=True
        )
    except QhullError:  # all on one line
        return False
    drawn = [10**side if scale.log else side for side, scale in zip(sides, (x, y), strict=True)]
    levels = np.linspace(drawing.norm.vmin or 0.0, drawing.norm.vmax or 0.0, LEVELS)
    axes.contourf(*drawn, values, levels, norm=drawing.norm, cmap=COLOURS, alpha=0.6, extend="both")
    return True


def _heat_map(axes: Axes, drawing: _Drawing, x: Scale, y: Scale) -> None:
    """A cell per pair of values: the mean score of its trials."""
    cells: dict[tuple[float, float], list[float]] = defaultdict(list)
    for trial in drawing.trials:
        score = drawing.scores.get(trial.number)
        if score is not None and (place := _place(trial, x, y)) is not None:
            cells[place].append(score)
    means = np.full((len(y.values), len(x.values)), math.nan)
    for (column, row), scores in cells.items():
        means[int(row), int(column)] = np.mean(scores)
    axes.imshow(means, norm=drawing.norm, cmap=COLOURS, origin="lower", aspect="auto", interpolation="nearest")
    for (column, row), scores in cells.items():
        mean = float(np.mean(scores))
        several = f"\nn = {len(scores)}" if len(scores) > 1 else ""
        colour = "black" if drawing.norm(mean) > 0.55 else "white"
        text = f"{number(drawing.goal.metric, mean)}{several}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _colour_bar(figure: Figure, axes: Sequence[Axes], drawing: _Drawing) -> None:
    bar = figure.colorbar(ScalarMappable(drawing.norm, COLOURS), ax=list(axes), shrink=0.9, pad=0.02, aspect=40)
    bar.set_label(score_label(drawing.goal), fontsize=9, color=INK, parse_math=False)
    bar.ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=8)
    bar.outline.set_visible(False)


def _caption(pairs: int, parameters: Sequence[Parameter], with_field: bool, compared: Comparison) -> str:
    sentences = [
        f"Coloured: {compared.trials}, a star the default, a ring the best of all. Grey: others, stopped or failed. "
        f"Shown are {compared.counted}."
    ]
    if with_field:
        sentences.append(
            f"The field interpolates linearly between {compared.trials}, whatever their other parameters; beyond them "
            "nothing is said."
        )
    if sum(parameter.kind in ("choice", "grid") for parameter in parameters) > 1:
        sentences.append(f"Cells of a heat map are means over the {compared.trials} with these two values.")
    if pairs < len(parameters) * (len(parameters) - 1) // 2:
        sentences.append(f"Shown are {pairs} pairs, of the most important parameters where that is known.")
    return " ".join(sentences)
