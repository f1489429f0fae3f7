"""The leaderboard as sheets of text: what the formats for people show, before any of them lays it out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from eqbench.leaderboard.aggregate import Cell, Column, Leaderboard, Row, ended
from eqbench.leaderboard.results import is_sweep
from eqbench.leaderboard.statistics import Estimate
from eqbench.leaderboard.titles import printable
from eqbench.leaderboard.verdict import references

COST_HEADERS = {
    "seconds_per_step": ("ms/step", 1e3),
    "peak_memory_mb": ("peak MB", 1.0),
    "gpu_hours": ("GPU h", 1.0),
    "cpu_core_hours": ("core h", 1.0),
}
"""What a cost is called, and the factor from its stored unit; the hours of short runs: `cost_header`."""

HOURS = {"gpu_hours": "GPU", "cpu_core_hours": "core"}


def cost_header(cost: str, largest: float) -> tuple[str, float]:
    """As `COST_HEADERS`, in a unit that suits the largest value of a column.

    >>> cost_header("gpu_hours", 0.25)
    ('GPU min', 60.0)
    """
    if cost not in HOURS or largest >= 1:
        return COST_HEADERS[cost]
    return (f"{HOURS[cost]} min", 60.0) if largest >= 1 / 60 else (f"{HOURS[cost]} s", 3600.0)


@dataclass(frozen=True)
class SheetCell:
    """A value, and below or beside it the change; `direction` is that of a significant change, else 0."""

    value: str
    change: str = ""
    direction: int = 0


@dataclass(frozen=True)
class SheetRow:
    """One loss; the note says that it is the baseline or what is missing."""

    label: str
    note: str
    cells: tuple[SheetCell, ...]


@dataclass(frozen=True)
class Sheet:
    """A table with a title and a caption; `header` names the cells, not the label."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[SheetRow, ...]


def sheets(board: Leaderboard) -> list[Sheet]:
    """The overall sheet, if there are several tasks, then one for each column, and what is published beside it."""
    from eqbench.leaderboard.verdict_table import reference_sheet

    found = [_overall(board)] if len(board.ranked) > 1 else []
    for column in board.columns:
        found.append(_column_sheet(column))
        found += [sheet for sheet in [reference_sheet(column)] if sheet]
    return found


def notes(board: Leaderboard) -> list[str]:
    """How to read the sheets."""
    columns, ranked = board.columns, board.ranked
    cells = [cell for column in columns for entry in column.entries.values() for cell in entry.cells.values()]
    single = "; (n=1) is a single seed, without interval" if any(cell.value.n == 1 for cell in cells) else ""
    lines = [f"Metrics are in percent; ± is the 95 % t-interval over n seeds{single}."]
    if any(cell.change for cell in cells):
        lines.append(_about_changes(columns))
    if any(entry.costs[cost].n for column in columns for entry in column.entries.values() for cost in HOURS):
        lines.append(
            "GPU and core times are those of training times the GPUs or cores requested for a run, mean over runs."
        )
    if len(ranked) > 1:
        lines.append(
            "Mean rank is over the tasks (1 is best), Borda counts the losses beaten on them. "
            "A loss with runs missing is not ranked on that task and stands below complete ones."
        )
    if any(map(references, columns)):
        lines.append(
            "Published rows are results of others on the same data and network, not ranked; "
            "`eqbench compare RUN --to published` says in what their recipe differs."
        )
    if any(map(_bracketed, columns)):
        lines.append("A name with [brackets] says in what the recipe differs from the first with that name.")
    if earlier := [column.title for column in columns if not column.current]:
        lines.append(f"Finished runs of an earlier plan, which are not ranked: {', '.join(earlier)}.")
    for suite in filter(is_sweep, board.suites):
        command = f"eqbench plot sweep {suite.partition('/')[0]}"
        lines.append(f"The trials of {suite} are settings to choose from: `{command}` compares them.")
    return list(map(printable, lines))


def _bracketed(column: Column) -> bool:
    """Whether its title or a label says what differs."""
    names = [(column.title.replace(", trials", ""), column.task)]
    names += [(label, entry.records[0].spec.loss_label) for label, entry in column.entries.items()]
    return any(shown != name and shown.endswith("]") for shown, name in names)


def _about_changes(columns: Sequence[Column]) -> str:
    baselines = {column.baseline for column in columns if column.baseline}
    against = next(iter(baselines)) if len(baselines) == 1 else "the baseline of the task"
    return (
        f"Signed numbers are the change against {against}, paired by seed, ± its own 95 % t-interval unless all pairs "
        "differ by the same; * marks p < 0.05 in the paired t-test, Holm-corrected over the losses compared on a task "
        "and metric."
    )


def problems(board: Leaderboard) -> list[str]:
    """Runs without a number, and why."""
    return [printable(str(problem)) for problem in board.problems]


def _overall(board: Leaderboard) -> Sheet:
    columns = board.ranked
    header = (
        " ".join(part for part in (column.title, *column.metrics[:1], _seeds(column)) if part) for column in columns
    )
    return Sheet(
        f"All tasks of {', '.join(board.suites)}",
        "main metric of each task",
        (*map(printable, header), "mean rank", "Borda"),
        tuple(_overall_row(row, columns) for row in board.rows),
    )


