"""The leaderboard as sheets of text: what the formats for people show, before any of them lays it out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from eqbench.leaderboard.aggregate import Cell, Column, Entry, Leaderboard, Row, ended
from eqbench.leaderboard.statistics import Estimate
from eqbench.leaderboard.verdict import references

COST_HEADERS = {
    "seconds_per_step": ("ms/step", 1e3),
    "peak_memory_mb": ("peak MB", 1.0),
    "gpu_hours": ("GPU h", 1.0),
    "cpu_core_hours": ("core h", 1.0),
}

HOURS = ("gpu_hours", "cpu_core_hours")


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

    found = [_overall(board)] if len(board.current) > 1 else []
    for column in board.columns:
        found.append(_column_sheet(column))
        found += [sheet for sheet in [reference_sheet(column)] if sheet]
    return found


def notes(board: Leaderboard) -> list[str]:
    """How to read the sheets."""
    baselines = dict.fromkeys(column.baseline for column in board.columns if column.baseline)
    against = next(iter(baselines)) if len(baselines) == 1 else "the baseline"
    cells = [cell for column in board.columns for entry in column.entries.values() for cell in entry.cells.values()]
    single = "; (n=1) is a single seed, without interval" if any(cell.value.n == 1 for cell in cells) else ""
    lines = [
        f"± is the 95 % t-interval over n seeds{single}.",
        f"Signed numbers are the change against {against}, paired by seed; * marks p < 0.05 in the paired t-test, "
        "Holm-corrected over the losses compared on a task and metric.",
    ]
    if any(entry.costs[cost].n for column in board.columns for entry in column.entries.values() for cost in HOURS):
        lines.append("GPU h and core h are hours of training times the GPUs or cores that a run used, mean over runs.")
    if len(board.current) > 1:
        lines.append(
            "Mean rank is over the tasks (1 is best), Borda counts the losses beaten on them. "
            "A loss with runs missing is not ranked on that task and stands below complete ones."
        )
    if any(map(references, board.columns)):
        lines.append(
            "Published rows are results of others on the same data and network, not ranked; "
            "`eqbench compare RUN --to published` says in what their recipe differs."
        )
    if len(board.columns) > len(board.current):
        lines.append("A title with [brackets] is of finished runs of an earlier plan, with another recipe.")
    return lines


def problems(board: Leaderboard) -> list[str]:
    """Runs without a number, and why."""
    return [str(problem) for problem in board.problems]


def _overall(board: Leaderboard) -> Sheet:
    columns = board.current
    header = (*(f"{column.title} {column.metrics[0] if column.metrics else ''}".strip() for column in columns),)
    return Sheet(
        f"All tasks of {', '.join(board.suites)}",
        "main metric of each task",
        (*header, "mean rank", "Borda"),
        tuple(_overall_row(row, columns) for row in board.rows),
    )


def _overall_row(row: Row, columns: Sequence[Column]) -> SheetRow:
    entries = [column.entries.get(row.label) for column in columns]
    cells = [_main_cell(column, entry) for column, entry in zip(columns, entries, strict=True)]
    ranked = sum(not math.isnan(rank) for rank in row.standing.ranks)
    mean_rank = SheetCell(f"{row.standing.mean_rank:.2f}" if ranked else "–")
    borda = SheetCell(f"{row.standing.borda:g}" if ranked else "–")
    unfinished = Counter(record.status for entry in entries if entry for record in entry.records)
    parts = [] if row.standing.complete else [f"{ranked} of {len(columns)} tasks"]
    return SheetRow(row.label, _note(row.baseline, ", ".join(parts + ended(unfinished))), (*cells, mean_rank, borda))


def _main_cell(column: Column, entry: Entry | None) -> SheetCell:
    if entry is None or not column.metrics:
        return SheetCell("–")
    return _metric_cell(entry.cells[column.metrics[0]], entry)


def _column_sheet(column: Column) -> Sheet:
    costs = [cost for cost in COST_HEADERS if any(entry.costs[cost].n for entry in column.entries.values())]
    key = column.key
    # A detector without masks has no number in any of their columns.
    metrics = [
        metric
        for metric in column.metrics
        if metric == column.metrics[0] or any(entry.cells[metric].value.n for entry in column.entries.values())
    ]
    return Sheet(
        column.title,
        f"{key.protocol}, {key.iterations} iterations, {key.samples} samples, data {key.data_digest[:8]}",
        ("n", *metrics, *(COST_HEADERS[cost][0] for cost in costs)),
        tuple(
            SheetRow(
                label,
                _note(label == column.baseline, entry.missing),
                (
                    SheetCell(str(entry.finished)),
                    *(_metric_cell(entry.cells[metric], entry) for metric in metrics),
                    *(_cost_cell(cost, entry.costs[cost]) for cost in costs),
                ),
            )
            for label, entry in column.entries.items()
        ),
    )


def _note(baseline: bool, missing: str) -> str:
    return "; ".join(part for part in ("baseline" if baseline else "", missing) if part)


def _metric_cell(cell: Cell, entry: Entry) -> SheetCell:
    mean, half_width, n = cell.value
    if n == 0:
        return SheetCell("–")
    interval = f" ± {half_width:.1f}" if n > 1 else ""
    marked = f" (n={n})" if n == 1 or n != entry.finished else ""
    value = f"{mean:z.1f}{interval}{marked}"
    if cell.change is None:
        return SheetCell(value)
    change = f"{cell.change.mean:+z.1f}{'*' if cell.significant else ''}"
    direction = (1 if cell.change.mean > 0 else -1) if cell.significant else 0
    return SheetCell(value, change, direction)


def _cost_cell(cost: str, estimate: Estimate) -> SheetCell:
    value = estimate.mean * COST_HEADERS[cost][1]
    return SheetCell((f"{value:.0f}" if value >= 100 else f"{value:.3g}") if estimate.n else "–")
