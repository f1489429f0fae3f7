"""What all pictures share: grounds, panels, titles, legends, ticks, files.

A figure is drawn once. As PNG it has a white ground; as SVG inside a page its inks become the page's colours, and what
has a name of a known kind (`eqbench.plots.svg`) can be pointed at there.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from PIL import Image

from eqbench.plots import fonts
from eqbench.run_folder import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

INK, MUTED, GRID, PAPER = "#222221", "#666665", "#ddddde", "#fefeff"
COLOURS = "viridis"
CHARACTER = 0.008
"""Inches of width, on average, for each point of the font's size."""
STEPS_OF_A_DECADE = ((1,), (1, 3), (1, 2, 5), (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
FEWEST_TICKS, MOST_TICKS = 4, 8
MOST_INTERVALS = 6
"""Between the ticks of a linear axis; ticks with their labels are most of the work of drawing."""
COMPRESSION = 4
"""Of PNG files: a tenth larger than with 6, in half the time."""


@dataclass(frozen=True)
class Picture:
    """A figure under its file's name, or why there is none; the caption says how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure | None
    tips: Mapping[str, str] = field(default_factory=dict)
    """What pointing at a mark shows, by the mark's name."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Runs and losses that are not drawn, each with the reason."""


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
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(MOST_INTERVALS, steps=(1, 2, 2.5, 5, 10)))


def headline(figure: Figure, text: str) -> None:
    """The title of a figure, at its left edge; lines that are too long for it are broken."""
    fitting = int(figure.get_figwidth() / (10 * CHARACTER))
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, fitting) or [""]]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10, color=INK, parse_math=False)


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """What the marks and lines mean, below the figure, in as many columns as it has room for."""
    if not handles:
        return
    widest = 0.6 + 8 * CHARACTER * max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), 8, int(figure.get_figwidth() / widest)))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, labelcolor=INK)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis from `low` to `high`, all with plain numbers: at least 4, 1 among them if it can."""
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(log_places(low, high)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def log_places(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`.

    >>> log_places(0.5, 1.4), log_places(0.08, 20), log_places(0.97, 1.05)
    ([0.5, 0.6, 0.8, 1.0, 1.25], [0.1, 0.3, 1.0, 3.0, 10.0], [0.98, 1.0, 1.02, 1.04])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in STEPS_OF_A_DECADE:
        found = [
            float(f"{step}e{decade}") for decade in decades for step in steps if low <= step * 10.0**decade <= high
        ]
        if len(found) >= FEWEST_TICKS:
            apart = math.ceil(len(found) / MOST_TICKS)
            first = found.index(1.0) % apart if 1.0 in found else 0
            return found[first::apart]
    even = MaxNLocator(5).tick_values(low, high)
    return [float(f"{place:.6g}") for place in even if low <= place <= high]


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which figures are made and written: text stays text; what a font lacks is not reported."""
    with (
        warnings.catch_warnings(),
        rc_context({"svg.fonttype": "none", "axes.formatter.use_mathtext": False, "font.family": fonts.families()}),
    ):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def lacks_characters(figure: Figure) -> bool:
    """Whether some text of a figure has boxes in a PNG, for want of a font."""
    return fonts.lacking(text.get_text() for text in figure.findobj(Text))


def save(figure: Figure, file: Path) -> None:
    """Write a figure on white: PNG or, by the file's ending, SVG; the same figure gives the same file."""
    with drawing(), rc_context({"svg.hashsalt": file.stem}):
        content = _svg(figure) if file.suffix == ".svg" else _png(figure)
    write_atomically(file, content)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    """As `savefig`, which walks through the whole figure one more time, and stores an opaque ground's opacity."""
    canvas, engine = FigureCanvasAgg(figure), figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine(engine)
    buffer = io.BytesIO()
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    image = Image.frombuffer("RGBA", canvas.get_width_height(), pixels, "raw", "RGBA", 0, 1).convert("RGB")
    image.save(buffer, "png", compress_level=COMPRESSION, dpi=(figure.dpi, figure.dpi))
    return buffer.getvalue()
