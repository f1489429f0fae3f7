"""What all pictures of a sweep share: colours, marks, axes of a parameter, files.

A figure is drawn once. As PNG it has a white ground; as SVG inside the page its inks become the page's colours, and
each mark of a trial carries the trial's number (`data-trial`) and a description for whoever points at it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eqbench.sweep.objective import Goal
from eqbench.sweep.space import Parameter, Value, is_number, same
from eqbench.sweep.standings import value_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eqbench.sweep.record import Trial
    from eqbench.sweep.standings import Standings

BLUE, ORANGE, RED, GREEN, PURPLE = "#2c6fbb", "#e08a1e", "#b8336a", "#2f8f63", "#7d6bb0"
"""Told apart with colour blindness too; every one also has a mark or dashes of its own."""
INK, MUTED, GRID, PAPER = "#222221", "#666665", "#ddddde", "#fefeff"
COLOURS = "viridis"
MARKS: Mapping[str, dict[str, Any]] = {
    "finished": {"marker": "o", "color": BLUE, "label": "finished"},
    "infeasible": {"marker": "o", "color": BLUE, "markerfacecolor": "none", "label": "finished, breaks a constraint"},
    "stopped": {"marker": "v", "color": ORANGE, "label": "stopped early, at its last evaluation"},
    "running": {"marker": "d", "color": MUTED, "label": "still running, so far"},
    "failed": {"marker": "x", "color": RED, "label": "failed"},
}
LINES: Mapping[str, dict[str, Any]] = {
    "default": {"color": GREEN, "linestyle": (0, (6, 2)), "label": "default (the published setting)"},
    "baseline": {"color": PURPLE, "linestyle": (0, (2, 2)), "label": "baseline"},
}
DECADES_OF_A_LOG_AXIS = 1.5


@dataclass(frozen=True)
class Picture:
    """A figure under its file's name, or why there is none; the caption says how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure | None


def file_name(subject: str, goal: Goal, goals: Sequence[Goal]) -> str:
    """`response`, or `response_val_few` where there are several goals."""
    return subject if len(goals) == 1 else f"{subject}_{goal.metric.replace('/', '_')}"


def panels(number: int, columns: int, width: float = 4.2, height: float = 3.1) -> tuple[Figure, list[Axes]]:
    """A figure with `number` axes in rows of at most `columns`."""
    columns = min(number, 2 if number == 4 else columns)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(6.4, columns * width), rows * height + 0.9), dpi=150, layout="constrained")
    axes = [figure.add_subplot(rows, columns, position + 1) for position in range(number)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["bottom", "left"]].set_color(MUTED)
        each.tick_params(colors=MUTED, labelcolor=INK, labelsize=8)
        each.grid(color=GRID, linewidth=0.6)
        each.set_axisbelow(True)
    return figure, axes


def head(figure: Figure, standings: Standings, what: str) -> None:
    """The title of a figure: what is shown, of which loss and task, and how many trials."""
    results = standings.results
    counts = ", ".join(f"{number} {status}" for status, number in standings.counts().items())
    title = f"{what}\n{results.loss} on {results.task}, sweep {results.name}, trials: {counts}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK, parse_math=False)


def legend(figure: Figure, kinds: Iterable[str], more: Sequence[Line2D] = ()) -> None:
    """What the marks and lines that were drawn mean, below the figure."""
    handles = [Line2D([], [], **style_of(kind)) for kind in (*MARKS, *LINES) if kind in set(kinds)]
    if handles := [*handles, *more]:
        columns = min(len(handles), 3 if figure.get_figwidth() > 9 else 2)
        figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, labelcolor=INK
        )


def style_of(kind: str) -> dict[str, Any]:
    """How a mark or line of a kind looks."""
    if kind in LINES:
        return {"linewidth": 1.6, **LINES[kind]}
    edge = {} if kind in ("failed", "infeasible") else {"markeredgecolor": PAPER}
    return {"linestyle": "none", "markersize": 6.5, "markeredgewidth": 0.8, **edge, **MARKS[kind]}


def kind_of(standings: Standings, trial: Trial) -> str:
    """Which mark a trial has."""
    if trial.status == "finished":
        return "finished" if standings.feasible(trial) else "infeasible"
    return trial.status


def dot(axes: Axes, x: float, y: float, trial: Trial, **style: Any) -> None:
    """A mark that belongs to a trial."""
    axes.plot([x], [y], gid=gid(trial), **style)


def gid(trial: Trial) -> str:
    """What the page finds a trial's marks by."""
    return f"trial:{trial.number}"


def aside(trial: Trial) -> float:
    """How far a mark stands beside its place among side by side values: -0.2 to 0.2, always the same for a trial."""
    return 0.0 if trial.kind != "proposed" else 0.4 * ((trial.number * 0.618034) % 1 - 0.5)


def references(axes: Axes, standings: Standings, goal: Goal) -> list[str]:
    """Lines at the scores of default and baseline; which there are."""
    drawn = []
    for kind, trial in (("default", standings.results.default), ("baseline", standings.results.baseline)):
        if trial and trial.status == "finished" and math.isfinite(score := standings.score(trial, goal)):
            axes.axhline(score, gid=gid(trial), zorder=1.5, **style_of(kind))
            drawn.append(kind)
    return drawn


def score_label(goal: Goal) -> str:
    """`val/few (%), higher is better`."""
    unit = " (%)" if goal.metric.startswith("val/") else ""
    return f"{goal.metric}{unit}, {'higher' if goal.maximize else 'lower'} is better"


class Scale:
    """A parameter as an axis: numbers linear or logarithmic, anything else side by side in the file's order."""

    def __init__(self, parameter: Parameter, *, steps: bool = False) -> None:
        """`steps`: the values of a grid side by side too."""
        self.parameter = parameter
        listed = parameter.kind == "choice" or (steps and parameter.kind == "grid")
        self.values: tuple[Value, ...] = parameter.values if listed else ()
        self.log = not listed and (parameter.log or self._wide)

    @property
    def _wide(self) -> bool:
        numbers = [float(value) for value in self.parameter.values if is_number(value)]
        return len(numbers) > 2 and min(numbers) > 0 and math.log10(max(numbers) / min(numbers)) > DECADES_OF_A_LOG_AXIS

    def place(self, value: Value) -> float:
        """Where a value stands on the axis; NaN if it has no place there."""
        if self.values:
            return next((float(at) for at, known in enumerate(self.values) if same(known, value)), math.nan)
        if not is_number(value) or not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        return float(value)

    def even(self, place: float) -> float:
        """The place such that equal distances on the axis are equal differences."""
        return math.log10(place) if self.log else place

    def set_on(self, axes: Axes, side: str) -> None:
        """Ticks, scale and label of the `x` or `y` side."""
        axis = axes.xaxis if side == "x" else axes.yaxis
        axis.set_label_text(self.parameter.path, fontsize=9, color=INK, parse_math=False)
        limits: Callable[..., Any] = axes.set_xlim if side == "x" else axes.set_ylim
        if self.values:
            names = [shortened(value_text(value)) for value in self.values]
            crowded = side == "x" and sum(map(len, names)) > 32
            turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
            axis.set_ticks(range(len(names)), names, parse_math=False, **turned)
            limits(-0.5, len(names) - 0.5)
        elif self.log:
            (axes.set_xscale if side == "x" else axes.set_yscale)("log")


def shortened(text: str, longest: int = 24) -> str:
    """At most `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which figures are written: text stays text; characters that a font lacks are not reported."""
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none", "axes.formatter.use_mathtext": False}):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG, on white."""
    with drawing():
        figure.savefig(file, facecolor="white")
