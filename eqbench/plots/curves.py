"""Learning curves: the training loss, and each group's number of the main metric, over epochs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from eqbench.plots.by_frequency import add_legend
from eqbench.plots.canvas import INK, Picture, headline, log_ticks, panels
from eqbench.plots.series import Series, Task, is_wide, mean
from eqbench.plots.stored import StoredRun

TITLE = "Learning curves"
LOSS = "train/loss"
MOST_POINTS = 250


def picture(task: Task) -> Picture:
    """A panel for each number: training loss, main metric, groups from frequent to rare."""
    task = task.having(lambda run: bool(run.metrics or run.curve(LOSS)), "nothing recorded")
    lengths = {name: _longest(task, name) for name in _names(task)}
    bent = [name for name, length in lengths.items() if length > 1]
    shown = bent or [name for name, length in lengths.items() if length]
    if not shown:
        return Picture("curves", TITLE, "No training has been recorded.", None)
    figure, axes = panels(len(shown), 3, width=3.8, height=2.7)
    longest = max(
        epoch for name in shown for series in task.series for run in series.runs for epoch, _ in _curve(run, name)
    )
    for each, name in zip(axes, shown, strict=True):
        for series in task.series:
            _draw(each, series, name)
        each.set_xlabel("epoch", fontsize=9, color=INK)
        each.set_xlim(0, 1.02 * longest or 1.0)
        unit = "" if name == LOSS else " (%)"
        each.set_ylabel(f"{name}{unit}", fontsize=9, color=INK, parse_math=False)
        values = np.array([value for line in each.get_lines() for value in np.atleast_1d(line.get_ydata())], float)
        if name == LOSS and is_wide(values):
            each.set_yscale("log")
            positive = values[values > 0]
            log_ticks(each.yaxis, positive.min(), positive.max())
    groups = f"\n{task.classes.groups_text}" if task.classes else ""
    headline(figure, f"{TITLE}\n{task.subtitle}{groups}")
    add_legend(figure, task.series, marks=False)
    caption = "The training loss is of what is trained: between losses, its height says nothing."
    caption += " Thick lines are means over seeds, thin ones the seeds." if task.several else ""
    caption += " There was one evaluation." if lengths.get(_names(task)[-1]) == 1 else ""
    return Picture("curves", TITLE, f"{caption} {task.remarks}".strip(), figure, left_out=task.left_out)


def _curve(run: StoredRun, name: str) -> list[tuple[float, float]]:
    return run.averaged_curve(name, MOST_POINTS) if name == LOSS else run.curve(name)


def _longest(task: Task, name: str) -> int:
    """Points of the longest curve of a number."""
    return max((len(_curve(run, name)) for series in task.series for run in series.runs), default=0)


def _names(task: Task) -> list[str]:
    """Training loss, main metric, and what it is over each group of classes."""
    metrics = next((run.metrics for series in task.series for run in series.runs if run.metrics), ())
    main = metrics[0] if metrics else ""
    groups = task.classes.group_names if task.classes else ()
    of_groups = [
        next((name for name in (f"{main}_{group}", f"val/{group}") if name in metrics), "") for group in groups
    ]
    return [name for name in (LOSS, main, *of_groups) if name]


def _draw(axes: Axes, series: Series, name: str) -> None:
    curves = [curve for run in series.runs if (curve := _curve(run, name))]
    style: dict[str, Any] = {"color": series.colour, "linestyle": series.dashes}
    if len(curves) > 1:
        for curve in curves:
            axes.plot(*_points(curve), linewidth=0.6, alpha=0.4, **style)
    epochs = sorted({epoch for curve in curves for epoch, _ in curve})
    if epochs:
        values = mean(np.array([[dict(curve).get(epoch, math.nan) for epoch in epochs] for curve in curves]))
        points = _points(list(zip(epochs, values.tolist(), strict=True)))
        single: dict[str, Any] = {} if len(epochs) > 1 else {"marker": series.mark, "markersize": 5}
        axes.plot(*points, linewidth=1.8, gid=series.gid, **style, **single)


def _points(curve: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Epochs and values, of long curves every so many."""
    places = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).round().astype(int))
    return [curve[place][0] for place in places], [curve[place][1] for place in places]
