"""`eqbench sweep`. What it needs is imported when it runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from eqbench.cli_options import (
    DEFAULT_STORAGE,
    EXIT_FAILED_RUNS,
    EXIT_INTERRUPTED,
    MLflowOption,
    StorageOption,
    VerboseOption,
)
from eqbench.errors import InputError
from eqbench.terminal import console, print_json


def sweep(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep, or a YAML file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print trials and cost; start nothing.")] = False,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Settings to try, instead of sweep.trials.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with trials of an earlier call, or fail.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Start failed trials again.")] = False,
    override: Annotated[
        list[str],
        typer.Option(
            "--override",
            "-o",
            metavar="KEY=VALUE",
            help="Change the sweep or its suite, e.g. sweep.trials=20, sweep.space.loss.tau.uniform=[1, 2] or "
            "train.epochs=2.",
        ),
    ] = [],
    storage: StorageOption = DEFAULT_STORAGE,
    mlflow: MLflowOption = True,
    verbose: VerboseOption = False,
) -> None:
    """Search for hyperparameters. Running again continues: trials that have ended stay, and the search knows them."""
    from eqbench.storage.place import uri_of
    from eqbench.submission.inside_job import check_before_training
    from eqbench.sweep import driver, report
    from eqbench.sweep.definition import load_sweep
    from eqbench.sweep.dry_run import dry_run as print_plan

    wanted = [*override, *([] if num_samples is None else [f"sweep.trials={num_samples}"])]
    what = driver.Search(load_sweep(sweep, wanted), storage, mlflow, verbose, resume, retry_failed)
    screen = console()
    if dry_run:
        print_plan(what, screen)
        return
    check_before_training(uri_of(storage), what.sweep.mlflow.tracking_uri, mlflow, verbose)
    try:
        outcome = driver.launch(what, screen)
    except KeyboardInterrupt:
        _end_interrupted()
    if outcome.interrupted:
        _end_interrupted()
    folder = what.folder
    screen.print(*report.tables(outcome.results, folder.best_file), sep="\n")
    if ending := report.ending(outcome.results, outcome.note):
        screen.print(ending, highlight=False)
    best = f"\n              eqbench run {folder.best_file}" if folder.best_file.exists() else ""
    further = f"\nlook further  {folder.page}\n              eqbench ui{best}"
    screen.print(further, highlight=False, soft_wrap=True)
    if any(trial.status == "failed" for trial in outcome.results.trials):
        raise typer.Exit(EXIT_FAILED_RUNS)


def validate_sweep(sweep: str, overrides: Sequence[str], as_json: bool) -> None:
    """Check a sweep's file and say how many settings it tries.

    Raises:
        InputError: how many problems there are, then one line for each.
    """
    from eqbench.sweep.definition import load_sweep

    try:
        checked = load_sweep(sweep, overrides)
    except InputError as error:
        problems = str(error).splitlines()
        raise InputError(
            "\n".join([f"{sweep}: {len(problems)} problem{'s' * (len(problems) > 1)}", *problems])
        ) from error
    if as_json:
        print_json(checked.description())
        return
    section = checked.section
    size = section.space.size
    settings = min(number for number in (section.trials, size) if number is not None)
    of_space = f" of {size}" if size is not None and size > settings else ""
    print(f"{checked.file}: {settings}{of_space} settings by {section.search.name} search, no problem found")


def _end_interrupted() -> None:
    again = shlex.join(["eqbench", *sys.argv[1:]])
    print(f"eqbench: interrupted; nothing is lost, continue with: {again}", file=sys.stderr)
    raise typer.Exit(EXIT_INTERRUPTED)
