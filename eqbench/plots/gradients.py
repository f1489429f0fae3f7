"""The gradient ratio over training by class group, and of each class by its frequency: what equalization equalizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eqbench import gradient_ratio
from eqbench.plots import by_frequency
from eqbench.plots.by_frequency import Values
from eqbench.plots.canvas import INK, MUTED, Picture, headline, legend, log_ticks, plain
from eqbench.plots.series import Series, Task, geometric_mean, group_styles, is_wide
from eqbench.plots.stored import Classes, Floats
from eqbench.plots.text import cleaned, shortened

TITLE = "Gradient ratio of classes, positives over negatives"
LABEL = "positive / negative gradient"
MOST_LINES = 40
"""Classes, up to which each has a thin line of its own."""
CAPTION = (
    "Gradients of a class's logit, accumulated since training began: those of its own samples over those of all "
    "others. 1 is balance; where the ratio is below, a class is mostly pushed down. Thick lines are medians over the "
    "classes of a group, {spread}. Averages over seeds are geometric. {last}: {end}"
)


def picture(task: Task) -> Picture:
    """A panel for each loss over training, and one of all losses and classes at the end."""
    task = task.having(lambda run: run.ratios is not None, "no gradient statistics")
    classes = task.classes
    if not task.series or classes is None:
        return Picture("gradients", TITLE, "No gradient statistics are stored.", None)
    histories = [history(series) for series in task.series]
    final = [_final(series) for series in task.series]
    figure, over_training, at_end = _axes(len(task.series))
    limits = _set_scale(over_training, [values for _, values in histories])
    _set_scale([at_end], [span for each in final for span in (each.low, each.high)])
    longest = max(float(epochs[-1]) for epochs, _ in histories)
    for axes, series, (epochs, values) in zip(over_training, task.series, histories, strict=True):
        _over_training(axes, classes, epochs, np.clip(values, *limits))
        axes.set_xlim(0, 1.02 * longest or 1.0)
        label = shortened(cleaned(series.label), int(figure.get_figwidth() / axes.get_gridspec().ncols / 0.1))  # type: ignore[union-attr]
        axes.set_title(label, loc="left", fontsize=9, color=INK, parse_math=False)
    by_frequency.draw(at_end, classes, final)
    _finish(figure, task, classes, over_training, at_end)
    tips = by_frequency.class_tips(classes, final, "")
    edge = "Values beyond the scale stand at its edge." if _beyond(histories, limits) else ""
    caption = " ".join(filter(None, [_caption(task, classes), edge, task.remarks]))
    return Picture("gradients", TITLE, caption, figure, tips, task.left_out)


def _caption(task: Task, classes: Classes) -> str:
    end = by_frequency.caption(classes, several=task.several)
    return CAPTION.format(
        spread="thin ones the classes" if len(classes.names) <= MOST_LINES else "bands their 10th to 90th percentile",
        last=_last(task).capitalize(),
        end=end[0].lower() + end[1:],
    )


def _last(task: Task) -> str:
    finished = all(series.finished for series in task.series)
    return "at the end of training" if finished else "at the last snapshot of each run"


def history(series: Series) -> tuple[Floats, Floats]:
    """(S,) epochs and (S, C) ratios at all snapshots of its runs, each averaged over the runs that have it."""
    found = [run.ratios for run in series.runs if run.ratios is not None]
    iterations = np.unique(np.concatenate([ratios.iterations for ratios in found]))
    stacked = np.full((len(found), len(iterations), found[0].values.shape[1]), math.nan)
    for place, ratios in enumerate(found):
        stacked[place, np.searchsorted(iterations, ratios.iterations)] = ratios.values
    return iterations / series.runs[0].spec.budget.iterations_per_epoch, geometric_mean(stacked)


def _final(series: Series) -> Values:
    """The last snapshot of each run."""
    values = series.by_class(lambda run: None if run.ratios is None else run.ratios.values[-1])
    assert values is not None
    return Values.of(series, values, geometric_mean)


def _limits(values: Sequence[Floats], log: bool) -> tuple[float, float]:
    """Of the ratio axis, 1 included."""
    everything = np.concatenate([each.ravel() for each in values])
    known = everything[np.isfinite(everything) & (everything > 0)]
    if not known.size:
        return 0.0, 2.0
    low, high = (float(each) for each in np.quantile(known, (0.002, 0.998) if log else (0, 1)))
    low, high = min(low, 1.0), max(high, 1.0)
    if log:
        room = (high / low) ** 0.05
        return low / room, high * room
    room = max(0.06 * (high - low), 0.02)
    return max(0.0, low - room), high + room


def _set_scale(axes: Sequence[Axes], values: Sequence[Floats]) -> tuple[float, float]:
    """One ratio axis for several panels, logarithmic where numbers span much; its limits."""
    log = is_wide(np.concatenate([np.ones(1), *(each.ravel() for each in values)]))
    limits = _limits(values, log)
    for each in axes:
        each.set_yscale("log" if log else "linear")
        each.set_ylim(*limits)
        each.axhline(1, color=INK, linewidth=0.9, zorder=1.5)
        if log:
            log_ticks(each.yaxis, *limits)
    return limits


def _beyond(histories: Sequence[tuple[Floats, Floats]], limits: tuple[float, float]) -> bool:
    return any(bool(((values < limits[0]) | (values > limits[1])).any()) for _, values in histories)


def _axes(number: int) -> tuple[Figure, list[Axes], Axes]:
    """Axes of the losses in rows, and one below them over the whole width; beside it where there is one loss."""
    columns = min(number, 2 if number == 4 else 3 if number <= 9 else 4)
    rows = math.ceil(number / columns)
    if number == 1:
        figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
        grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.2))
        axes, last = [figure.add_subplot(grid[0])], figure.add_subplot(grid[1])
    else:
        figure = Figure(figsize=(max(7.6, 3.8 * columns), 2.8 * rows + 4.4), dpi=150, layout="constrained")
        grid = figure.add_gridspec(rows + 1, columns, height_ratios=[*[1.0] * rows, 1.2])
        axes = [figure.add_subplot(grid[at // columns, at % columns]) for at in range(number)]
        last = figure.add_subplot(grid[rows, :])
    for each in (*axes, last):
        plain(each)
    return figure, axes, last


def _over_training(axes: Axes, classes: Classes, epochs: Floats, values: Floats) -> None:
    single: dict[str, Any] = {"marker": "o", "markersize": 4} if len(epochs) == 1 else {}
    kept = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), 200)).round().astype(int))
    for group, style in group_styles(classes).items():
        members = values[np.ix_(kept, classes.members(group))]
        if len(classes.names) <= MOST_LINES:
            axes.plot(epochs[kept], members, color=style["color"], linewidth=0.6, alpha=0.35)
        else:
            known = [row[~np.isnan(row)] for row in members]
            spread = np.array([np.quantile(row, (0.1, 0.9)) if row.size else [math.nan] * 2 for row in known])
            axes.fill_between(epochs[kept], *spread.T, color=style["color"], alpha=0.15, linewidth=0)
        medians = [gradient_ratio.of_group(row) for row in members]
        axes.plot(epochs[kept], medians, linewidth=2, **style, **single)
    axes.set_xlabel("epoch", fontsize=9, color=INK)


def _finish(figure: Figure, task: Task, classes: Classes, over_training: Sequence[Axes], at_end: Axes) -> None:
    for each in (*over_training, at_end):
        if each.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            each.set_ylabel(LABEL, fontsize=9, color=INK)
    headline(figure, f"{TITLE}\n{task.subtitle}\n{classes.groups_text}")
    handles = [Line2D([], [], linewidth=2, **style) for style in group_styles(classes).values()]
    if len(task.series) > 1:
        handles += by_frequency.legend_of(task.series, marks=by_frequency.has_marks(classes))
    legend(figure, [*handles, Line2D([], [], color=INK, linewidth=0.9, label="balance")])
    at_end.set_title(_last(task), loc="left", fontsize=9, color=MUTED, pad=16)
