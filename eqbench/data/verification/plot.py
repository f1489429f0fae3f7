"""Picture of a data set's class frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.verification.class_counts import by_frequency, split_counts
from eqbench.data.verification.contents import Contents
from eqbench.data.verification.names import printable
from eqbench.errors import EnvironmentProblem, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUP_COLOURS = ("#2c6fbb", "#e08a1e", "#b8336a", "#4a9c6d", "#7d6bb0")
"""From frequent to rare; told apart with colour blindness too."""
EVAL_COLOURS = ("#222222", "#888888")
ENDINGS = (".png", ".pdf", ".svg")
FEW_CLASSES = 30
"""Up to so many have their names at the axis."""
LARGEST_WRITTEN_OUT = 10**6
"""Larger numbers are powers of ten at the axis."""


def check_file(file: Path) -> None:
    """Raises InputError unless a plot can be written to a file of this name."""
    if file.suffix.lower() not in ENDINGS:
        raise InputError(f"--plot {file}: expected a name that ends with {', '.join(ENDINGS)}")
    if not file.parent.is_dir():
        raise InputError(f"--plot {file}: no such folder as {file.parent}")


def save(contents: Contents, title: str, file: Path) -> None:
    """Write the plot: classes by training frequency, on a logarithmic scale, in the colours of their groups.

    Some split has samples. Names are shown as they are, not as formulas.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, contents)
    axes.set_title(f"{printable(title)}\n{_summary(contents)}", loc="left", fontsize=10, parse_math=False)
    try:
        figure.savefig(file)
    except OSError as error:
        raise EnvironmentProblem(f"--plot {file}: cannot be written ({error.strerror or error})") from error


def _summary(contents: Contents) -> str:
    classes = f"{len(contents.class_names):,} classes"
    train = split_counts(contents)[0]
    if train.split != next(iter(contents.counts)):
        return f"{classes}, no training {contents.unit}"
    empty = f", {train.empty:,} without any" if train.empty else ""
    return (
        f"{classes}{empty}, {train.samples:,} training {contents.unit}, "
        f"imbalance factor {train.imbalance_factor:,.0f}, Gini {train.gini:.2f}"
    )


def _draw(axes: Axes, contents: Contents) -> None:
    order = by_frequency(contents)
    places = np.arange(len(order))
    (trained_on, train), *others = contents.counts.items()
    counts, groups = train[order], np.array(contents.groups)[order]
    shown: list[Any] = []
    for colour, group in zip(GROUP_COLOURS, contents.group_names, strict=False):
        inside = groups == group
        label = f"{trained_on}: {group} ({int(inside.sum()):,})"
        width = 0.8 if len(order) <= FEW_CLASSES else 1.0
        shown.append(axes.bar(places[inside], counts[inside], width=width, color=colour, label=label))
    for colour, (split, held) in zip(EVAL_COLOURS, others, strict=False):
        drawn = np.where(held > 0, held, np.nan)[order]
        shown += axes.plot(places, drawn, ".", markersize=3, color=colour, label=split)
    _scale(axes, np.concatenate([each[each > 0] for each in contents.counts.values()]))
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_ylabel(f"{contents.unit} of a class")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=shown, frameon=False, fontsize=8)
    if len(order) <= FEW_CLASSES:
        names = [printable(contents.class_names[row]) for row in order]
        axes.set_xticks(places, names, rotation=60, ha="right", fontsize=7, parse_math=False)
    else:
        axes.set_xlabel("class, by descending training frequency")


def _scale(axes: Axes, counts: NDArray[np.int64]) -> None:
    """Logarithmic, from somewhat below the smallest of `counts`, which are positive."""
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(0.7, counts.min() / 3))
    if counts.max() < LARGEST_WRITTEN_OUT:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
