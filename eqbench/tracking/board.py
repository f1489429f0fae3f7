"""The leaderboard of a suite on the parent run of an `eqbench run`: files, figures, and its numbers as metrics.

<invocation>/artifacts/board/leaderboard.*    as `eqbench leaderboard` writes it; metrics are made of the JSON file
<invocation>/artifacts/plots/*.png            losses side by side
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.run_folder import SuiteFolder, write_atomically
from eqbench.tracking import invocation as invocations
from eqbench.tracking.invocation import Invocation
from eqbench.tracking.lifetime import read_json
from eqbench.tracking.schema import name

if TYPE_CHECKING:
    from eqbench.leaderboard import Leaderboard

FOLDER = "board"
FORMATS = {"csv": "csv", "markdown": "md", "latex": "tex", "json": "json"}
KINDS = ("mean", "half_width", "mean_rank", "change", "change_half_width", "p_holm", "borda")
"""What is a metric, the most important first: a kind for which there is no room for every loss is left out."""
REST = "the rest is in board/leaderboard.json"


def write(folder: SuiteFolder, invocation: Invocation, *, drawn: bool = True) -> None:
    """Put the leaderboard of a suite, as it is now, among the artifacts of one `eqbench run`.

    It never fails: that training has ended well must not be lost to what is only a view of it.

    Args:
        drawn: with the page and the figures, which take seconds.
    """
    if invocations.of_sweep(folder):
        return
    try:
        problems = _write(folder, invocation, drawn=drawn)
    except Exception as error:
        problems = [f"no leaderboard ({type(error).__name__}: {error})"]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        logging.getLogger(__name__).warning("%s, for MLflow: %s%s", folder.suite, problems[0], more)


def is_missing(invocation: Invocation) -> bool:
    """Whether it has none yet."""
    return not (_place(invocation) / f"leaderboard.{FORMATS['json']}").exists()


def text(invocation: Invocation) -> str:
    """The board in Markdown; empty if there is none."""
    file = _place(invocation) / f"leaderboard.{FORMATS['markdown']}"
    return file.read_text() if file.exists() else ""


def metrics(invocation: Invocation, room: int) -> tuple[dict[str, float], str]:
    """At most `room` numbers of the ranked tasks by MLflow's keys, and what is left out, in words.

    `digits/top1/mean/efl` is a loss's mean on a task; in place of `mean` are `half_width`, that of its 95 % interval,
    `change`, against the baseline, and `p_holm`, that of the change. `ranking/mean_rank/efl` is over all tasks.
    """
    kinds: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for kind, key, value in _numbers(read_json(_place(invocation) / f"leaderboard.{FORMATS['json']}")):
        if value is not None:
            while key in kinds[kind]:
                key += "_"  # labels that differ in characters which MLflow does not take
            kinds[kind][key] = float(value)
    chosen: dict[str, float] = {}
    left_out = []
    for kind, values in kinds.items():
        if len(chosen) + len(values) <= room:
            chosen |= values
        else:
            left_out.append(kind)
    return chosen, f"{', '.join(left_out)}: {REST}" if left_out else ""


def _numbers(board: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Kind, key and value of everything; `board` is the content of the JSON file."""
    for task in board.get("tasks", ()):
        for main in task["metrics"][:1] if task["ranked"] else ():
            for entry in task["losses"]:
                cell = entry["metrics"][main]
                change = cell["change"] or {}
                values = {"mean": cell["mean"], "half_width": cell["half_width"], "change": change.get("mean")}
                values |= {"change_half_width": change.get("half_width"), "p_holm": change.get("p_holm")}
                for kind, value in values.items():
                    yield kind, _key(task["title"], main, kind, entry["loss"]), value
    for row in board.get("ranking", ()):
        if row["mean_rank"] is not None:
            for kind in ("mean_rank", "borda"):
                yield kind, _key("ranking", kind, row["loss"]), row[kind]


def _key(*parts: str) -> str:
    """Parts that are names of folders in a path are none that MLflow takes.

    >>> _key("digits", "AP@0.5", "..")
    'digits/AP_0.5/__'
    """
    safe = (name(part.replace("/", "_")) for part in parts)
    return "/".join(part if part.strip(".") else "_" * len(part) for part in safe)


def _place(invocation: Invocation) -> Path:
    return invocation.path / "artifacts" / FOLDER


def _write(folder: SuiteFolder, invocation: Invocation, *, drawn: bool) -> list[str]:
    """What could not be drawn. The JSON file is written last: with it, everything is there."""
    from eqbench import leaderboard
    from eqbench.leaderboard import table

    board = leaderboard.board([folder])
    target = _place(invocation)
    target.mkdir(parents=True, exist_ok=True)
    problems = _draw(board, folder, target) if drawn else []
    for format_name, ending in FORMATS.items():
        write_atomically(target / f"leaderboard.{ending}", table.render(board, format_name))
    return problems


def _draw(board: Leaderboard, folder: SuiteFolder, target: Path) -> list[str]:
    from eqbench.leaderboard import page
    from eqbench.plots.suite_figures import draw_suite

    write_atomically(target / "leaderboard.html", page.html(board, [folder]))
    return draw_suite(folder, target.parent / "plots", board)
