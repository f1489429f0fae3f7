"""What a page has inside itself: every run of every cell, its configuration, where it comes from, what is drawn."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from eqbench.leaderboard.aggregate import Column, Leaderboard
from eqbench.leaderboard.page.drawn import DrawnRuns, Named
from eqbench.leaderboard.page.looks import looks, places
from eqbench.leaderboard.page.traces import brief, curves
from eqbench.leaderboard.results import Record
from eqbench.leaderboard.titles import differing
from eqbench.run_folder import SuiteFolder
from eqbench.run_spec import flatten

COSTS = ("seconds_per_step", "peak_memory_mb", "train_seconds")
HEAD_AND_TAIL = (("many", "few"), ("ap_f", "ap_r"), ("miou_head", "miou_tail"))


class Embedded:
    """The data of a page.

    Attributes:
        drawn: the runs that are drawn.
        rows: of each column, the runs of each entry.
        places: of each loss on the board, which decides how it looks.

    Args:
        columns: as `table.as_dict` gives them, in the order of `board.columns`.
    """

    def __init__(
        self, board: Leaderboard, columns: Sequence[Mapping[str, Any]], folders: Sequence[SuiteFolder]
    ) -> None:
        self._environments = _Distinct()
        self._commands = _Distinct()
        self._classes = _Distinct()
        self._command_of = {folder.suite: _commands(folder) for folder in folders}
        self.rows = [_named(column, plain) for column, plain in zip(board.columns, columns, strict=True)]
        self.drawn = DrawnRuns([runs for rows in self.rows for runs in rows], folders)
        self.places = places(board, folders)
        self.columns = [_column(column, plain) for column, plain in zip(board.columns, columns, strict=True)]
        for column, own, rows in zip(board.columns, self.columns, self.rows, strict=True):
            own |= self.drawn.column(rows)
            for fields, runs in zip(own["entries"], rows, strict=True):
                fields |= self._entry(column, runs)

    def as_dict(self) -> dict[str, Any]:
        return {
            "looks": looks(self.places),
            "columns": self.columns,
            "environments": self._environments.values,
            "commands": self._commands.values,
            "classes": self._classes.values,
        }

    def _entry(self, column: Column, runs: Named) -> dict[str, Any]:
        loss = _loss(runs[0][1])
        baseline = column.entries[column.baseline] if column.baseline else None
        fields: dict[str, Any] = {
            "config": loss,
            "differs": differing(_loss(baseline.records[0]), loss) if baseline else [],
            "runs": [self._run(run_id, record, column) for run_id, record in runs],
        }
        fields |= self.drawn.entry(runs)
        if classes := fields.get("classes"):
            own = {"runs": classes.pop("runs"), "value": classes.pop("value")}
            fields["classes"] = {**own, "of": self._classes.place(classes)}
        return fields

    def _run(self, run_id: str, record: Record, column: Column) -> dict[str, Any]:
        result = record.result or {}
        cost = result.get("cost") or {}
        workers = {name: cost[name] for name in ("device", "num_workers") if name in cost}
        fields = {
            "id": run_id,
            "seed": record.seed,
            "reason": record.reason,
            "metrics": [brief(record.number("metrics", name), 6) for name in column.metrics],
            "cost": {name: number for name in COSTS if (number := brief(cost.get(name))) is not None},
            "ended": _time(result.get("finished_at")),
            "verified": result.get("data_verified"),
            "warnings": [str(warning) for warning in result.get("warnings") or []],
            "environment": self._environments.place({**workers, **(result.get("environment") or {})}),
            "command": self._commands.place(self._command_of.get(record.suite, {}).get(run_id)),
        }
        if stored := self.drawn.stored.get(run_id):
            fields["curves"] = curves(stored, column.metrics)
        return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


class _Distinct:
    """Values that many runs share, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int | None:
        if not value:
            return None
        key = json.dumps(value, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def _named(column: Column, plain: Mapping[str, Any]) -> list[Named]:
    """The runs of each entry."""
    entries = zip(plain["losses"], column.entries.values(), strict=True)
    return [list(zip(fields["runs"], entry.records, strict=True)) for fields, entry in entries]


def _column(column: Column, plain: Mapping[str, Any]) -> dict[str, Any]:
    """A column without its runs; numbers as pairs of mean and half width to keep the page small."""
    records = [record for entry in column.entries.values() for record in entry.records]
    pair = next((pair for pair in HEAD_AND_TAIL if set(pair) <= set(column.metrics)), None)
    return {
        "title": column.title,
        "task": column.task,
        "key": column.key._asdict(),
        "baseline": column.baseline,
        "trials": column.trials,
        "metrics": list(column.metrics),
        "headAndTail": pair,
        "recipe": flatten(records[0].spec.recipe) if records else {},
        "entries": [
            {
                "loss": entry["loss"],
                "rank": brief(entry["rank"]),
                "missing": entry["missing"],
                "cells": {name: _cell(cell) for name, cell in entry["metrics"].items()},
            }
            for entry in plain["losses"]
        ],
    }


def _cell(cell: Mapping[str, Any]) -> list[Any]:
    """Mean, half width, n; and of the change: mean, half width, pairs, p, corrected p, whether significant."""
    change = cell.get("change") or {}
    own = [brief(cell.get("mean"), 6), brief(cell.get("half_width"), 4), cell.get("n")]
    if not change:
        return own
    names = ("mean", "half_width", "n", "p", "p_holm")
    return [*own, *(brief(change.get(name)) for name in names), bool(change.get("significant"))]


def _loss(record: Record) -> dict[str, Any]:
    return {"loss": record.spec.loss.name, **flatten(record.spec.loss.params)}


def _commands(folder: SuiteFolder) -> dict[str, str]:
    """The last command that was to train each run."""
    found: dict[str, str] = {}
    for file in sorted(folder.path.glob("invocations/*/invocation.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(file.read_text())
            found |= dict.fromkeys(content["run_ids"], str(content["command"]))
    return found


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
