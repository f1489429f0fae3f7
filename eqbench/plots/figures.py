"""Figures by their names: of runs side by side, of a leaderboard, and those that each run has of itself."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.errors import EnvironmentProblem, InputError
from eqbench.leaderboard.results import read_spec
from eqbench.plots import canvas
from eqbench.plots.canvas import Picture
from eqbench.plots.series import Task, tasks_of
from eqbench.plots.stored import StoredRun
from eqbench.run_folder import RunFolder, SuiteFolder

if TYPE_CHECKING:
    from eqbench.run_spec import RunSpec

SUBJECTS = ("gradients", "per_class", "curves", "confusion", "weights", "samples")
"""Figures of runs, each the module of that name."""
DOTS_PER_INCH = 110
"""Of the pictures that every run draws of itself: half the work of those that are asked for."""
OF_EACH_RUN = ("gradients", "per_class", "curves", "confusion", "weights")


def draw(subject: str, runs: Sequence[RunFolder]) -> list[Picture]:
    """A figure of runs for each of their tasks, losses side by side, seeds of a loss together.

    Its name is the subject, with the task where there are several; `eqbench.plots.svg.inline` puts it into a page.

    Args:
        subject: one of `SUBJECTS`.

    Raises:
        InputError: a file of a run cannot be read.
    """
    return draw_all([subject], [StoredRun(run, read_spec(run)) for run in runs])


def draw_all(subjects: Sequence[str], runs: Sequence[StoredRun]) -> list[Picture]:
    """The figures of several subjects, task by task; each file is read once."""
    tasks = tasks_of(runs)
    endings: list[str] = []
    for task in tasks:
        ending = f"_{re.sub(r'[^A-Za-z0-9.-]+', '_', task.label).strip('._') or 'task'}" if len(tasks) > 1 else ""
        endings.append(ending if ending not in endings else f"{ending}_{len(endings)}")
    return [
        replace(_picture(subject, task), name=f"{subject}{ending}")
        for task, ending in zip(tasks, endings, strict=True)
        for subject in subjects
    ]


def unreadable(runs: Sequence[RunFolder]) -> list[tuple[str, str]]:
    """Of the plans that runs are of, the runs that nobody can tell what they are, each with the reason."""
    known = {run.path for run in runs}
    found = []
    for folder in dict.fromkeys(run.path.parent for run in runs):
        suite = SuiteFolder(folder.parent, folder.name)
        for run in map(suite.run, suite.read_plan()):
            try:
                if run.path not in known:
                    read_spec(run)
            except InputError as error:
                found.append((run.run_id, str(error)))
    return found


def write(pictures: Sequence[Picture], folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """The files of those pictures that have a figure.

    Raises:
        EnvironmentProblem: a file cannot be written.
    """
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            for suffix in formats if picture.figure is not None else ():
                files.append(folder / f"{picture.name}.{suffix}")
                canvas.save(picture.figure, files[-1])  # type: ignore[arg-type]
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: the pictures cannot be written ({error.strerror or error})") from error
    return files


def draw_own(run: RunFolder, spec: RunSpec) -> list[str]:
    """Write the figures that a run has of itself into its folder; returns what could not be drawn.

    It raises nothing: a picture is no reason for a run to fail.
    """
    problems = []
    try:
        (task,) = tasks_of([StoredRun(run, spec)])
        for subject in OF_EACH_RUN:
            try:
                picture = _picture(subject, task)
                if picture.figure is not None:
                    picture.figure.set_dpi(DOTS_PER_INCH)
                    write([picture], run.plots)
            except Exception as error:
                problems.append(f"plots/{subject}.png was not drawn ({type(error).__name__}: {error})")
    except Exception as error:
        problems.append(f"no plots were drawn ({type(error).__name__}: {error})")
    return problems


def _picture(subject: str, task: Task) -> Picture:
    with canvas.drawing():
        drawn: Picture = importlib.import_module(f"eqbench.plots.{subject}").picture(task)
    return drawn
