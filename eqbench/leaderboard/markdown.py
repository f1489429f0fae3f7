"""The leaderboard in Markdown."""

from __future__ import annotations

import re

from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.leaderboard.sheets import Sheet, SheetRow, notes, problems, sheets

SPECIAL = re.compile(r"[\\`*|<>~$]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(|^[#\[]")


def as_markdown(board: Leaderboard) -> str:
    """A table for each sheet, runs without a number, how to read it."""
    blocks = [_sheet(sheet) for sheet in sheets(board)]
    if board.problems:
        lines = "\n".join(f"- {_escaped(line)}" for line in problems(board))
        blocks.append(f"Runs without a number:\n\n{lines}")
    blocks += [_escaped(note) for note in notes(board)]
    return "\n\n".join(blocks) + "\n"


def _sheet(sheet: Sheet) -> str:
    lines = [
        _line("loss", *map(_escaped, sheet.header)),
        _line("---", *("---:" for _ in sheet.header)),
        *(_row(row) for row in sheet.rows),
    ]
    return f"**{_escaped(sheet.title)}** ({_escaped(sheet.caption)})\n\n" + "\n".join(lines)


def _row(row: SheetRow) -> str:
    label = _escaped(f"{row.label} ({row.note})" if row.note else row.label)
    cells = (f"{cell.value} ({cell.change})" if cell.change else cell.value for cell in row.cells)
    return _line(label, *map(_escaped, cells))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text as Markdown shows it, on one line. Between letters `_` stands for itself.

    >>> _escaped("softmax_eql of _x_ < $5")
    'softmax_eql of \\\\_x\\\\_ \\\\< \\\\$5'
    """
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
