"""The parent run in MLflow of one `eqbench run`: its suite file, what was made of all its runs, how many ended how."""

from __future__ import annotations

import logging

from eqbench.run_folder import SuiteFolder, write_atomically
from eqbench.tracking import invocation as invocations
from eqbench.tracking import schema
from eqbench.tracking.invocation import Invocation
from eqbench.tracking.store import Experiment, TrackedRun

BOARD = "board"
FORMATS = {"csv": "csv", "markdown": "md", "latex": "tex"}
SHOWN = "markdown"
NOTE = "mlflow.note.content"


def create(experiment: Experiment, invocation: Invocation) -> TrackedRun:
    """A new parent run, which is RUNNING."""
    tracked = experiment.create(invocation.name, _first_tags(invocation), round(invocation.started * 1000))
    add_files(invocation, tracked)
    return tracked


def end(invocation: Invocation, tracked: TrackedRun, status: str, ended: float) -> None:
    """Its files, the number of its runs by how they ended, the leaderboard as its description, then its status.

    A description that somebody has written in MLflow stays.
    """
    ended_ms = round(ended * 1000)
    points = [schema.Point(f"runs/{what}", float(count), ended_ms, 0) for what, count in invocation.counts.items()]
    add_files(invocation, tracked)
    tracked.add_points(schema.news(points, tracked.last_steps)[0])
    tags = schema.tag_values({"eqbench.status_detail": invocation.status_detail})
    if tracked.tags.get(NOTE) == _first_tags(invocation).get(NOTE):
        tags |= _first_tags(invocation, board=_board_text(invocation))
    tracked.set_tags(tags)
    tracked.set_ended(status, ended_ms)


def add_files(invocation: Invocation, tracked: TrackedRun) -> None:
    """Upload the suite file and everything in the invocation's `artifacts`."""
    if invocation.suite_file.exists():
        tracked.add_file(invocation.suite_file, "config")
    for file, folder in invocations.artifacts(invocation):
        tracked.add_file(file, folder)


def write_board(folder: SuiteFolder, invocation: Invocation) -> None:
    """Put the leaderboard of a suite, as it is now, among the artifacts of one `eqbench run`.

    It never fails: that training has ended well must not be lost to what is only a view of it.
    """
    from eqbench import leaderboard
    from eqbench.leaderboard import page, table

    if invocations.of_sweep(folder):
        return
    target = invocation.path / "artifacts" / BOARD
    try:
        board = leaderboard.board([folder])
        target.mkdir(parents=True, exist_ok=True)
        for name, ending in FORMATS.items():
            write_atomically(target / f"leaderboard.{ending}", table.render(board, name))
        write_atomically(target / "leaderboard.html", page.html(board, [folder]))
    except Exception as error:
        logging.getLogger(__name__).warning("%s: no leaderboard for MLflow: %s", folder.suite, error)


def _first_tags(invocation: Invocation, board: str = "") -> dict[str, str]:
    return schema.parent_tags(invocation.invocation_id, invocation.description, invocation.command, board)


def _board_text(invocation: Invocation) -> str:
    file = invocation.path / "artifacts" / BOARD / f"leaderboard.{FORMATS[SHOWN]}"
    return file.read_text() if file.exists() else ""