def _usual(column: Column) -> int:
    """Seeds behind the main metric of most losses that have it."""
    if not column.metrics:
        return 0
    numbers = Counter(entry.cells[column.metrics[0]].value.n for entry in column.entries.values())
    return max(numbers - Counter({0: numbers[0]}), key=lambda n: (numbers[n], n), default=0)


def _seeds(column: Column) -> str:
    usual = _usual(column)
    return f"(n={usual})" if usual > 1 else ""


def _overall_row(row: Row, columns: Sequence[Column]) -> SheetRow:
    """The baseline is marked once, or on each of its tasks if it is not the same on all."""
    entries = [column.entries.get(row.label) for column in columns]
    cells = [_main_cell(column, row.label, marked=not row.baseline) for column in columns]
    ranked = sum(not math.isnan(rank) for rank in row.standing.ranks)
    mean_rank = SheetCell(f"{row.standing.mean_rank:.2f}" if ranked else "–")
    borda = SheetCell(f"{row.standing.borda:g}" if ranked else "–")
    unfinished = Counter(record.status for entry in entries if entry for record in entry.records)
    parts = [] if row.standing.complete else [f"{ranked} of {len(columns)} tasks"]
    parts += ended(unfinished)
    note = _note(row.baseline, ", ".join(parts), varying(row.varying))
    return SheetRow(printable(row.label), note, (*cells, mean_rank, borda))


def varying(parameters: Sequence[str]) -> str:
    """Which parameters of a loss are not the same on all tasks, in words; empty if all are."""
    return f"{', '.join(parameters)} {'differs' if len(parameters) == 1 else 'differ'} by task" if parameters else ""


def _main_cell(column: Column, label: str, *, marked: bool) -> SheetCell:
    """`marked`: the baseline of the task is called so in its cell."""
    if label not in column.entries or not column.metrics:
        return SheetCell("–")
    cell = _metric_cell(column, label, column.metrics[0], _usual(column))
    return SheetCell(cell.value, "baseline") if marked and label == column.baseline else cell


def _column_sheet(column: Column) -> Sheet:
    entries = column.entries.values()
    means = {cost: [entry.costs[cost].mean for entry in entries if entry.costs[cost].n] for cost in COST_HEADERS}
    costs = {cost: cost_header(cost, max(values)) for cost, values in means.items() if values}
    key = column.key
    # A detector without masks has no number in any of their columns.
    metrics = [
        metric
        for metric in column.metrics
        if metric == column.metrics[0] or any(entry.cells[metric].value.n for entry in entries)
    ]
    return Sheet(
        printable(column.title),
        f"{key.protocol}, {key.iterations} iterations, {key.samples} samples, data {key.data_digest[:8]}",
        ("n", *map(printable, metrics), *(name for name, _ in costs.values())),
        tuple(
            SheetRow(
                printable(label),
                _note(label == column.baseline, entry.missing),
                (
                    SheetCell(str(entry.finished)),
                    *(_metric_cell(column, label, metric, entry.finished) for metric in metrics),
                    *(_cost_cell(entry.costs[cost], factor) for cost, (_, factor) in costs.items()),
                ),
            )
            for label, entry in column.entries.items()
        ),
    )


def _note(baseline: bool, *further: str) -> str:
    return "; ".join(part for part in ("baseline" if baseline else "", *further) if part)


def _metric_cell(column: Column, label: str, metric: str, expected: int) -> SheetCell:
    """The number of seeds is named where it is not the `expected` one."""
    cell = column.entries[label].cells[metric]
    mean, half_width, n = cell.value
    if n == 0:
        return SheetCell("–")
    interval = f" ± {half_width:.1f}" if n > 1 else ""
    counted = f" (n={n})" if n == 1 or n != expected else ""
    value = f"{mean:z.1f}{interval}{counted}"
    if cell.change is None or column.baseline is None:
        return SheetCell(value)
    direction = (1 if cell.change.mean > 0 else -1) if cell.significant else 0
    baseline = column.entries[column.baseline].cells[metric].value.n
    return SheetCell(value, change_text(cell, max(n, baseline)), direction)


def change_text(cell: Cell, seeds: int) -> str:
    """The change with its interval; without one where there is none, or where all differences are equal.

    The number of pairs is named where it is less than `seeds`.
    """
    if cell.change is None:
        return ""
    mean, half_width, p, pairs = cell.change
    interval = "" if math.isnan(p) else f" ± {half_width:.1f}"
    counted = f", {pairs} {'pair' if pairs == 1 else 'pairs'}" if pairs < seeds else ""
    return f"{mean:+z.1f}{'*' if cell.significant else ''}{interval}{counted}"


def _cost_cell(estimate: Estimate, factor: float) -> SheetCell:
    value = estimate.mean * factor
    return SheetCell((f"{value:.0f}" if value >= 100 else f"{value:.3g}") if estimate.n else "–")
