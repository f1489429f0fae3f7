"""The verbs about MLflow: its page, and `eqbench mlflow …`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from eqbench.cli_options import DEFAULT_STORAGE, JsonOption, StorageOption
from eqbench.errors import EnvironmentProblem
from eqbench.terminal import console, print_json

mlflow_app = typer.Typer(help="What MLflow has of the runs.", no_args_is_help=True)

TrackingOption = Annotated[
    str | None, typer.Option(help="Which store; by default where each suite was tracked.", metavar="URI")
]


def ui(
    suite: Annotated[str | None, typer.Argument(help="A suite that was run; by default the one run last.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="A free one by default.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """MLflow's page on loopback, with a view of the suite's runs and one of the losses of each task."""
    from eqbench import tracking
    from eqbench.leaderboard.find import find_suite_folder
    from eqbench.ui import serve

    folder = find_suite_folder(storage, suite) if suite else tracking.latest_suite(storage)
    uri = tracking.suite_uri(folder) if folder else tracking.latest_uri(storage)
    serve(uri, console(), port, folder, first=lambda: tracking.reconcile(None, storage))


@mlflow_app.callback()
def _verbs() -> None: ...


@mlflow_app.command()
def reconcile(
    suites: Annotated[list[str], typer.Argument(help="Names of suites; all by default.")] = [],
    tracking_uri: TrackingOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """End the runs that are RUNNING in MLflow though their process is gone, and say which."""
    from eqbench import tracking

    report = tracking.reconciliation(storage, suites or None, tracking_uri)
    if as_json:
        print_json(asdict(report))
    else:
        for suite, names in report.ended.items():
            print(*(f"{suite}: ended {name}" for name in names), sep="\n")
        for suite, reason in report.left.items():
            print(f"{suite}: left alone: {reason}")
        print(f"{sum(map(len, report.ended.values()))} runs ended in MLflow")
        for reason in report.behind:
            print(f"eqbench: {reason}", file=sys.stderr)
    if report.behind:
        raise typer.Exit(EnvironmentProblem.exit_code)
