"""The result of each class against its number of training samples, and the change against the first loss."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from eqbench.plots import by_frequency
from eqbench.plots.by_frequency import Values
from eqbench.plots.canvas import INK, Picture, headline, plain
from eqbench.plots.series import Series, Task, mean
from eqbench.plots.stored import Floats
from eqbench.plots.text import shortened

TITLE = "Result of each class against its frequency"


def picture(task: Task) -> Picture:
    """One panel of results; a second of changes where there are several losses."""
    column = next((name for series in task.series for run in series.runs if (name := run.result_column)), None)
    if column is not None:
        task = task.having(lambda run: run.by_class(column) is not None, "no result by class")
    kept = task.series
    if task.classes is None or column is None or not kept:
        return Picture("per_class", TITLE, "No result by class is stored.", None)
    drawn = [Values.of(series, found, mean) for series in kept if (found := _values(series, column)) is not None]
    changes = [change for values in kept[1:] if (change := _change(kept[0], values, column))]
    rows = 2 if changes else 1
    figure = Figure(figsize=(9.6, 3.6 * rows + 0.9), dpi=150, layout="constrained")
    panels = [(column, drawn), (f"change against {shortened(kept[0].label, 32)}", changes)][:rows]
    for at, (label, values) in enumerate(panels):
        axes = figure.add_subplot(rows, 1, at + 1)
        plain(axes)
        axes.set_ylim(*_limits(values, percent=at == 0))
        if at:
            axes.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
        by_frequency.draw(axes, task.classes, values)
        axes.set_ylabel(f"{label} (%)" if not at else f"{label} (points)", fontsize=9, color=INK, parse_math=False)
    headline(figure, f"{TITLE}: {column}\n{task.subtitle}\n{task.classes.groups_text}")
    by_frequency.add_legend(figure, kept, marks=by_frequency.has_marks(task.classes))
    return Picture(
        "per_class",
        TITLE,
        _caption(task, bool(changes)),
        figure,
        by_frequency.class_tips(task.classes, drawn, " %"),
        task.left_out,
    )


def _values(series: Series, column: str) -> Floats | None:
    return series.by_class(lambda run: run.by_class(column))


def _change(first: Series, series: Series, column: str) -> Values | None:
    """Differences of the runs that share a seed; of the means where none do."""
    baseline = {run.spec.seed: values for run in first.runs if (values := run.by_class(column)) is not None}
    own = {run.spec.seed: values for run in series.runs if (values := run.by_class(column)) is not None}
    pairs = [own[seed] - baseline[seed] for seed in own if seed in baseline]
    differences = np.stack(pairs or [mean(np.stack([*own.values()])) - mean(np.stack([*baseline.values()]))])
    return Values.of(series, differences, mean) if np.isfinite(differences).any() else None


def _limits(values: list[Values], *, percent: bool) -> tuple[float, float]:
    numbers = np.concatenate([np.concatenate([each.low, each.high]) for each in values])
    known = numbers[np.isfinite(numbers)]
    low, high = min(0.0, float(known.min(initial=math.inf))), max(0.0, float(known.max(initial=-math.inf)))
    room = 0.05 * (high - low) or 1.0
    return (low - room, high + room) if not percent else (min(low, 0.0) - room, high + room)


def _caption(task: Task, changes: bool) -> str:
    assert task.classes is not None
    parts = [by_frequency.caption(task.classes, several=task.several)]
    if changes:
        parts.append("Changes are differences of runs with the same seed.")
    return " ".join(filter(None, [*parts, task.remarks]))
