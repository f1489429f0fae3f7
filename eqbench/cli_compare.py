"""`eqbench compare`: a run against another, or against what is published."""

from __future__ import annotations

import math
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
    fail_on_regression: Annotated[bool, typer.Option(help="Exit with 4 if B is worse.")] = False,
    tolerance: Annotated[
        float | None, typer.Option(metavar="POINTS", help="By how much B's main metric may be lower.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Two runs side by side: what differs in their configuration, metrics and classes.

    B is worse if its main metric is lower beyond chance: by a bootstrap over the images where predictions are stored,
    else over the classes if the metric is their mean. Without either, lower by anything (or --tolerance) is worse. Runs
    that cannot be compared count as a regression.

    With --to published: a verdict for each metric, within tolerance, different or not the same recipe. It is a
    regression if the main metric, or the first that is published, is below the published one by more than the
    tolerance, or if nothing of its recipe is published.
    """
    from eqbench.leaderboard.find import Runs

    _check(run_b, to, tolerance)
    runs = Runs(storage)
    a = runs.find(run_a)
    shown: RenderableType
    if run_b is None:
        from eqbench.leaderboard import verdict, verdict_table

        published = verdict.compare_to_published(a)
        content, regression, shown = published.as_dict(), published.regression, verdict_table.render(published)
    else:
        from eqbench.leaderboard import compare as comparing
        from eqbench.leaderboard import comparison_table

        comparison = comparing.compare(a, runs.find(run_b), tolerance=tolerance or 0.0)
        content, regression, shown = comparison.as_dict(), comparison.regression, comparison_table.render(comparison)
    if as_json:
        print_json(content)
    else:
        console().print(shown)
    if fail_on_regression and regression:
        raise typer.Exit(EXIT_REGRESSION)


def _check(run_b: str | None, to: str | None, tolerance: float | None) -> None:
    if to is not None and to not in TARGETS:
        raise InputError(f"--to {to}: expected {TARGETS[0]!r}{nearest(to, TARGETS)}")
    if run_b is None and to is None:
        raise InputError("compare: expected a second run, or --to published")
    if run_b is not None and to is not None:
        raise InputError(f"compare: run {run_b!r} and --to {to} exclude each other; leave out one of them")
    if tolerance is not None and to is not None:
        raise InputError("compare: --tolerance is for two runs; published results have tolerances of their own")
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise InputError(f"--tolerance {tolerance}: expected 0 or more points")
