"""The gradient ratio over training by class group, and of each class by its frequency: what equalization equalizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eqbench.plots import by_frequency
from eqbench.plots.by_frequency import Values
from eqbench.plots.canvas import INK, MUTED, Picture, headline, plain
from eqbench.plots.series import Series, Task, geometric_mean, group_styles, is_wide
from eqbench.plots.stored import Classes, Floats, StoredRun
from eqbench.plots.text import cleaned

TITLE = "Gradient ratio of classes, positives over negatives"
LABEL = "positive / negative gradient"
COLUMNS = 3
MOST_LINES = 40
"""Classes, up to which each has a thin line of its own."""
CAPTION = (
    "Gradients of a class's logit, accumulated since training began: those of its own samples over those of all "
    "others. 1 is balance; where the ratio is below, a class is mostly pushed down. Thick lines are medians over the "
    "classes of a group, {spread}. Averages over seeds are geometric. At the end of training: {end}"
)


def picture(task: Task) -> Picture:
    """A panel for each loss over training, and one of all losses and classes at the end."""
    kept = [series for series in task.series if any(run.ratios is not None for run in series.runs)]
    classes = task.classes
    if not kept or classes is None:
        return Picture("gradients", TITLE, "No gradient statistics are stored.", None)
    histories = [history(series) for series in kept]
    final = [_final(series) for series in kept]
    ratios = [values for _, values in histories]
    spans = [span for each in final for span in (each.low, each.high)]
    log = is_wide(np.concatenate([np.ones(1), *(values.ravel() for values in (*ratios, *spans))]))
    figure, over_training, at_end = _axes(len(kept))
    limits = _limits(ratios, log)
    for each in over_training:
        _set_scale(each, limits, log)
    _set_scale(at_end, _limits(spans, log), log)
    for axes, series, (epochs, values) in zip(over_training, kept, histories, strict=True):
        _over_training(axes, classes, epochs, np.clip(values, *limits))
        axes.set_title(cleaned(series.label), loc="left", fontsize=9, color=INK, parse_math=False)
    by_frequency.draw(at_end, classes, final)
    _finish(figure, task.with_series(kept), classes, over_training, at_end)
    end = by_frequency.caption(classes, several=any(len(series.runs) > 1 for series in kept))
    caption = CAPTION.format(
        spread="thin ones the classes" if len(classes.names) <= MOST_LINES else "bands their 10th to 90th percentile",
        end=end[0].lower() + end[1:],
    )
    edge = " Values beyond the scale stand at its edge." if _beyond(histories, limits) else ""
    return Picture("gradients", TITLE, caption + edge, figure, by_frequency.class_tips(classes, final, ""))


def history(series: Series) -> tuple[Floats, Floats]:
    """(S,) epochs and (S, C) ratios at the snapshots that all its runs have."""
    runs = [run for run in series.runs if run.ratios is not None]
    shared = sorted(set.intersection(*({int(at) for at in run.ratios.iterations} for run in runs if run.ratios)))
    stacks = [_at(run, shared) for run in runs]
    per_epoch = runs[0].spec.budget.iterations_per_epoch
    return np.array(shared, np.float64) / per_epoch, geometric_mean(np.stack(stacks))


def _at(run: StoredRun, iterations: Sequence[int]) -> Floats:
    assert run.ratios is not None
    places = np.searchsorted(run.ratios.iterations, iterations)
    return run.ratios.values[places]


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


def _set_scale(axes: Axes, limits: tuple[float, float], log: bool) -> None:
    axes.set_yscale("log" if log else "linear")
    axes.set_ylim(*limits)
    axes.axhline(1, color=INK, linewidth=0.9, zorder=1.5)
    if log:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if _is_named(value, limits) else "")


def _beyond(histories: Sequence[tuple[Floats, Floats]], limits: tuple[float, float]) -> bool:
    return any(bool(((values < limits[0]) | (values > limits[1])).any()) for _, values in histories)


def _is_named(value: float, limits: tuple[float, float]) -> bool:
    """Whether a tick between powers of ten has a number: 2 and 5, where the axis spans few decades."""
    first = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
    return first in (2, 5) and limits[1] / limits[0] < 300


def _axes(number: int) -> tuple[Figure, list[Axes], Axes]:
    """Axes of the losses in rows, and one below them over the whole width; beside it where there is one loss."""
    columns = min(number, 2 if number == 4 else COLUMNS)
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
        thin = {"color": style["color"], "linewidth": 0.6, "alpha": 0.35}
        if len(classes.names) <= MOST_LINES:
            axes.plot(epochs[kept], members, **thin)
        known = [row[~np.isnan(row)] for row in members]
        quantiles = np.array([np.quantile(row, (0.1, 0.5, 0.9)) if row.size else [math.nan] * 3 for row in known])
        if len(classes.names) > MOST_LINES:
            axes.fill_between(
                epochs[kept], quantiles[:, 0], quantiles[:, 2], color=style["color"], alpha=0.15, linewidth=0
            )
        axes.plot(epochs[kept], quantiles[:, 1], linewidth=2, **style, **single)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.set_xlim(left=0)


def _finish(figure: Figure, task: Task, classes: Classes, over_training: Sequence[Axes], at_end: Axes) -> None:
    for each in (*over_training, at_end):
        if each.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            each.set_ylabel(LABEL, fontsize=9, color=INK)
    headline(figure, f"{TITLE}\n{task.subtitle}")
    handles = [Line2D([], [], linewidth=2, **style) for style in group_styles(classes).values()]
    if len(task.series) > 1:
        handles += by_frequency.legend_of(task.series, marks=by_frequency.has_marks(classes))
    handles.append(Line2D([], [], color=INK, linewidth=0.9, label="balance"))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=min(len(handles), 6), frameon=False, fontsize=8, labelcolor=INK
    )
    at_end.set_title("at the end of training", loc="left", fontsize=9, color=MUTED, pad=16)
