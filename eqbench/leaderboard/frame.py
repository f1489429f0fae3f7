"""The runs of a leaderboard as one tidy table: a row for each run and number, finished or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from eqbench.leaderboard.aggregate import Column, Leaderboard
from eqbench.leaderboard.results import COSTS, Record

COLUMNS = {
    "suite": "string",
    "column": "string",
    "task": "string",
    "loss": "string",
    "seed": "int64",
    "run_id": "string",
    "status": "string",
    "kind": "string",
    "metric": "string",
    "value": "float64",
    "main": "bool",
    "current": "bool",
    "baseline": "bool",
    "task_version": "int64",
    "data_digest": "string",
    "protocol": "string",
    "iterations": "int64",
    "samples": "int64",
    "loss_name": "string",
    "finished_at": "datetime64[ns, UTC]",
}
"""What each row says.

`column`, `loss`: as the leaderboard titles them; they name what is compared. `task`: its label in the suite.
`status`: finished, failed, stopped, killed, or how far the run is. `kind`: metric or cost. `value`: in the unit of the
metric (percent) or cost (seconds, MB, hours); NaN where the run does not have it. `main`: the task's main metric.
`current`: the recipe of the last `eqbench run`. `baseline`: of the loss that others are compared with. `task_version`
to `samples`: runs are only compared where all five agree. `loss_name`: the plugin. `finished_at`: when the run ended,
NaT before.
"""

LATEST = 2**33
"""Seconds since 1970, the year 2242; what pandas can tell apart ends in 2262."""


def frame(board: Leaderboard) -> pd.DataFrame:
    """Every number of every run on the board, in the board's order; failed runs have rows without values.

    A run that stands in several of the suites is one run.
    """
    rows = [row for column in board.columns for row in _rows(column)]
    table = pd.DataFrame.from_records(rows, columns=list(COLUMNS))
    table["finished_at"] = pd.to_datetime(table["finished_at"].astype("float64"), unit="s", utc=True)
    return table.astype(COLUMNS)


def _rows(column: Column) -> Iterator[tuple[Any, ...]]:
    numbers = [("metrics", "metric", name) for name in column.metrics] + [("cost", "cost", name) for name in COSTS]
    main = column.metrics[0] if column.metrics else None
    for label, entry in column.entries.items():
        for record in entry.records:
            before = (record.suite, column.title, column.task, label, record.seed, record.spec.run_id, record.status)
            after = (column.current, label == column.baseline, *column.key, record.spec.loss.name, _ended(record))
            for section, kind, name in numbers:
                yield (*before, kind, name, record.number(section, name), name == main, *after)


def _ended(record: Record) -> float | None:
    """Seconds since 1970."""
    ended = (record.result or {}).get("finished_at")
    if isinstance(ended, bool) or not isinstance(ended, int | float) or not 0 <= ended < LATEST:
        return None
    return float(ended)
