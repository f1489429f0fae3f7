"""`eqbench sweep` and `eqbench plot`. What they need is imported when they run."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from eqbench.cli_options import (
    DEFAULT_STORAGE,
    EXIT_FAILED_RUNS,
    EXIT_INTERRUPTED,
    JsonOption,
    MLflowOption,
    OverrideOption,
    StorageOption,
    VerboseOption,
)
from eqbench.terminal import console, print_json

plot_app = typer.Typer(help="Pictures of what was run.", no_args_is_help=True)


def sweep(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep, or a YAML file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print trials and cost; start nothing.")] = False,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Settings to try, instead of sweep.trials.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with trials of an earlier call, or fail.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Start failed trials again.")] = False,
    override: OverrideOption = [],
    storage: StorageOption = DEFAULT_STORAGE,
    mlflow: MLflowOption = True,
    verbose: VerboseOption = False,
) -> None:
    """Search for hyperparameters. Running again continues: trials that have ended stay, and the search knows them."""
    from eqbench.sweep import driver, report
    from eqbench.sweep.definition import load_sweep
    from eqbench.sweep.dry_run import dry_run as print_plan

    wanted = [*override, *([] if num_samples is None else [f"sweep.trials={num_samples}"])]
    what = driver.Search(load_sweep(sweep, wanted), storage, mlflow, verbose, resume, retry_failed)
    screen = console()
    if dry_run:
        print_plan(what, screen)
        return
    try:
        outcome = driver.launch(what, screen)
    except KeyboardInterrupt:
        _end_interrupted()
    if outcome.interrupted:
        _end_interrupted()
    screen.print(*report.tables(outcome.results), sep="\n")
    if outcome.note:
        screen.print(f"It ended early: {outcome.note}", highlight=False)
    folder = what.folder
    best = f"\n              eqbench run {folder.best_file}" if folder.best_file.exists() else ""
    further = f"\nlook further  {folder.page}\n              eqbench ui{best}"
    screen.print(further, highlight=False, soft_wrap=True)
    if any(trial.status == "failed" for trial in outcome.results.trials):
        raise typer.Exit(EXIT_FAILED_RUNS)


def _end_interrupted() -> None:
    again = shlex.join(["eqbench", *sys.argv[1:]])
    print(f"eqbench: interrupted; nothing is lost, continue with: {again}", file=sys.stderr)
    raise typer.Exit(EXIT_INTERRUPTED)


@plot_app.command("sweep")
def plot_sweep(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep that was run, or its YAML file.")],
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """What a sweep has found so far: response, surfaces, importance, Pareto front, learning curves; PNG and a page."""
    from eqbench.sweep import report
    from eqbench.sweep.folder import find_sweep_folder
    from eqbench.sweep.plots import write_plots

    folder = find_sweep_folder(storage, sweep)
    results = folder.results()
    files = write_plots(results, folder.plots)
    if as_json:
        print_json({**report.describe(results), "files": [str(file) for file in files]})
        return
    screen = console()
    screen.print(*report.tables(results), sep="\n")
    screen.print("", *map(str, files), sep="\n", highlight=False, soft_wrap=True)
