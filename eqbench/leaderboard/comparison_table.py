"""Two runs side by side, as a terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eqbench.evaluation.image_totals import RESAMPLES
from eqbench.leaderboard.bootstrap import NONE, Interval, smallest_p
from eqbench.leaderboard.compare import ClassValue, Comparison, Value

SHOWN_CLASSES = 10
COUNTED = {"iou": "pixels", "ap": "instances", "mask_ap": "instances"}
"""What the classes of a result are counted in, by its metric."""


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
    parts.append(Text(comparison.verdict, style="bold red" if comparison.regression else "bold"))
    return Group(*parts)


def _classes(comparison: Comparison) -> list[RenderableType]:
    if not comparison.classes:
        return []
    shown = comparison.classes[:SHOWN_CLASSES]
    number = f"{len(shown)} of {len(comparison.classes)} classes"
    parts: list[RenderableType] = [
        Text(f"{comparison.class_metric} by class: the largest differences, {number}"),
        _class_table(shown, comparison.class_metric),
    ]
    table = _table(f"{comparison.class_metric}, mean over classes", "classes", "B - A", "95 % interval", "p")
    for each in comparison.over_classes:
        cells = _interval(each.interval, smallest_p(RESAMPLES, max(each.n, 2)))
        table.add_row(Text(each.group), str(each.n), _fixed(each.difference, "+"), *cells)
    return [*parts, table]


def _explanation(comparison: Comparison) -> list[str]:
    """The unit, and what intervals are of, where there are any."""
    notes = ["Metrics are in percent; B - A is in points."]
    drawn = []
    if comparison.over_images:
        drawn.append(f"{comparison.resamples} resamples of the {comparison.images} evaluated images for the metrics")
    if any(not math.isnan(each.interval.p) for each in comparison.over_classes):
        drawn.append(f"{RESAMPLES} of the classes for the means over classes")
    if drawn:
        notes.append(
            f"Intervals and p: paired bootstrap, {' and '.join(drawn)}; each is of one number alone, at 95 %. They "
            "hold for these two runs: what another seed changes is not in them."
        )
    return notes


def _metric_table(comparison: Comparison) -> Table:
    further = ("95 % interval", "p") if comparison.over_images else ()
    table = _table("metric", "A", "B", "B - A", *further)
    smallest = smallest_p(comparison.resamples, comparison.images) if further else 0.0
    for value in comparison.metrics:
        if math.isnan(value.a) and math.isnan(value.b):
            continue
        cells = _interval(comparison.over_images.get(value.name, NONE), smallest) if further else []
        table.add_row(Text(value.name), *_numbers(value), *cells)
    return table


def _class_table(values: Sequence[ClassValue], metric: str) -> Table:
    table = _table("class", "group", f"training {COUNTED.get(metric, 'samples')}", "A", "B", "B - A")
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


def _interval(interval: Interval, smallest: float) -> list[str]:
    """With p; a p-value that is as small as the resamples can make it is an upper bound."""
    if math.isnan(interval.p):
        return ["–", "–"]
    p = f"{interval.p:.3f}"
    if interval.p <= smallest * (1 + 1e-9):
        p = f"≤ {math.ceil(interval.p * 1e4) / 1e4:.4f}"
    return [f"{interval.low:+z.2f} to {interval.high:+z.2f}", p]


def _fixed(value: float, sign: str) -> str:
    return "–" if math.isnan(value) else f"{value:{sign}z.2f}"


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)
