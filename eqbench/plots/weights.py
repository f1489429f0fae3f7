"""The norm of each class's weights in the classifier, by frequency: a plain classifier's grow with it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from eqbench.plots import by_frequency
from eqbench.plots.by_frequency import Values
from eqbench.plots.canvas import INK, Picture, headline, plain
from eqbench.plots.series import Series, Task, mean
from eqbench.plots.stored import Floats

TITLE = "Weight norm of each class"
COLUMN = "weight_norm"


def picture(task: Task) -> Picture:
    """One panel, a mark for each class and loss."""
    task = task.having(lambda run: run.by_class(COLUMN) is not None, "no weight norms")
    found = [(series, values) for series in task.series if (values := _values(series)) is not None]
    if task.classes is None or not found:
        reason = "No weight norms are stored: the classifier has no row of weights of its own for each class."
        return Picture("weights", TITLE, reason, None)
    drawn = [Values.of(series, values, mean) for series, values in found]
    figure = Figure(figsize=(9.6, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    highest = max(float(np.nanmax(values)) for _, values in found)
    axes.set_ylim(0, 1.06 * highest or 1.0)
    by_frequency.draw(axes, task.classes, drawn)
    axes.set_ylabel("norm of the class's weights", fontsize=9, color=INK)
    headline(figure, f"{TITLE}\n{task.subtitle}\n{task.classes.groups_text}")
    by_frequency.add_legend(figure, task.series, marks=by_frequency.has_marks(task.classes))
    caption = "The Euclidean norm of what is multiplied with the features to give the class's logit. "
    caption += " ".join(filter(None, [by_frequency.caption(task.classes, several=task.several), task.remarks]))
    tips = by_frequency.class_tips(task.classes, drawn, "")
    return Picture("weights", TITLE, caption, figure, tips, task.left_out)


def _values(series: Series) -> Floats | None:
    return series.by_class(lambda run: run.by_class(COLUMN))
