"""The leaderboard in LaTeX, with the rules of the booktabs package."""

from __future__ import annotations

import re

from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.leaderboard.sheets import Sheet, SheetCell, SheetRow, notes, problems, sheets

HEAD = "% Needs \\usepackage{booktabs}; labels that are not Latin need LuaLaTeX or XeLaTeX and a font that has them."
SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "–": r"\textendash{}",
        "[": "{[}",  # after a line's end, these two would be read as its arguments
        "*": "{*}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def as_latex(board: Leaderboard) -> str:
    """A `table` for each sheet, then runs without a number and how to read it."""
    blocks = [HEAD, *(_table(sheet) for sheet in sheets(board))]
    if board.problems:
        items = "\n".join(rf"  \item {escaped(line)}" for line in problems(board))
        blocks.append(f"\\noindent Runs without a number:\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    blocks += [rf"{{\noindent\footnotesize {escaped(note)}\par}}" for note in notes(board)]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it, on one line.

    >>> escaped("50 % of $c_i")
    '50 \\\\% of \\\\$c\\\\_i'
    """
    return re.sub("-(?=-)", "-{}", " ".join(text.split()).translate(SPECIAL))


def _table(sheet: Sheet) -> str:
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escaped(sheet.title)} ({escaped(sheet.caption)})}}",
        rf"  \begin{{tabular}}{{l{'r' * len(sheet.header)}}}",
        r"    \toprule",
        _line("loss", *map(escaped, sheet.header)),
        r"    \midrule",
        *map(_row, sheet.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(row: SheetRow) -> str:
    label = f"{row.label} ({row.note})" if row.note else row.label
    return _line(escaped(label), *map(_cell, row.cells))


def _cell(cell: SheetCell) -> str:
    value = escaped(cell.value).replace("-", "$-$", 1) if cell.value.startswith("-") else escaped(cell.value)
    if not cell.change:
        return value
    number = cell.change.removesuffix("*").replace("-", "$-$").replace("+", "$+$")
    star = r"\textsuperscript{*}" if cell.change.endswith("*") else ""
    return f"{value} ({number}{star})"


def _line(*cells: str) -> str:
    return rf"    {' & '.join(cells)} \\"
