"""Arguments, options and exit codes that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_FAILED_RUNS, EXIT_REGRESSION, EXIT_INTERRUPTED = 1, 4, 130
DEFAULT_STORAGE = Path("runs")

SuiteArgument = Annotated[str, typer.Argument(help="Name of a suite, or a YAML file.")]
StorageOption = Annotated[
    Path, typer.Option("--storage", envvar="EQBENCH_STORAGE", help="Folder that holds everything that was run.")
]
OverrideOption = Annotated[
    list[str], typer.Option("--override", "-o", metavar="KEY=VALUE", help="Change the suite, e.g. train.epochs=2.")
]
MLflowOption = Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track in MLflow.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show the logs of Ray and of the workers.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
