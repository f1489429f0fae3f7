"""What is made of a whole sweep: plots, a page, the best setting as a suite; its parent run in MLflow gets them too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import Results
from eqbench.tracking import invocation

if TYPE_CHECKING:
    from eqbench.sweep.definition import Sweep


def write(results: Results, sweep: Sweep, folder: SweepFolder) -> list[Path]:
    """Write them into the sweep's folder and beside the record of the `eqbench sweep` that goes on; the files."""
    from eqbench.sweep.best_file import write_best
    from eqbench.sweep.plots import write_plots

    files = write_plots(results, folder.plots)
    best = write_best(results, sweep, folder.best_file)
    files += [best] if best else []
    for under_way in invocation.invocations_in(folder):
        if under_way.status is None:
            _copy(files, folder.path, under_way.path / "artifacts")
    return files


def _copy(files: list[Path], source: Path, target: Path) -> None:
    for file in files:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
