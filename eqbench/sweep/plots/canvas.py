"""What all pictures of a sweep share: marks of trials, lines of default and baseline, axes of a parameter.

Inside the page, each mark of a trial carries the trial's number (`data-trial`) and a description for whoever points
at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from eqbench.plots.canvas import INK, MUTED, PAPER, headline
from eqbench.plots.palette import BLUE, GREEN, ORANGE, PURPLE, RED
from eqbench.plots.text import shortened
from eqbench.sweep.objective import Goal
from eqbench.sweep.space import Parameter, Value, is_number, same
from eqbench.sweep.standings import value_text

if TYPE_CHECKING:
    from eqbench.sweep.record import Trial
    from eqbench.sweep.standings import Standings

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
FEW_DECADES, MANY_DECADES = 0.7, 2.5
"""With fewer, a logarithmic axis is labelled evenly; with more than the second number, at powers of ten only."""


def file_name(subject: str, goal: Goal, goals: Sequence[Goal]) -> str:
    """`response`, or `response_val_few` where there are several goals."""
    return subject if len(goals) == 1 else f"{subject}_{goal.metric.replace('/', '_')}"


def head(figure: Figure, standings: Standings, what: str) -> None:
    """The title of a figure: what is shown, of which loss and task, and how many trials."""
    results = standings.results
    counts = ", ".join(f"{number} {status}" for status, number in standings.counts().items())
    title = f"{what}\n{results.loss} on {results.task}, sweep {results.name}, trials: {counts}"
    headline(figure, title)


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


def plain_log_ticks(axis: Axis, decades: float) -> None:
    """Labels at 1, 2, 5 times a power of ten, written out (0.02), none between; few, so that they stand apart.

    Args:
        decades: powers of ten between the lowest and the highest value.
    """
    if decades < FEW_DECADES:
        axis.set_major_locator(MaxNLocator(4))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades <= MANY_DECADES else (1,), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


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

    @property
    def _decades(self) -> float:
        low, high = (self.parameter.low, self.parameter.high) if self.parameter.log else (None, None)
        numbers = [float(value) for value in (low, high, *self.parameter.values) if is_number(value)]
        return math.log10(max(numbers) / min(numbers))

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
            plain_log_ticks(axis, self._decades)
