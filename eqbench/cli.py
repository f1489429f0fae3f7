"""The command line. Every verb is thin; what it needs is imported when it runs."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from eqbench import __version__
from eqbench.cli_cluster import cancel, doctor, logs, status, submit
from eqbench.cli_compare import compare
from eqbench.cli_data import app as data_app
from eqbench.cli_mlflow import mlflow_app, ui
from eqbench.cli_options import (
    DEFAULT_STORAGE,
    EXIT_FAILED_RUNS,
    EXIT_INTERRUPTED,
    JsonOption,
    MLflowOption,
    OverrideOption,
    StorageOption,
    SuiteArgument,
    VerboseOption,
    read_seeds,
)
from eqbench.cli_plot import plot_app
from eqbench.cli_sweep import sweep, validate_sweep
from eqbench.errors import EnvironmentProblem, EqbenchError, InputError, nearest
from eqbench.interruption import interruptible
from eqbench.terminal import console, print_json, write

if TYPE_CHECKING:
    from rich.console import Console

    from eqbench.run_folder import SuiteFolder

WIDEST_NAME = 60
"""Characters to which names are filled up, so that what follows them is in line."""

app = typer.Typer(
    name="eqbench",
    help="Benchmark of losses for long-tailed visual recognition.\n\n"
    "Exit codes: 0 all done, 1 some runs failed, 2 wrong input, 3 environment, 4 regression, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(data_app, name="data")
app.add_typer(plot_app, name="plot")
app.add_typer(mlflow_app, name="mlflow")


def main() -> None:
    """Entry point: a user's mistake is one message and an exit code, never a traceback."""
    with _errors_as_messages(), interruptible():
        app(prog_name="eqbench")


