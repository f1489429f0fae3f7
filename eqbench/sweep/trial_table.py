"""The table of trials that a terminal shows: what has no room beside each other stands below each other.

No value and no word is cut in two.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from eqbench.plots.text import cleaned
from eqbench.sweep.objective import Goal
from eqbench.sweep.standings import Standings, number, setting_text, short_names, signed

if TYPE_CHECKING:
    from eqbench.sweep.record import Trial

Layout = Literal["wide", "beside", "below", "list"]
LAYOUTS: tuple[Layout, ...] = ("wide", "beside", "below", "list")
"""A trial on one line; one line per parameter; changes below their metric; all numbers of a trial below each other."""
NARROW_STATUS = 16


class TrialTable:
    """Trials with their settings, numbers and status, in the first layout for which there is room."""

    def __init__(self, standings: Standings, trials: Sequence[Trial]) -> None:
        self._standings = standings
        self._trials = trials
        self._objective = standings.objective
        self._goals = {goal.metric: goal for goal in self._objective.goals}
        others = {"default": standings.results.default, "baseline": standings.results.baseline}
        self._compared = [name for name, other in others.items() if other]
        if self._objective.several:
            self._compared = self._compared[:1]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for layout in LAYOUTS:
            table = self._drawn(layout)
            if Measurement.get(console, options.update(max_width=10**6), table).maximum <= options.max_width:
                break
        yield table

    def _drawn(self, layout: Layout) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        whole = layout != "list"
        table.add_column("trial", no_wrap=True)
        table.add_column("setting", no_wrap=whole, overflow="fold")
        for heading in self._headings(layout):
            table.add_column(Text(heading), justify="right" if whole else "left", no_wrap=True)
        table.add_column("epochs", justify="right", no_wrap=True)
        table.add_column("status", no_wrap=whole, overflow="fold")
        names = short_names(self._standings.results.section.space)
        for trial in self._trials:
            setting = [cleaned(trial.label)] if trial.kind == "baseline" else []
            setting += [setting_text({path: value}, names) for path, value in trial.values.items()]
            status = remark(self._standings, trial)
            if layout in ("below", "list"):
                status = "\n".join(textwrap.wrap(status, NARROW_STATUS, break_long_words=False))
            style = "bold" if trial in self._standings.front else "dim" if trial.status != "finished" else ""
            cells = [
                Text((", " if layout == "wide" else "\n").join(setting)),
                *self._numbers(trial, layout),
                Text(f"{trial.epochs:.4g}"),
                Text(status),
            ]
            table.add_row(Text(trial.name), *cells, style=style)
        return table

    def _headings(self, layout: Layout) -> list[str]:
        if layout == "list":
            return ["numbers"]
        if layout == "below" or self._objective.several:
            against = "".join(f"\nvs {name}" for name in self._compared)
            return [metric + against * (metric in self._goals) for metric in self._objective.metrics]
        return [
            heading
            for metric in self._objective.metrics
            for heading in (metric, *(f"vs {name}" for name in self._compared if metric in self._goals))
        ]

    def _numbers(self, trial: Trial, layout: Layout) -> list[Text]:
        by_metric: list[list[Text]] = []
        for metric in self._objective.metrics:
            value = Text(number(metric, trial.metrics.get(metric, math.nan)))
            goal = self._goals.get(metric)
            change = changes(self._standings, trial, goal) if goal else {}
            against = [_change(goal, change.get(name, math.nan)) for name in self._compared] if goal else []
            if layout == "list":
                named = [Text(f"vs {name} ").append(text) for name, text in zip(self._compared, against, strict=False)]
                value = Text(f"{metric} ").append(value)
                against = [text for text, plain in zip(named, against, strict=False) if plain.plain]
            by_metric.append([value, *against])
        if layout == "list":
            return [Text("\n").join([text for texts in by_metric for text in texts])]
        if layout == "below" or self._objective.several:
            return [Text("\n").join(texts) for texts in by_metric]
        return [text for texts in by_metric for text in texts]


def changes(standings: Standings, trial: Trial, goal: Goal) -> dict[str, float]:
    """The trial's change in a goal against the default and the baseline, where these have finished."""
    results = standings.results
    others = {"default": results.default, "baseline": results.baseline}
    return {
        name: standings.score(trial, goal) - standings.score(other, goal)
        for name, other in others.items()
        if other is not None and other.status == "finished" and other is not trial
    }


def remark(standings: Standings, trial: Trial) -> str:
    """The status of a trial, and what else a reader of its row should know."""
    if trial.status == "stopped":
        return f"stopped at epoch {trial.epochs / max(1, len(trial.run_ids)):.4g}"
    if trial.status != "finished":
        return trial.status
    if standings.objective.scores(trial.metrics) is None:
        return "finished without the metric"
    violation = standings.violation(trial)
    if math.isnan(violation):
        return "constraint: cannot be said"
    if violation > 0:
        return f"breaks the constraint by {violation:.3g}"
    if trial is standings.best and not standings.objective.several:
        return "best"
    return "on the front" if standings.objective.several and trial in standings.front else "finished"


def _change(goal: Goal, change: float) -> Text:
    text = signed(goal.metric, change)
    better = text[0] == ("+" if goal.maximize else "-")
    return Text("" if text == "–" else text, style="green" if better else "red" if text[0] in "+-" else "dim")
