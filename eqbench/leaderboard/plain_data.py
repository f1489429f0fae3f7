"""The leaderboard for programs: every number in full, as plain data, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from eqbench.leaderboard.aggregate import Cell, Column, Entry, Leaderboard
from eqbench.leaderboard.statistics import Difference, Estimate
from eqbench.leaderboard.verdict import Reference, references

CSV_HEADER = (
    *("task", "current", "task_version", "data_digest", "protocol", "iterations", "samples"),
    *("loss", "baseline", "runs", "finished", "missing", "metric", "kind", "n", "mean", "half_width"),
    *("pairs", "difference", "difference_half_width", "p", "p_holm", "significant"),
    *("same_recipe", "source"),
)

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(board: Leaderboard) -> str:
    """One line for each task, loss and metric; what does not exist is empty.

    The kind is `metric`, `cost`, or `published` for numbers of others, whose label names the source. Text that a
    spreadsheet would run as a formula begins with an apostrophe.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for column in board.columns:
        for label, entry in column.entries.items():
            for line in _csv_lines(entry):
                writer.writerow([_plain(value) for value in (*_csv_place(column, label, entry), *line, "", "")])
        for reference in references(column):
            for line in _published_lines(column, reference):
                writer.writerow([_plain(value) for value in line])
    return file.getvalue()


def _csv_place(column: Column, label: str, entry: Entry) -> tuple[Any, ...]:
    runs = (len(entry.records), entry.finished, entry.missing)
    return (column.title, column.current, *column.key, label, label == column.baseline, *runs)


def _csv_lines(entry: Entry) -> Iterator[tuple[Any, ...]]:
    lines = [(name, "metric", cell) for name, cell in entry.cells.items()]
    lines += [(name, "cost", Cell(estimate)) for name, estimate in entry.costs.items()]
    for name, kind, cell in lines:
        change = cell.change or Difference(math.nan, math.nan, math.nan, 0)
        value = (cell.value.n, cell.value.mean, cell.value.half_width)
        compared = (change.n, change.mean, change.half_width, change.p, cell.p_holm, cell.significant)
        yield (name, kind, *value, *compared)


def _published_lines(column: Column, reference: Reference) -> Iterator[tuple[Any, ...]]:
    place = (column.title, column.current, *column.key, reference.label, False, "", "", "")
    for name, value in reference.metrics.items():
        yield (*place, name, "published", "", value, *[""] * 7, reference.same_recipe, reference.source)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


def as_dict(board: Leaderboard) -> dict[str, Any]:
    """Everything on the board as plain data; what does not exist is None."""
    return {
        "suites": list(board.suites),
        "tasks": [_column_dict(column) for column in board.columns],
        "ranking": [
            {
                "loss": row.label,
                "baseline": row.baseline,
                "complete": row.standing.complete,
                "missing": list(row.missing),
                "varying": list(row.varying),
                "ranks": dict(zip((c.title for c in board.ranked), map(_number, row.standing.ranks), strict=True)),
                "mean_rank": _number(row.standing.mean_rank),
                "borda": row.standing.borda,
            }
            for row in board.rows
        ],
        "problems": [
            {"name": p.name, "seeds": list(p.seeds), "reason": p.reason, "run_ids": list(p.run_ids)}
            for p in board.problems
        ],
    }


def _column_dict(column: Column) -> dict[str, Any]:
    return {
        "title": column.title,
        "task": column.task,
        "current": column.current,
        "trials": column.trials,
        "ranked": column.ranked,
        **column.key._asdict(),
        "baseline": column.baseline,
        "metrics": list(column.metrics),
        "losses": [
            {
                "loss": label,
                "rank": _number(entry.rank),
                "runs": [record.spec.run_id for record in entry.records],
                "finished": entry.finished,
                "missing": entry.missing,
                "metrics": {name: _cell_dict(cell) for name, cell in entry.cells.items()},
                "cost": {name: _estimate_dict(estimate) for name, estimate in entry.costs.items()},
            }
            for label, entry in column.entries.items()
        ],
        "published": [reference.as_dict() for reference in references(column)],
    }


def _cell_dict(cell: Cell) -> dict[str, Any]:
    change = None
    if cell.change is not None:
        numbers: Mapping[str, float] = {**cell.change._asdict(), "p_holm": cell.p_holm}
        change = {name: _number(value) for name, value in numbers.items()} | {"significant": cell.significant}
    return {**_estimate_dict(cell.value), "change": change}


def _estimate_dict(estimate: Estimate) -> dict[str, Any]:
    return {name: _number(value) for name, value in estimate._asdict().items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def as_json(board: Leaderboard) -> str:
    return json.dumps(as_dict(board), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
