"""Numbers of classes, side by side from the class with most training samples to the one with fewest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eqbench.plots.canvas import INK, MUTED, legend
from eqbench.plots.series import Series
from eqbench.plots.stored import Classes, Floats
from eqbench.plots.text import cleaned, shortened

MOST_MARKS = 60
"""Classes, up to which each has a mark of its own, and pointing at it a description."""
MOST_NAMES = 24
MOST_DOTS = 400
SMOOTHED = "Lines are running medians over the classes, bands the 10th to 90th percentile."


@dataclass(frozen=True)
class Values:
    """(C,) `middle` of a series, and what its seeds span; NaN where there is no number."""

    series: Series
    middle: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, series: Series, values: Floats, average: Callable[[Floats], Floats]) -> Values:
        """From the numbers (R, C) of a series' runs."""
        unknown = np.isnan(values)
        middle = average(values)
        low, high = np.where(unknown, np.inf, values).min(axis=0), np.where(unknown, -np.inf, values).max(axis=0)
        return cls(series, middle, np.where(np.isnan(middle), np.nan, low), np.where(np.isnan(middle), np.nan, high))


def draw(axes: Axes, classes: Classes, drawn: Sequence[Values]) -> None:
    """Marks, or where classes are many a smoothed line, of each series; the groups are named at the top."""
    number = len(classes.names)
    for place, values in enumerate(drawn):
        if number <= MOST_MARKS:
            _marks(axes, classes, values, (place - (len(drawn) - 1) / 2) * min(0.18, 0.7 / len(drawn)))
        else:
            _smoothed(axes, classes, values)
    _groups(axes, classes)
    axes.set_xlim(-0.7, number - 0.3)
    axes.set_xlabel(classes.order_text, fontsize=9, color=INK)
    if number <= MOST_NAMES:
        names = [shortened(cleaned(classes.names[class_id]), 18) for class_id in classes.order]
        crowded = sum(map(len, names)) > 2 * number
        turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(range(number), names, parse_math=False, **turned)
    axes.grid(axis="x", visible=False)


def legend_of(drawn: Sequence[Series], *, marks: bool) -> list[Line2D]:
    """What colours and marks mean."""
    style = {"linestyle": "none"} if marks else {}
    return [
        Line2D(
            [],
            [],
            color=each.colour,
            label=shortened(each.label, 48),
            marker=each.mark if marks else "",
            **({"linestyle": each.dashes} | style),
        )
        for each in drawn
    ]


def class_tips(classes: Classes, drawn: Sequence[Values], unit: str) -> dict[str, str]:
    """What pointing at the marks of a class shows; none where classes have no marks of their own."""
    if len(classes.names) > MOST_MARKS:
        return {}
    tips = {}
    for class_id, name in enumerate(classes.names):
        numbers = [
            f"{values.series.label}: {values.middle[class_id]:.4g}{unit}"
            for values in drawn
            if not np.isnan(values.middle[class_id])
        ]
        count = f"{classes.counts[class_id]:,} training {classes.unit}"
        head = f"{cleaned(name)} ({cleaned(classes.groups[class_id])}, {count})"
        tips[f"class:{class_id}"] = "\n".join([head, *numbers])
    return tips


def _marks(axes: Axes, classes: Classes, values: Values, aside: float) -> None:
    series = values.series
    low, high = axes.get_ylim()
    for place, class_id in enumerate(classes.order):
        at, name = place + aside, f"class:{class_id}"
        middle = np.clip(values.middle[class_id], low, high)
        if np.isnan(middle):
            continue
        if values.high[class_id] > values.low[class_id]:
            span = np.clip([values.low[class_id], values.high[class_id]], low, high)
            axes.plot([at, at], span, color=series.colour, linewidth=1.2, alpha=0.6, gid=name)
        axes.plot([at], [middle], marker=series.mark, color=series.colour, markersize=5, linestyle="none", gid=name)


def _smoothed(axes: Axes, classes: Classes, values: Values) -> None:
    series = values.series
    low, high = axes.get_ylim()
    ordered = values.middle[classes.order]
    known = np.flatnonzero(~np.isnan(ordered))
    numbers = np.clip(ordered[known], low, high)
    if len(classes.names) <= MOST_DOTS:
        axes.plot(known, numbers, ".", color=series.colour, markersize=2.5, alpha=0.35)
    at, quantiles = running(known, numbers, len(classes.names))
    if not len(at):
        return
    axes.fill_between(at, quantiles[0], quantiles[2], color=series.colour, alpha=0.13, linewidth=0)
    axes.plot(at, quantiles[1], color=series.colour, linestyle=series.dashes, linewidth=1.8, gid=series.gid)


def running(places: Any, numbers: Floats, total: int) -> tuple[Floats, Floats]:
    """10th, 50th and 90th percentile of the numbers within windows of a twentieth of all places.

    Returns:
        (P,) middles of the windows, and (3, P) percentiles.

    >>> at, quantiles = running(np.arange(100), np.arange(100.0), 100)
    >>> float(at[50]), quantiles[:, 50].tolist()
    (50.0, [47.0, 50.0, 52.0])
    """
    half = max(3.0, total / 40)
    middles = np.unique(np.linspace(0, total - 1, min(total, 160)).round())
    begins, ends = np.searchsorted(places, middles - half), np.searchsorted(places, middles + half, side="right")
    kept = [(at, numbers[begin:end]) for at, begin, end in zip(middles, begins, ends, strict=True) if end > begin]
    if not kept:
        return np.empty(0), np.empty((3, 0))
    quantiles = np.array([np.quantile(inside, (0.1, 0.5, 0.9), method="closest_observation") for _, inside in kept])
    return np.array([at for at, _ in kept]), quantiles.T


def _groups(axes: Axes, classes: Classes) -> None:
    """A line where the group changes, and the name of each group at the top."""
    ordered = [classes.groups[class_id] for class_id in classes.order]
    changes = [place for place in range(1, len(ordered)) if ordered[place] != ordered[place - 1]]
    for place in changes:
        axes.axvline(place - 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for begin, end in zip([0, *changes], [*changes, len(ordered)], strict=True):
        at = (begin + end - 1) / 2
        axes.annotate(
            cleaned(ordered[begin]),
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=MUTED,
            parse_math=False,
        )


def add_legend(figure: Figure, drawn: Sequence[Series], *, marks: bool) -> None:
    """Below the figure, what belongs to which loss, where there are several."""
    if len(drawn) > 1:
        legend(figure, legend_of(drawn, marks=marks))


def has_marks(classes: Classes) -> bool:
    """Whether each class has a mark of its own."""
    return len(classes.names) <= MOST_MARKS


def caption(classes: Classes, *, several: bool) -> str:
    """How to read marks and lines; `several`: there are seeds to average."""
    if len(classes.names) > MOST_MARKS:
        return f"{SMOOTHED}{' Seeds are averaged first.' if several else ''}"
    return (
        "A mark is a class, averaged over seeds; a vertical line is what they span."
        if several
        else "A mark is a class."
    )
