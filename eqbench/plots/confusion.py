"""What images or pixels of each group of classes are taken for: classes of which group, and how many are right."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eqbench.plots.canvas import COLOURS, INK, MUTED, Picture, headline
from eqbench.plots.series import Series, Task
from eqbench.plots.stored import Classes, Floats, Integers
from eqbench.plots.text import cleaned, shortened

TITLE = "Confusion among groups of classes"
CAPTION = (
    "Each row is what {of} of one group, by label, are predicted as, in percent: the right class, or a wrong class of "
    "one of the groups.{seeds}"
)
DARK = 55.0
"""Percent, up to which the colour of a cell is dark."""


def picture(task: Task) -> Picture:
    """A panel for each loss."""
    classes = task.classes
    task = task.having(lambda run: run.confusion is not None, "no predictions")
    counted = [(series, total) for series in task.series if (total := _total(series)) is not None and total.any()]
    if classes is None or not counted:
        reason = "No confusion is stored: it is for classification and segmentation, of runs that keep predictions."
        return Picture("confusion", TITLE, reason, None)
    columns = min(len(counted), 2 if len(counted) == 4 else 3)
    rows = math.ceil(len(counted) / columns)
    groups = len(classes.group_names)
    width = max(3.2, 0.75 * (groups + 1) + 1.2)
    figure = Figure(
        figsize=(max(6.4, columns * width), rows * (0.6 * groups + 1.1) + 0.9), dpi=150, layout="constrained"
    )
    for at, (series, total) in enumerate(counted):
        _panel(figure.add_subplot(rows, columns, at + 1), classes, series.label, shares(total, classes))
    headline(figure, f"{TITLE}\n{task.subtitle}\n{classes.groups_text}")
    caption = CAPTION.format(of=classes.unit, seeds=" Seeds are added up." if task.several else "")
    return Picture("confusion", TITLE, f"{caption} {task.remarks}".strip(), figure, left_out=task.left_out)


def shares(confusion: Integers, classes: Classes) -> Floats:
    """(G, 1 + G) percent of each group's samples: predicted right, or as a wrong class of each group.

    A group without samples has NaN.
    """
    members = np.array([np.isin(np.arange(len(classes.names)), classes.members(name)) for name in classes.group_names])
    right = members @ np.diagonal(confusion)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    counted = np.concatenate([right[:, None], members.astype(np.int64) @ wrong @ members.T.astype(np.int64)], axis=1)
    whole = counted.sum(axis=1, keepdims=True)
    found: Floats = np.where(whole > 0, 100 * counted / np.maximum(whole, 1), math.nan)
    return found


def _total(series: Series) -> Integers | None:
    """(C, C) over all runs of a series."""
    found = [run.confusion for run in series.runs if run.confusion is not None]
    return np.sum(found, axis=0, dtype=np.int64) if found else None


def _panel(axes: Axes, classes: Classes, label: str, percent: Floats) -> None:
    names = [shortened(cleaned(name), 14) for name in classes.group_names]
    axes.imshow(percent, cmap=COLOURS, vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        text = "–" if math.isnan(value) else f"{value:.1f}"
        colour = MUTED if math.isnan(value) else "white" if value < DARK else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
    axes.axvline(0.5, color="white", linewidth=2.5)
    axes.set_xticks(range(len(names) + 1), ["right", *names], parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title(shortened(label, 40), loc="left", fontsize=9, color=INK, parse_math=False)
    axes.set_xlabel("predicted: right, or wrong in group", fontsize=8, color=INK)
    axes.set_ylabel("labelled", fontsize=8, color=INK)
