"""The page as a whole: one file that asks nothing of a network, and tells the browser to see to that.

Tables and texts are in the page as it is; the runs behind a cell and the drawings are made from the data inside it
when they are looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from eqbench.leaderboard.aggregate import Column, Leaderboard
from eqbench.leaderboard.page import tables
from eqbench.leaderboard.page.embedded import Embedded
from eqbench.leaderboard.page.looks import style as colours
from eqbench.leaderboard.page.pictures import Pictures
from eqbench.leaderboard.page.published import published
from eqbench.leaderboard.page.tables import text
from eqbench.leaderboard.sheets import notes
from eqbench.leaderboard.table import as_dict
from eqbench.run_folder import SuiteFolder

SCRIPTS = ("axes.js", "charts.js", "readout.js", "curves.js", "panel.js", "page.js")
LARGEST = 4_900_000
"""Bytes that figures may fill a page up to."""


def html(board: Leaderboard, folders: Sequence[SuiteFolder]) -> str:
    """The whole page; the same results give the same text.

    Args:
        folders: the suites of the board, where events and tables of their runs are read for the drawings.
    """
    plain = as_dict(board)
    embedded = Embedded(board, plain["tasks"], folders)
    data = _json(embedded.as_dict())
    columns = [_column(place, column, board.columns[place]) for place, column in enumerate(plain["tasks"])]
    room = LARGEST - len(data.encode()) - sum(len(part.encode()) for parts in columns for part in parts)
    pictures = Pictures(board, embedded, folders, room)
    return "\n".join(
        [
            *_head(_title(board)),
            "<body>",
            *_header(board, plain),
            "<main>",
            *_overall(plain),
            *(line for place, parts in enumerate(columns) for line in [*parts, *pictures.of_task(place), "</section>"]),
            *pictures.of_sweeps(),
            *_problems(plain["problems"]),
            *_reading(board, embedded, pictures),
            "</main>",
            '<dialog id="panel" aria-labelledby="panel-title"></dialog>',
            '<dialog id="large" aria-labelledby="large-title"></dialog>',
            f'<script type="application/json" id="data">{data}</script>',
            f"<script>{_script()}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _head(title: str) -> list[str]:
    style = colours() + _file("page.css")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(_script())}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{text(title)}</title>",
        f"<style>{style}</style>",
        "</head>",
    ]


def _script() -> str:
    return "(() => {\n" + "\n".join(map(_file, SCRIPTS)) + "})();\n"


def _title(board: Leaderboard) -> str:
    return f"Leaderboard of {', '.join(board.suites)}"


def _header(board: Leaderboard, plain: Mapping[str, Any]) -> list[str]:
    records = [record for column in board.columns for entry in column.entries.values() for record in entry.records]
    finished = sum(record.finished for record in records)
    tasks = len({column.task for column in board.columns})
    losses = {label for column in board.columns for label in column.entries}
    size = f"{_counted(len(losses), 'loss', 'es')} on {_counted(tasks, 'task')}"
    counts = f"{finished} of {len(records)} runs finished: {size}"
    places = [("overall", "All tasks")] if len(board.ranked) > 1 else []
    places += [(f"task-{place}", column["title"]) for place, column in enumerate(plain["tasks"])]
    places += [("problems", "Runs without a number")] if plain["problems"] else []
    links = "".join(f'<li><a href="#{name}">{text(title)}</a></li>' for name, title in places)
    choices = "".join(f'<option value="{name}">{text(title)}</option>' for name, title in places if name != "problems")
    return [
        '<a class="skip" href="#first">Skip to the tables</a>',
        "<header>",
        f"<h1>{text(_title(board))}</h1>",
        f"<p>{text(counts)}. A click on a number shows its runs.</p>",
        f'<nav aria-label="Tasks"><ul>{links}</ul></nav>' if len(places) > 1 else "",
        '<form class="filters" role="search" hidden>',
        '<label>Losses <input type="search" id="filter" placeholder="e.g. eql, -focal" autocomplete="off" '
        'spellcheck="false"></label>',
        f'<label>Task <select id="task"><option value="">all</option>{choices}</select></label>'
        if len(places) > 1
        else "",
        '<label><input type="checkbox" id="complete"> complete rows only</label>',
        '<output id="found" aria-live="polite"></output>',
        "</form>",
        "<noscript><p>Sorting, filters, drawings and the runs behind a number need JavaScript.</p></noscript>",
        '</header><div id="first" tabindex="-1"></div>',
    ]


def _counted(number: int, name: str, plural: str = "s") -> str:
    return f"{number} {name}{'' if number == 1 else plural}"


def _overall(plain: Mapping[str, Any]) -> list[str]:
    columns = [(place, column) for place, column in enumerate(plain["tasks"]) if column["ranked"]]
    if len(columns) < 2:
        return []
    return [
        '<section id="overall" class="sheet"><h2>All tasks</h2>',
        *tables.overall(plain["ranking"], columns),
        "</section>",
    ]


def _column(place: int, column: Mapping[str, Any], own: Column) -> list[str]:
    """The section of a task, which is not closed."""
    earlier = "" if column["current"] else "<p>Finished runs of an earlier plan, with another recipe.</p>"
    return [
        f'<section id="task-{place}" class="sheet"><h2>{text(column["title"])}</h2>{earlier}',
        *tables.of_column(place, column),
        *published(place, own),
        f'<div class="drawings" data-column="{place}"></div>',
    ]


def _problems(problems: Sequence[Mapping[str, Any]]) -> list[str]:
    if not problems:
        return []
    lines = []
    for problem in problems:
        seeds = ", ".join(f"s{seed}" for seed in problem["seeds"])
        name = text(f"{problem['name']} · {seeds}" if seeds else problem["name"])
        ids = " ".join(f"<code>{text(run_id)}</code>" for run_id in problem["run_ids"])
        lines.append(f"<li><strong>{name}</strong>: {text(problem['reason'])} {ids}</li>")
    return ['<section id="problems"><h2>Runs without a number</h2><ul>', *lines, "</ul></section>"]


def _reading(board: Leaderboard, embedded: Embedded, pictures: Pictures) -> list[str]:
    lines = notes(board)
    drawn, measured = len(embedded.drawn.stored), embedded.drawn.measured
    if drawn < measured:
        lines.append(
            f"Curves and results by class are here for {drawn} of {measured} runs, the first seeds of every loss and "
            "task; all numbers are of all runs. `eqbench plot curves RUN` draws any other."
        )
    if pictures.left_out:
        lines.append(pictures.left_out)
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return [f'<section id="reading"><h2>How to read this</h2><ul>{items}</ul></section>']


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _json(content: Any) -> str:
    """JSON that nothing in it can end the element of."""
    plain = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(content: Any) -> Any:
    """Plain data with the names of numbers that JSON has not."""
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content
