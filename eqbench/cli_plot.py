"""`eqbench plot`: figures of runs, of suites and of sweeps. What they need is imported when they run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqbench.cli_options import DEFAULT_STORAGE, JsonOption, StorageOption
from eqbench.errors import InputError, nearest
from eqbench.terminal import console, print_json

if TYPE_CHECKING:
    from eqbench.plots.canvas import Picture

plot_app = typer.Typer(help="Pictures of what was run, drawn from what is stored.", no_args_is_help=True)

FORMATS = ("png", "svg")
BOXES = "Characters that no font on this machine has are boxes; `--format svg` keeps them."
RunsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="A run as in `eqbench compare`, or all of SUITE, SUITE/TASK, TASK/LOSS or SUITE/TASK/LOSS.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(help="Folder of the pictures; by default `plots` in that of the first run's suite.")
]
FormatOption = Annotated[list[str], typer.Option("--format", help="png or svg; may be given twice.")]


SUBJECTS = {
    "gradients": "Gradient ratio, positives over negatives: over training by class group, and of each class by its "
    "frequency.",
    "per-class": "The result of each class against its number of training samples, and the change against the first "
    "loss.",
    "curves": "Learning curves: training loss, main metric, class groups.",
    "confusion": "What images or pixels of each class group are taken for: the right class, or one of which group.",
    "weights": "Norm of each class's weights in the classifier, by frequency.",
    "samples": "Stored samples of the rarest classes with predictions, losses side by side.",
}


def _add_verb(name: str, about: str) -> None:
    @plot_app.command(name, help=about)
    def plot(
        runs: RunsArgument,
        out: OutOption = None,
        formats: FormatOption = ["png"],
        storage: StorageOption = DEFAULT_STORAGE,
        as_json: JsonOption = False,
    ) -> None:
        _plot(name.replace("-", "_"), runs, out, formats, storage, as_json)


for _name, _about in SUBJECTS.items():
    _add_verb(_name, _about)


@plot_app.command("tradeoff")
def plot_tradeoff(
    suites: Annotated[list[str], typer.Argument(metavar="SUITE...", help="Names or files of suites that were run.")],
    out: OutOption = None,
    formats: FormatOption = ["png"],
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Losses by their results on frequent and on rare classes, with intervals."""
    _check_formats(formats)
    from eqbench import leaderboard
    from eqbench.leaderboard.find import find_suite_folder
    from eqbench.plots.suite_figures import tradeoff_of

    folders = [find_suite_folder(storage, suite) for suite in suites]
    picture = tradeoff_of(leaderboard.board(folders), folders)
    _finish([picture], out or folders[0].path / "plots", formats, as_json)


@plot_app.command("sweep")
def plot_sweep(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep that was run, or its YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; by default `plots` in that of SWEEP.")
    ] = None,
    formats: FormatOption = ["png"],
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """What a sweep has found so far: response, surfaces, importance, Pareto front, learning curves; and a page."""
    _check_formats(formats)
    from eqbench.sweep import report
    from eqbench.sweep.folder import find_sweep_folder
    from eqbench.sweep.plots import write_plots

    folder = find_sweep_folder(storage, sweep)
    results = folder.results()
    files = write_plots(results, out or folder.plots, formats)
    if as_json:
        print_json({**report.describe(results), "files": [str(file) for file in files]})
        return
    screen = console()
    screen.print(*report.tables(results, folder.best_file), sep="\n")
    screen.print("", *map(str, files), sep="\n", highlight=False, soft_wrap=True)


def _plot(
    subject: str, texts: Sequence[str], out: Path | None, formats: Sequence[str], storage: Path, as_json: bool
) -> None:
    _check_formats(formats)
    from eqbench.leaderboard.find import find_runs
    from eqbench.plots import figures

    runs = [run for text in texts for run in find_runs(storage, text)]
    pictures = figures.draw(subject, runs)
    lost = figures.unreadable(runs) if len(runs) > 1 else ()
    _finish(pictures, out or runs[0].path.parent / "plots", formats, as_json, lost)


def _finish(
    pictures: Sequence[Picture], out: Path, formats: Sequence[str], as_json: bool, lost: Sequence[tuple[str, str]] = ()
) -> None:
    """Write the pictures and say where; InputError where there is none. `lost`: runs that cannot be read, and why."""
    from eqbench.plots import canvas, figures

    if all(picture.figure is None for picture in pictures):
        raise InputError(" ".join(dict.fromkeys(picture.caption for picture in pictures)))
    files = figures.write(pictures, out, formats)
    if as_json:
        described = [
            {
                "name": picture.name,
                "title": picture.title,
                "caption": picture.caption,
                "left_out": [{"what": what, "reason": reason} for what, reason in (*picture.left_out, *lost)],
                "files": [str(file) for file in files if file.stem == picture.name],
            }
            for picture in pictures
        ]
        print_json(described)
        return
    screen = console()
    for picture in pictures:
        own = [str(file) for file in files if file.stem == picture.name]
        boxes = picture.figure is not None and "png" in formats and canvas.lacks_characters(picture.figure)
        lines = [f"{picture.title}. {picture.caption}", *([BOXES] if boxes else []), *own, ""]
        screen.print(*lines, sep="\n", highlight=False, markup=False, soft_wrap=True)
    for what, reason in lost:
        screen.print(f"{what} is left out: {reason}", highlight=False, markup=False, soft_wrap=True)


def _check_formats(formats: Sequence[str]) -> None:
    for each in formats:
        if each not in FORMATS:
            raise InputError(f"--format {each}: expected {' or '.join(FORMATS)}{nearest(each, FORMATS)}")
