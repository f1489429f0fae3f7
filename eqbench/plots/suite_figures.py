"""The figures of a whole suite: its losses side by side on each task, and what the tail gains of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.errors import InputError
from eqbench.leaderboard.results import read_spec
from eqbench.plots import canvas, figures, tradeoff
from eqbench.plots.canvas import Picture
from eqbench.plots.stored import StoredRun

if TYPE_CHECKING:
    from eqbench.leaderboard.aggregate import Leaderboard
    from eqbench.run_folder import SuiteFolder


def draw_suite(folder: SuiteFolder, out: Path, board: Leaderboard | None = None) -> list[str]:
    """Write the figures of the runs of a suite's plan as PNG into `out`; returns what could not be drawn.

    It raises nothing: they are a view of what is stored, and no reason for a suite to fail.

    Args:
        board: of the suite; `tradeoff` is drawn from it.
    """
    problems: list[str] = []
    runs: list[StoredRun] = []
    try:
        for run in map(folder.run, folder.read_plan()):
            try:
                if run.events_file.exists():
                    runs.append(StoredRun(run, read_spec(run)))
            except InputError as error:
                problems.append(str(error))
        pictures, more = _drawn(runs)
        problems += more
        if board is not None:
            pictures.append(tradeoff_of(board, [folder]))
        figures.write(pictures, out)
    except Exception as error:
        problems.append(f"{out}: not all figures were drawn ({type(error).__name__}: {error})")
    return problems


def _drawn(runs: Sequence[StoredRun]) -> tuple[list[Picture], list[str]]:
    """Subject by subject, so that a damaged file costs only the figures that need it."""
    pictures, problems = [], []
    for subject in figures.SUBJECTS:
        try:
            pictures += figures.draw_all([subject], runs)
        except InputError as error:
            problems.append(f"{subject}: {error}")
    return pictures, problems


def tradeoff_of(board: Leaderboard, folders: Sequence[SuiteFolder]) -> Picture:
    """Losses by their results on frequent and on rare classes, each as it looks in the figures of its suite."""
    from eqbench.leaderboard.page import looks

    with canvas.drawing():
        return tradeoff.picture(board, looks.places(board, folders))
