"""`eqbench data`: miniatures of data sets; the real ones prepared, verified and described."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from eqbench.cli_data_options import Options, with_data_set_options
from eqbench.data.verification import data_sets
from eqbench.errors import InputError
from eqbench.terminal import console, print_json

EXIT_PROBLEMS, EXIT_INTERRUPTED = 2, 130

app = typer.Typer(
    help="Miniatures of data sets; the real ones prepared, verified and described. Downloads nothing.\n\n"
    f"NAME is {', '.join(data_sets.NAMES[:-1])} or {data_sets.NAMES[-1]}.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of the data set; see `eqbench data --help`.")]
RootOption = Annotated[Path, typer.Option(help="The data set's folder.")]
NewFolderOption = Annotated[
    Path | None, typer.Option("--root", help="A new folder; by default one in $EQBENCH_DATA or data.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(data_sets.MINIATURES)}.")],
    root: NewFolderOption = None,
    images: Annotated[int | None, typer.Option(help="Training images.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.")] = None,
    seed: Annotated[int, typer.Option(help="The same one gives the same bytes.")] = 0,
    size: Annotated[int | None, typer.Option(help="Pixels of an image's longer side.")] = None,
) -> None:
    """A miniature in exactly the format of the real data set: long-tailed, learnable, made from a seed."""
    data_sets.check_name("make", name, data_sets.MINIATURES)
    from eqbench.data import miniatures

    try:
        said = miniatures.make(name, root, images=images, classes=classes, seed=seed, size=size)
    except ValueError as error:
        raise InputError(f"data make {name}: {error}") from error
    print("\n".join(said))


@app.command()
@with_data_set_options
def prepare(
    name: NameArgument,
    root: RootOption,
    options: Options,
) -> None:
    """Build the index that training opens in a moment, if there is one, and say what is there and what is not."""
    data_sets.check_name("prepare", name)
    prepare = data_sets.module(name).prepare
    taken = data_sets.options_of(prepare, options, "prepare", name)
    try:
        said = prepare(root, **taken)
    except ValueError as error:
        raise InputError(f"data prepare {name}: {error}") from error
    print("\n".join(said))


@app.command()
@with_data_set_options
def verify(
    name: NameArgument,
    root: RootOption,
    options: Options,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every file too.")] = False,
    miniature: Annotated[bool, typer.Option("--miniature", help="Check a miniature by its manifest.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Name every bad file, not the first 20 of a kind.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode; one for each core.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check files, counts, lists, labels and leaks: name what is wrong and exit with 2, or note that all is well."""
    data_sets.check_name("verify", name)
    from rich.console import Console

    from eqbench.data.verification import report, verification
    from eqbench.data.verification.findings import KEPT

    limit = None if show_all else KEPT
    how = verification.How(with_decoding=deep, miniature=miniature, limit=limit, workers=workers)
    try:
        outcome = verification.verify(name, root, options, Console(stderr=True), how)
    except KeyboardInterrupt:
        print("eqbench: interrupted; nothing was noted", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(outcome.as_json())
    else:
        print("\n".join(report.lines(outcome)))
    if not outcome.ok:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command()
@with_data_set_options
def stats(
    name: NameArgument,
    root: RootOption,
    options: Options,
    show_all: Annotated[bool, typer.Option("--all", help="List every class too.")] = False,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Write the plot of class frequencies.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How long the tail is: group sizes, imbalance factor, Gini coefficient, class frequencies."""
    data_sets.check_name("stats", name)
    from eqbench.data.verification import class_counts, plot, report, tables, verification

    if plot_file is not None:
        plot.check_file(plot_file)
    contents, found = verification.look_at(name, root, options)
    if as_json:
        print_json(class_counts.as_json(contents, with_classes=show_all))
    else:
        console().print(*tables.tables(contents, with_classes=show_all), sep="\n")
    if plot_file is not None:
        plot.save(contents, f"{name} in {root}", plot_file)
        print(f"plot: {plot_file}", file=sys.stderr)
    if not found.ok:
        again = f"eqbench data verify {name} --root {root}"
        print(f"eqbench: {report.count(found.problems)}; see: {again}", file=sys.stderr)
