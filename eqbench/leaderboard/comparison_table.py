"""Two runs side by side, as a terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eqbench.leaderboard.bootstrap import NONE, RESAMPLES, Interval
from eqbench.leaderboard.compare import ClassValue, Comparison, Value

SHOWN_CLASSES = 10


def render(comparison: Comparison) -> RenderableType:
    """What a terminal shows."""
    parts: list[RenderableType] = [
        Text.assemble(("A  ", "bold"), comparison.names[0], (f"  {comparison.run_ids[0]}", "dim")),
        Text.assemble(("B  ", "bold"), comparison.names[1], (f"  {comparison.run_ids[1]}", "dim")),
    ]
    if comparison.incomparable:
        fields = ", ".join(f"{name} ({a} and {b})" for name, a, b in comparison.incomparable)
        parts.append(Text(f"Not comparable: the runs differ in {fields}.", style="bold yellow"))
    if comparison.configuration:
        table = _table("configuration", "A", "B", justify="left")
        for name, *values in comparison.configuration:
            table.add_row(Text(name), *(Text(_shown(value)) for value in values))
        parts.append(table)
    else:
        parts.append(Text("The configurations are the same."))
    parts.append(_metric_table(comparison))
    parts += _classes(comparison)
    parts += [Text(note, style="dim") for note in (*comparison.notes, *_explanation(comparison))]
    if comparison.comparable:
        parts.append(Text(comparison.verdict, style="bold red" if comparison.regression else "bold"))
    return Group(*parts)


def _classes(comparison: Comparison) -> list[RenderableType]:
    if not comparison.classes:
        return []
    shown = comparison.classes[:SHOWN_CLASSES]
    number = f"{len(shown)} of {len(comparison.classes)} classes"
    parts: list[RenderableType] = [
        Text(f"{comparison.class_metric} by class: the largest differences, {number}"),
        _class_table(shown),
    ]
    table = _table(f"{comparison.class_metric}, mean over classes", "classes", "B - A", "95 % interval", "p")
    for each in comparison.over_classes:
        table.add_row(Text(each.group), str(each.n), _fixed(each.difference, "+"), *_interval(each.interval))
    return [*parts, table]


def _explanation(comparison: Comparison) -> list[str]:
    """What intervals are of, where there are any."""
    drawn = []
    if comparison.over_images:
        drawn.append(f"the {comparison.images} evaluated images for the metrics")
    if any(not math.isnan(each.interval.p) for each in comparison.over_classes):
        drawn.append("the classes for the means over classes")
    if not drawn:
        return []
    return [
        f"Intervals and p: paired bootstrap, {RESAMPLES} resamples of {' and of '.join(drawn)}. "
        "They hold for these two runs alone: what another seed changes is not in them."
    ]


def _metric_table(comparison: Comparison) -> Table:
    further = ("95 % interval", "p") if comparison.over_images else ()
    table = _table("metric", "A", "B", "B - A", *further)
    for value in comparison.metrics:
        cells = _interval(comparison.over_images.get(value.name, NONE)) if further else []
        table.add_row(Text(value.name), *_numbers(value), *cells)
    return table


def _class_table(values: Sequence[ClassValue]) -> Table:
    table = _table("class", "group", "training samples", "A", "B", "B - A")
    for value in values:
        table.add_row(Text(value.name), Text(value.group), str(value.count), *_numbers(value))
    return table


def _table(first: str, *others: str, justify: Any = "right") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _numbers(value: Value) -> list[str]:
    return [_fixed(value.a, ""), _fixed(value.b, ""), _fixed(value.difference, "+")]


def _interval(interval: Interval) -> list[str]:
    if math.isnan(interval.p):
        return ["–", "–"]
    return [f"{interval.low:+z.2f} to {interval.high:+z.2f}", f"{interval.p:.3f}"]


def _fixed(value: float, sign: str) -> str:
    return "–" if math.isnan(value) else f"{value:{sign}z.2f}"


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)
