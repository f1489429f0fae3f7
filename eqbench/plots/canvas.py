"""What all pictures share: colours, panels, titles, files.

A figure is drawn once. As PNG it has a white ground; as SVG inside a page its inks become the page's colours, and what
has a name of a known kind (`eqbench.plots.svg`) can be pointed at there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

BLUE, ORANGE, RED, GREEN, PURPLE = "#2c6fbb", "#e08a1e", "#b8336a", "#2f8f63", "#7d6bb0"
"""Told apart with colour blindness too; every one also has a mark or dashes of its own."""
INK, MUTED, GRID, PAPER = "#222221", "#666665", "#ddddde", "#fefeff"
COLOURS = "viridis"


@dataclass(frozen=True)
class Picture:
    """A figure under its file's name, or why there is none; the caption says how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure | None
    tips: Mapping[str, str] = field(default_factory=dict)
    """What pointing at a mark shows, by the mark's name."""


def panels(number: int, columns: int, width: float = 4.2, height: float = 3.1) -> tuple[Figure, list[Axes]]:
    """A figure with `number` axes in rows of at most `columns`."""
    columns = min(number, 2 if number == 4 else columns)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(6.4, columns * width), rows * height + 0.9), dpi=150, layout="constrained")
    axes = [figure.add_subplot(rows, columns, position + 1) for position in range(number)]
    for each in axes:
        plain(each)
    return figure, axes


def plain(axes: Axes) -> None:
    """Two spines, quiet ticks, a grid behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, which="both", labelcolor=INK, labelsize=8)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def headline(figure: Figure, text: str) -> None:
    """The title of a figure, at its left edge."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, color=INK, parse_math=False)


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which figures are written: text stays text; characters that a font lacks are not reported."""
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none", "axes.formatter.use_mathtext": False}):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def save(figure: Figure, file: Path) -> None:
    """Write a figure on white: PNG or, by the file's ending, SVG; the same figure gives the same file."""
    settings = {"metadata": {"Date": None, "Creator": None}} if file.suffix == ".svg" else {}
    with drawing(), rc_context({"svg.hashsalt": file.stem}):
        figure.savefig(file, facecolor="white", **settings)  # type: ignore[arg-type]