@contextlib.contextmanager
def _errors_as_messages() -> Iterator[None]:
    try:
        yield
    except EqbenchError as error:
        print(f"eqbench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"eqbench: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(EnvironmentProblem.exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"eqbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None: ...


app.command()(doctor)


@app.command()
def ls(
    kind: Annotated[str, typer.Argument(help="tasks, losses, models, datasets, suites, sweeps, published.")],
    as_json: JsonOption = False,
) -> None:
    """What exists."""
    from eqbench.listing import KINDS, listing

    if kind not in KINDS:
        raise InputError(f"ls: {kind!r} is not a kind; expected one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    entries = listing(kind)
    if as_json:
        print_json(entries)
        return
    width = min(max((len(entry["name"]) for entry in entries), default=0), WIDEST_NAME)
    for entry in entries:
        print(f"{entry['name']:<{width}}  {entry['description']}")


@app.command()
def validate(
    suite: Annotated[str, typer.Argument(help="Name of a suite or a sweep, or a YAML file.")],
    override: OverrideOption = [],
    as_json: JsonOption = False,
) -> None:
    """Check a suite or a sweep: every key, value, plugin and data set; runs nothing."""
    from eqbench.suite import load_suite, names_sweep

    if names_sweep(suite):
        validate_sweep(suite, override, as_json)
        return
    checked = load_suite(suite, override)
    specs = checked.expand()
    if as_json:
        print_json([{"run_id": spec.run_id, "name": spec.name, **spec.model_dump(mode="json")} for spec in specs])
    else:
        print(f"{checked.file}: {len(specs)} runs, no problem found")


@app.command()
def run(
    suite: SuiteArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs and start nothing.")] = False,
    only: Annotated[list[str], typer.Option(metavar="FIELD=LABEL", help="Only these runs, e.g. loss=efl.")] = [],
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="Instead of the suite's seeds.")] = None,
    override: OverrideOption = [],
    storage: StorageOption = DEFAULT_STORAGE,
    mlflow: MLflowOption = True,
    verbose: VerboseOption = False,
) -> None:
    """Run what a suite asks for and show its leaderboard. Running again continues: what is finished is skipped."""
    from eqbench import launch as launching
    from eqbench.storage.place import uri_of
    from eqbench.submission.inside_job import check_before_training
    from eqbench.suite import load_suite

    loaded = load_suite(suite, override)
    own_seeds = read_seeds(seeds)
    what = launching.Launch(loaded, loaded.expand(only, own_seeds), storage, mlflow, verbose, own_seeds, only)
    screen = console()
    if dry_run:
        launching.dry_run(what, screen)
        return
    check_before_training(uri_of(storage), loaded.mlflow.tracking_uri, mlflow, verbose)
    try:
        summary = launching.launch(what, screen)
    except KeyboardInterrupt:
        again = shlex.join(["eqbench", *sys.argv[1:]])
        print(f"eqbench: interrupted; nothing is lost, continue with: {again}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _show_board(what.folder, screen)
    if summary.failed or summary.unfinished:
        raise typer.Exit(EXIT_FAILED_RUNS)


app.command()(sweep)
app.command()(submit)


app.command()(status)
app.command()(logs)
app.command()(cancel)


@app.command()
def leaderboard(
    suites: Annotated[list[str], typer.Argument(help="Names or files of suites that were run.")],
    output_format: Annotated[
        str | None, typer.Option("--format", help="table, html, csv, markdown, latex, json.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write to this file, or into this folder; .html, .csv, …")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Losses × tasks: mean ± 95 % interval over seeds, change against the first loss, significance."""
    from eqbench import leaderboard as boards
    from eqbench.leaderboard import table
    from eqbench.leaderboard.find import find_suite_folder
    from eqbench.leaderboard.output import output

    chosen, file = output(output_format, out, as_json)
    folders = [find_suite_folder(storage, suite) for suite in suites]
    board = boards.board(folders)
    if chosen == "html" and file is None and sys.stdout.isatty():
        file = folders[0].path / "leaderboard.html"
    if chosen == "html":
        from eqbench.leaderboard import page

        write(page.html(board, folders), file)
    elif file or chosen != "table":
        write(table.render(board, chosen), file)
    else:
        console().print(*table.tables(board), sep="\n")
    if file and str(file) != out:
        print(file)


app.command()(compare)


@app.command()
def sync(
    suites: Annotated[list[str], typer.Argument(help="Names of suites; all by default.")] = [],
    tracking_uri: Annotated[str | None, typer.Option(help="Where to; by default where the suite was tracked.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Send to MLflow what it missed, and end there the runs whose process is gone."""
    from eqbench import tracking

    report = tracking.sync(storage, suites or None, tracking_uri)
    print(f"{report.sent} runs sent, {report.already_level} were level already")
    for reason in report.behind:
        print(f"eqbench: {reason}", file=sys.stderr)
    if report.behind:
        raise typer.Exit(3)


@app.command("check-loss")
def check_loss(
    loss: Annotated[str, typer.Argument(metavar="FILE:CLASS", help="e.g. mine.py:MyLoss, or package.module:MyLoss.")],
) -> None:
    """Run the contract that every loss of eqbench keeps on one of your own."""
    from eqbench.loss_contract import check_user_loss

    failures = check_user_loss(loss)
    for name, failure in failures.items():
        print(f"{name}: {failure}", file=sys.stderr)
    print(f"{loss}: {f'{len(failures)} checks failed' if failures else 'keeps the contract'}")
    if failures:
        raise typer.Exit(EXIT_FAILED_RUNS)


app.command()(ui)


def _show_board(folder: SuiteFolder, console: Console) -> None:
    from eqbench import leaderboard as boards
    from eqbench.leaderboard import table
    from eqbench.storage.place import shown

    console.print(*table.tables(boards.board([folder])), sep="\n")
    console.print(f"\nresults       {shown(folder.path)}", highlight=False, soft_wrap=True)
    further = f"look further  eqbench ui\n              eqbench leaderboard {folder.suite} --format markdown"
    console.print(further, highlight=False)


if __name__ == "__main__":
    main()
