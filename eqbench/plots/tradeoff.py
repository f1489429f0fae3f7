"""Losses by their results on frequent and on rare classes, with intervals: what the tail gains and the head pays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from eqbench.plots import palette
from eqbench.plots.canvas import INK, MUTED, Picture, headline, legend, panels
from eqbench.plots.series import Series
from eqbench.plots.text import cleaned, shortened

if TYPE_CHECKING:
    from eqbench.leaderboard.aggregate import Column, Leaderboard

TITLE = "Rare against frequent classes"
ENDS = (("many", "few"), ("ap_f", "ap_r"), ("miou_head", "miou_tail"))
"""Numbers of the most frequent and of the rarest group, of each family of tasks."""
CAPTION = (
    "A mark is a loss, its mean over seeds; bars are 95 % t-intervals, none with a single seed, cut off below 0 and "
    "above 100. Dashed lines are the first loss's: above, the rare classes gain; to the left, the frequent ones lose."
)


def picture(board: Leaderboard, places: Mapping[str, int] | None = None) -> Picture:
    """A panel for each task of the current plan that has both numbers.

    Args:
        places: of the losses, which decide how they look; by default as they come in the board.
    """
    drawable = [(column, ends) for column in board.current if (ends := _ends(column))]
    if not drawable:
        reason = "No task has finished runs with a result for its most frequent and for its rarest classes."
        return Picture("tradeoff", TITLE, reason, None)
    labels = list(dict.fromkeys(label for column in board.current for label in column.entries))
    places = palette.places(labels) if places is None else places
    looks = {label: Series(cleaned(label), places[label], ()) for label in labels}
    figure, axes = panels(len(drawable), 3, width=4.4, height=3.7)
    drawn: dict[str, None] = {}
    tips: dict[str, str] = {}
    for each, (column, ends) in zip(axes, drawable, strict=True):
        drawn |= dict.fromkeys(_panel(each, column, ends, looks))
    headline(figure, f"{TITLE}\n{cleaned(', '.join(board.suites))}")
    handles = [
        Line2D([], [], linestyle="none", marker=look.mark, color=look.colour, label=shortened(look.label, 48))
        for label, look in looks.items()
        if label in drawn
    ]
    legend(figure, handles)
    for label in drawn:
        tips[looks[label].gid] = _tip(label, drawable)
    return Picture("tradeoff", TITLE, CAPTION, figure, tips)


def _ends(column: Column) -> tuple[str, str] | None:
    """The names of both numbers, if some loss has them."""
    for head, tail in ENDS:
        if any(math.isfinite(_mean(column, label, head) + _mean(column, label, tail)) for label in column.entries):
            return head, tail
    return None


def _mean(column: Column, label: str, metric: str) -> float:
    cell = column.entries[label].cells.get(metric)
    return math.nan if cell is None else cell.value.mean


def _panel(axes: Axes, column: Column, ends: tuple[str, str], looks: dict[str, Series]) -> list[str]:
    """Draw one task; the losses that have marks."""
    drawn = []
    for label, entry in column.entries.items():
        if not all(math.isfinite(_mean(column, label, metric)) for metric in ends):
            continue
        (x, x_half, _), (y, y_half, _) = (entry.cells[metric].value for metric in ends)
        look = looks[label]
        bars: dict[str, Any] = {"color": look.colour, "linewidth": 1.2, "gid": look.gid, "markersize": 6}
        if math.isfinite(x_half):
            axes.plot([x - x_half, x + x_half], [y, y], marker="|", **bars)
        if math.isfinite(y_half):
            axes.plot([x, x], [y - y_half, y + y_half], marker="_", **bars)
        axes.plot([x], [y], marker=look.mark, color=look.colour, markersize=7, linestyle="none", gid=look.gid, zorder=3)
        if label == column.baseline:
            guide: dict[str, Any] = {"color": MUTED, "linewidth": 0.6, "alpha": 0.6, "zorder": 1.2}
            axes.axvline(x, linestyle=(0, (2, 4)), **guide)
            axes.axhline(y, linestyle=(0, (2, 4)), **guide)
        drawn.append(label)
    axes.set_title(shortened(cleaned(column.title), 60), loc="left", fontsize=9, color=INK, parse_math=False)
    axes.set_xlabel(f"{ends[0]} (%), frequent classes", fontsize=9, color=INK)
    axes.set_ylabel(f"{ends[1]} (%), rare classes", fontsize=9, color=INK)
    axes.margins(0.12)
    for limits, setter in ((axes.get_xlim(), axes.set_xlim), (axes.get_ylim(), axes.set_ylim)):
        setter(max(limits[0], -3.0), min(limits[1], 103.0))
    return drawn


def _tip(label: str, drawable: list[tuple[Column, tuple[str, str]]]) -> str:
    lines = [cleaned(label)]
    for column, (head, tail) in drawable:
        if label in column.entries and math.isfinite(_mean(column, label, head)):
            numbers = f"{head} {_mean(column, label, head):.1f}, {tail} {_mean(column, label, tail):.1f}"
            lines.append(f"{cleaned(column.title)}: {numbers}, n = {column.entries[label].cells[head].value.n}")
    return "\n".join(lines)
