"""Pictures of a sweep: response, surface, importance, Pareto front, learning curves; PNG files and one page of all.

Everything is drawn from `Results` alone, so a sweep can be drawn while it runs and long after.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.errors import EnvironmentProblem

if TYPE_CHECKING:
    from eqbench.plots.canvas import Picture
    from eqbench.sweep.record import Results

PAGE = "sweep.html"


def write_plots(results: Results, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw everything; the page first, then the pictures, of which those without any data are not written.

    Args:
        formats: of the pictures, `png` or `svg`.

    Raises:
        EnvironmentProblem: a file cannot be written.
    """
    from eqbench.plots import canvas
    from eqbench.sweep.plots import page

    drawn = pictures(results)
    files = [folder / PAGE]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files[0].write_text(page.html(results, drawn), encoding="utf-8")
        for picture in drawn:
            for file in (folder / f"{picture.name}.{suffix}" for suffix in formats):
                if picture.figure is None:
                    file.unlink(missing_ok=True)
                else:
                    canvas.save(picture.figure, file)
                    files.append(file)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: the plots cannot be written ({error.strerror or error})") from error
    return files


def pictures(results: Results) -> list[Picture]:
    """Every picture of a sweep; one without data has no figure but a reason."""
    from eqbench.plots import canvas
    from eqbench.sweep.plots import curves, importance, pareto, population, response, surface
    from eqbench.sweep.standings import Standings

    standings = Standings(results)
    ranked = importance.importances(standings)
    with canvas.drawing():
        drawn = [*response.pictures(standings), *surface.pictures(standings, ranked)]
        drawn += importance.pictures(standings, ranked)
        drawn += pareto.pictures(standings) if standings.objective.several else []
        return [*drawn, *population.pictures(standings), *curves.pictures(standings)]
