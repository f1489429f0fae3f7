"""The leaderboard as text in every format, and as rich tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eqbench.errors import InputError, nearest
from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.leaderboard.latex import as_latex
from eqbench.leaderboard.markdown import as_markdown
from eqbench.leaderboard.plain_data import as_csv, as_dict, as_json
from eqbench.leaderboard.sheets import Sheet, SheetCell, notes, problems, sheets

__all__ = ["FORMATS", "SheetTable", "as_dict", "render", "tables"]

FILE_WIDTH = 120
LABEL_WIDTH = 32
NOTE_WIDTH = 24
GAP = 2


def render(board: Leaderboard, format_name: str) -> str:
    """The board as text in one of `FORMATS`; the same board gives the same bytes.

    Raises:
        InputError: unknown format.
    """
    if format_name not in FORMATS:
        known = (*FORMATS, "html")
        raise InputError(f"format {format_name!r}: expected one of {', '.join(known)}{nearest(format_name, known)}")
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


def _plain_tables(board: Leaderboard) -> str:
    text = io.StringIO()
    Console(file=text, width=FILE_WIDTH).print(*tables(board), sep="\n")
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {
    "table": _plain_tables,
    "csv": as_csv,
    "markdown": as_markdown,
    "latex": as_latex,
    "json": as_json,
}
