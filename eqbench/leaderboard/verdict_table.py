"""Published results for people: the verdicts on a run as tables, and the reference rows of a board as sheets."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eqbench.leaderboard.aggregate import Column
from eqbench.leaderboard.sheets import Sheet, SheetCell, SheetRow
from eqbench.leaderboard.verdict import Answer, PublishedComparison, Reference, Verdict, nearest_references, recipe_note

SHOWN_REFERENCES = 5
STYLES: dict[Answer, str] = {
    "within tolerance": "green",
    "different": "bold yellow",
    "not the same recipe": "dim",
    "undecided": "dim",
}


def render(comparison: PublishedComparison) -> RenderableType:
    """What a terminal shows: the references of the same recipe, and of the others those that differ least."""
    others = len(comparison.seeds) - 1
    seeds = f", mean of seeds {', '.join(map(str, comparison.seeds))}" if others else ", a single seed"
    shown = _shown(comparison.references)
    parts: list[RenderableType] = [
        Text.assemble((comparison.name, "bold"), (f"  {comparison.run_id}", "dim")),
        Text(f"against what is published of {comparison.dataset}{seeds}"),
    ]
    for reference in shown:
        parts += ["", *_reference(comparison, reference)]
    hidden = len(comparison.references) - len(shown)
    if hidden:
        parts += ["", Text(f"{hidden} more differ in more fields; --json has all.", style="dim")]
    parts += [
        "",
        Text(
            "The tolerance is the half width of the 95 % prediction interval of one more run, from the scatter that is "
            "named beside it, and half a unit of the published number's last digit. Each metric is judged by itself, "
            "without correction for their number. Metrics are in percent.",
            style="dim",
        ),
        Text(comparison.verdict, style="bold red" if comparison.regression else "bold"),
    ]
    return Group(*parts)


def reference_sheet(column: Column) -> Sheet | None:
    """The published rows nearest to those of a column of the board; None where there are none. JSON has all."""
    found = nearest_references(column)
    metrics = [name for name in column.metrics if any(name in reference.metrics for reference in found)]
    if not metrics:
        return None
    return Sheet(
        f"{column.title}: published",
        "numbers of other groups' releases and papers, none of them measured here",
        tuple(metrics),
        tuple(_sheet_row(reference, metrics) for reference in found if reference.metrics.keys() & set(metrics)),
    )


def _sheet_row(reference: Reference, metrics: Iterable[str]) -> SheetRow:
    cells = (SheetCell(_number(reference.metrics.get(name, math.nan))) for name in metrics)
    return SheetRow(reference.label, recipe_note(reference), tuple(cells))


def _shown(found: tuple[Reference, ...]) -> list[Reference]:
    same = [reference for reference in found if reference.same_recipe]
    return (
        same + [reference for reference in found if not reference.same_recipe][: max(0, SHOWN_REFERENCES - len(same))]
    )


def _reference(comparison: PublishedComparison, reference: Reference) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text.assemble((reference.label, "bold"), (f"  {reference.source}", "dim")),
    ]
    if reference.note:
        parts.append(Text(reference.note, style="dim"))
    if not reference.same_recipe:
        parts.append(Text("not the same recipe:", style="yellow"))
        parts += [Text(f"  {difference}") for difference in reference.differing]
    if reference.verdicts:
        parts.append(_table(comparison, reference.verdicts))
    else:
        parts.append(Text("The run has none of its metrics.", style="dim"))
    return parts


def _table(comparison: PublishedComparison, verdicts: Iterable[Verdict]) -> Table:
    several = len(comparison.seeds) > 1
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("metric")
    for name in ("run", *(("mean",) if several else ()), "published", "difference", "tolerance"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for verdict in verdicts:
        own = [_number(comparison.own.get(verdict.metric, math.nan)), *((_number(verdict.mean),) if several else ())]
        judged = verdict.answer != "not the same recipe"
        size = verdict.tolerance.size if judged else math.nan
        reason = f" ({verdict.tolerance.reason})" if judged else ""
        table.add_row(
            Text(verdict.metric),
            *own,
            f"{verdict.published:.2f}",
            f"{verdict.difference:+z.2f}",
            "–" if math.isnan(size) else f"{size:.2f}",
            Text.assemble((verdict.answer, STYLES[verdict.answer]), (reason, "dim")),
        )
    return table


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:z.2f}"
