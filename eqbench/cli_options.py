"""Arguments, options and exit codes that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqbench.errors import InputError

EXIT_FAILED_RUNS, EXIT_REGRESSION, EXIT_INTERRUPTED = 1, 4, 130
DEFAULT_STORAGE = Path("runs")

SuiteArgument = Annotated[str, typer.Argument(help="Name of a suite, or a YAML file.")]


def storage_folder(text: str | Path) -> Path:
    """The folder to work in that `--storage` names: itself, or this machine's copy of what is behind a URI."""
    from eqbench.storage.place import place

    return place(text).local


StorageOption = Annotated[
    Path,
    typer.Option(
        "--storage",
        envvar="EQBENCH_STORAGE",
        metavar="PATH|URI",
        parser=storage_folder,
        help="Folder, or URI (s3://, gs://, abfs://, hdfs://, file://), that holds everything that was run.",
    ),
]
OverrideOption = Annotated[
    list[str], typer.Option("--override", "-o", metavar="KEY=VALUE", help="Change the suite, e.g. train.epochs=2.")
]
MLflowOption = Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track in MLflow.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show the logs of Ray and of the workers.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_seeds(text: str | None) -> list[int] | None:
    """The seeds of `--seeds 0,1,2`.

    Raises:
        InputError: they are no whole numbers.
    """
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds {text}: expected whole numbers separated by commas, e.g. 0,1,2") from None
