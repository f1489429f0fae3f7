"""The leaderboard in LaTeX, with the rules of the booktabs package."""

from __future__ import annotations

import re

from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.leaderboard.sheets import Sheet, SheetRow, notes, problems, sheets
from eqbench.leaderboard.titles import printable

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
        "`": r"\textasciigrave{}",  # after ? or ! it would be read as another sign
        "\N{REPLACEMENT CHARACTER}": "?",
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
    return re.sub("([-',])(?=\\1)", r"\1{}", printable(text).translate(SPECIAL))


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
    """A line of values, and one of changes below it if there are any."""
    label = f"{row.label} ({row.note})" if row.note else row.label
    values = _line(escaped(label), *(_number(cell.value) for cell in row.cells))
    if not any(cell.change for cell in row.cells):
        return values
    changes = (rf"\footnotesize {_number(cell.change)}" if cell.change else "" for cell in row.cells)
    return f"{values}\n{_line('', *changes)}"


def _number(text: str) -> str:
    """With a sign that is set as one, and a raised star."""
    return re.sub("^[-+]", r"$\g<0>$", escaped(text)).replace("{*}", r"\textsuperscript{*}")


def _line(*cells: str) -> str:
    return rf"    {' & '.join(cells)} \\"
