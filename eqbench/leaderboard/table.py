"""The leaderboard in every format: rich tables for a terminal; CSV, Markdown and JSON as text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eqbench.errors import InputError, nearest
from eqbench.leaderboard.aggregate import Cell, Column, Entry, Leaderboard
from eqbench.leaderboard.sheets import Sheet, SheetCell, SheetRow, notes, problems, sheets
from eqbench.leaderboard.statistics import Difference, Estimate

FILE_WIDTH = 120
LABEL_WIDTH = 32
NOTE_WIDTH = 24
GAP = 2
CSV_HEADER = (
    *("task", "current", "task_version", "data_digest", "protocol", "iterations", "samples"),
    *("loss", "baseline", "runs", "finished", "missing", "metric", "kind", "n", "mean", "half_width"),
    *("pairs", "difference", "difference_half_width", "p", "p_holm", "significant"),
)


def render(board: Leaderboard, format_name: str) -> str:
    """The board as text in one of `FORMATS`; the same board gives the same bytes.

    Raises:
        InputError: unknown format.
    """
    if format_name not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(f"format {format_name!r}: expected one of {known}{nearest(format_name, FORMATS)}")
    return FORMATS[format_name](board)


def tables(board: Leaderboard) -> list[RenderableType]:
    """What a terminal shows: a table for each sheet, runs without a number, how to read it."""
    shown: list[RenderableType] = [SheetTable(sheet) for sheet in sheets(board)]
    if board.problems:
        shown.append(Text("Runs without a number", style="bold yellow"))
        shown += [Padding(Text(line), (0, 0, 0, 2)) for line in problems(board)]
        shown.append("")
    return [*shown, *(Text(note, style="dim") for note in notes(board))]


class SheetTable:
    """A sheet as rich tables: as many columns beside each other as the terminal has room for."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.sheet.title, style="bold")
        yield Text(self.sheet.caption, style="dim")
        for part in self._parts(options.max_width):
            yield ""
            yield self._table(part)
        yield ""

    def _parts(self, width: int) -> Iterator[range]:
        """Ranges of cells that fit into `width` beside the label; at least one cell each."""
        room = width - self._label_width
        start, used = 0, 0
        for position, name in enumerate(self.sheet.header):
            cells = [row.cells[position] for row in self.sheet.rows]
            own = GAP + max(cell_len(text) for cell in cells for text in (name, cell.value, cell.change))
            if position > start and used + own > room:
                yield range(start, position)
                start, used = position, 0
            used += own
        yield range(start, len(self.sheet.header))

    @property
    def _label_width(self) -> int:
        """Room for the labels; notes get a little and are folded."""
        labels = max(cell_len(row.label) for row in self.sheet.rows)
        notes = max(cell_len(row.note) for row in self.sheet.rows)
        return min(max(labels, min(notes, NOTE_WIDTH)), LABEL_WIDTH)

    def _table(self, part: range) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, GAP - 1))
        table.add_column("loss", width=self._label_width, overflow="fold")
        for position in part:
            table.add_column(Text(self.sheet.header[position]), justify="right", no_wrap=True)
        for row in self.sheet.rows:
            note = f"\n{row.note}" if row.note and part.start == 0 else ""
            table.add_row(Text(row.label).append(note, style="dim"), *(_two_lines(row.cells[i]) for i in part))
        return table


def _two_lines(cell: SheetCell) -> Text:
    style = {1: "green", 0: "dim", -1: "red"}[cell.direction]
    return Text(cell.value).append(f"\n{cell.change}" if cell.change else "", style=style)


# -- Markdown ------------------------------------------------------------------------------------------------


def _markdown(board: Leaderboard) -> str:
    blocks = [_markdown_sheet(sheet) for sheet in sheets(board)]
    if board.problems:
        lines = "\n".join(f"- {_escaped(line)}" for line in problems(board))
        blocks.append(f"Runs without a number:\n\n{lines}")
    blocks += [_escaped(note) for note in notes(board)]
    return "\n\n".join(blocks) + "\n"


def _markdown_sheet(sheet: Sheet) -> str:
    lines = [
        _markdown_line("loss", *map(_escaped, sheet.header)),
        _markdown_line("---", *("---:" for _ in sheet.header)),
        *(_markdown_row(row) for row in sheet.rows),
    ]
    return f"**{_escaped(sheet.title)}** ({_escaped(sheet.caption)})\n\n" + "\n".join(lines)


def _markdown_row(row: SheetRow) -> str:
    label = _escaped(f"{row.label} ({row.note})" if row.note else row.label)
    cells = (f"{cell.value} ({cell.change})" if cell.change else cell.value for cell in row.cells)
    return _markdown_line(label, *map(_escaped, cells))


def _markdown_line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    for character in "\\`*|<>":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


# -- CSV: one line per task, loss and metric -----------------------------------------------------------------


def _csv(board: Leaderboard) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for column in board.columns:
        for label, entry in column.entries.items():
            for line in _csv_lines(entry):
                writer.writerow([_plain(value) for value in (*_csv_place(column, label, entry), *line)])
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


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return str(value)


# -- JSON ----------------------------------------------------------------------------------------------------


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
                "ranks": dict(zip((c.title for c in board.current), map(_number, row.standing.ranks), strict=True)),
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


def _json(board: Leaderboard) -> str:
    return json.dumps(as_dict(board), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain_tables(board: Leaderboard) -> str:
    text = io.StringIO()
    Console(file=text, width=FILE_WIDTH).print(*tables(board), sep="\n")
    return text.getvalue()


FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {
    "table": _plain_tables,
    "csv": _csv,
    "markdown": _markdown,
    "json": _json,
}
