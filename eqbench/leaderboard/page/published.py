"""What others have published of the data set of a task, beside its table and marked as not measured here."""

from __future__ import annotations

from eqbench.leaderboard.aggregate import Column
from eqbench.leaderboard.page.tables import number, text
from eqbench.leaderboard.verdict import Reference, recipe_note, references


def published(place: int, column: Column) -> list[str]:
    """A table of the published rows; nothing where none is known."""
    found = references(column)
    metrics = [name for name in column.metrics if any(name in reference.metrics for reference in found)]
    if not metrics:
        return []
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in ("published", *metrics))
    heads += "".join(f'<th scope="col" class="words">{name}</th>' for name in ("verdict", "source"))
    return [
        '<h3>Published results</h3><div class="wide" role="region" tabindex="0" '
        f'aria-labelledby="published-{place}"><table class="published"><caption id="published-{place}"><span>'
        "Numbers of other groups' papers and releases, none of them measured here.</span></caption>",
        f"<thead><tr>{heads}</tr></thead><tbody>",
        *(_row(reference, metrics) for reference in found if reference.metrics.keys() & set(metrics)),
        "</tbody></table></div>",
    ]


def _row(reference: Reference, metrics: list[str]) -> str:
    cells = [
        number(f"{reference.metrics[name]:.1f}", reference.metrics[name]) if name in reference.metrics else "<td>–</td>"
        for name in metrics
    ]
    note = f"<small>{text(reference.note)}</small>" if reference.note else ""
    return (
        f'<tr><th scope="row">{text(reference.label)}{note}</th>{"".join(cells)}<td class="words">{_verdict(reference)}'
        f'</td><td class="words">{text(reference.source)}</td></tr>'
    )


def _verdict(reference: Reference) -> str:
    if reference.same_recipe is None:
        return text(recipe_note(reference))
    if reference.same_recipe:
        answers = "; ".join(f"{verdict.metric} {verdict.answer}" for verdict in reference.verdicts)
        return text(f"same recipe: {answers}" if answers else "same recipe")
    count = len(reference.differing)
    fields = "".join(f"<li>{text(difference)}</li>" for difference in reference.differing)
    summary = f"not the same recipe: {count} {'field' if count == 1 else 'fields'}"
    return f"<details><summary>{summary}</summary><ul>{fields}</ul></details>"
