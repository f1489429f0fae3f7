"""`eqbench compare`: a run against another, or against what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from eqbench.cli_options import DEFAULT_STORAGE, EXIT_REGRESSION, JsonOption, StorageOption
from eqbench.errors import InputError, nearest
from eqbench.terminal import console, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

TARGETS = ("published",)


def compare(
    run_a: Annotated[str, typer.Argument(help="A run: id, or suite/task/loss/seed.")],
    run_b: Annotated[str | None, typer.Argument(help="Another run; none with --to published.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="published", help="Against what is published of its data set and loss.")
    ] = None,
    fail_on_regression: Annotated[bool, typer.Option(help="Exit with 4 if B is worse, beyond chance.")] = False,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Two runs side by side: what differs in their configuration, metrics and classes.

    With --to published: a verdict for each metric, within tolerance, different or not the same recipe. It is a
    regression if the main metric is below the published one by more than the tolerance, or if nothing of its recipe is
    published.
    """
    from eqbench.leaderboard.find import find_run

    _check(run_b, to)
    a = find_run(storage, run_a)
    shown: RenderableType
    if run_b is None:
        from eqbench.leaderboard import verdict, verdict_table

        published = verdict.compare_to_published(a)
        content, regression, shown = published.as_dict(), published.regression, verdict_table.render(published)
    else:
        from eqbench.leaderboard import compare as comparing
        from eqbench.leaderboard import comparison_table

        comparison = comparing.compare(a, find_run(storage, run_b))
        content, regression, shown = comparison.as_dict(), comparison.regression, comparison_table.render(comparison)
    if as_json:
        print_json(content)
    else:
        console().print(shown)
    if fail_on_regression and regression:
        raise typer.Exit(EXIT_REGRESSION)


def _check(run_b: str | None, to: str | None) -> None:
    if to is not None and to not in TARGETS:
        raise InputError(f"--to {to}: expected {TARGETS[0]!r}{nearest(to, TARGETS)}")
    if run_b is None and to is None:
        raise InputError("compare: expected a second run, or --to published")
    if run_b is not None and to is not None:
        raise InputError(f"compare: run {run_b!r} and --to {to} exclude each other; leave out one of them")
