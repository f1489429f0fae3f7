"""Tables of how a data set's samples are distributed."""

from __future__ import annotations

from rich.table import Table

from eqbench.data.verification.class_counts import SplitCounts, by_frequency, split_counts
from eqbench.data.verification.contents import Contents
from eqbench.data.verification.names import printable


def tables(contents: Contents, *, with_classes: bool) -> list[Table]:
    """Splits, groups, and if wanted every class, most frequent first."""
    splits = split_counts(contents)
    found = [_splits(contents, splits), _groups(contents, splits)]
    return [*found, _classes(contents)] if with_classes else found


def _splits(contents: Contents, splits: list[SplitCounts]) -> Table:
    table = Table(title=f"{len(contents.class_names):,} classes", title_justify="left")
    table.add_column("")
    for each in splits:
        table.add_column(each.split, justify="right", overflow="fold")
    rows = {
        contents.unit: (f"{each.samples:,}" for each in splits),
        "largest class": (_named(each, each.largest) for each in splits),
        "smallest class": (_named(each, each.smallest) for each in splits),
        "median class": (f"{each.median:,.0f}" for each in splits),
        "classes without any": (f"{each.empty:,}" for each in splits),
        "imbalance factor": (f"{each.imbalance_factor:,.1f}" for each in splits),
        "Gini coefficient": (f"{each.gini:.3f}" for each in splits),
    }
    for heading, cells in rows.items():
        table.add_row(heading, *cells)
    return table


def _named(split: SplitCounts, size: tuple[str, int]) -> str:
    name, number = size
    return f"{number:,} each" if split.largest[1] == split.smallest[1] else f"{number:,} {name}"


def _groups(contents: Contents, splits: list[SplitCounts]) -> Table:
    table = Table()
    table.add_column("group")
    table.add_column("classes", justify="right")
    for each in splits:
        table.add_column(f"{each.split} {contents.unit}", justify="right")
    for row in zip(*(each.groups for each in splits), strict=True):
        cells = (f"{each.samples:,} ({100 * each.share:.1f} %)" for each in row)
        table.add_row(row[0].group, f"{row[0].classes:,}", *cells)
    return table


def _classes(contents: Contents) -> Table:
    table = Table()
    table.add_column("class", overflow="fold")
    table.add_column("group")
    for split in contents.counts:
        table.add_column(f"{split} {contents.unit}", justify="right")
    for row in by_frequency(contents).tolist():
        counts = (f"{counts[row]:,}" for counts in contents.counts.values())
        table.add_row(printable(contents.class_names[row]), contents.groups[row], *counts)
    return table
