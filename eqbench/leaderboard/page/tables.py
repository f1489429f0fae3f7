"""The tables of the page: over all tasks, and of each task; every number is a button that opens its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from eqbench.leaderboard.sheets import COST_HEADERS, cost_header, varying

Plain = Mapping[str, Any]


def text(value: object) -> str:
    """Text as it may stand in HTML, what cannot be shown replaced."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(value).split()))
    return escape(shown)


def overall(ranking: Sequence[Plain], columns: Sequence[tuple[int, Plain]]) -> list[str]:
    """Losses × tasks, by the main metric of each task; `columns` are the current ones with their place on the board."""
    heads = [_head("loss")]
    for _, column in columns:
        usual = _usual(column)
        below = " ".join([*column["metrics"][:1], *([f"(n={usual})"] if usual > 1 else [])])
        heads.append(_head(column["title"], below))
    heads += [_head("mean rank", first="ascending"), _head("Borda")]
    places = {place: {entry["loss"]: at for at, entry in enumerate(column["losses"])} for place, column in columns}
    rows = []
    for row in ranking:
        cells = []
        for place, column in columns:
            position = places[place].get(row["loss"])
            main = column["metrics"][0] if column["metrics"] else None
            marked = "baseline" if row["loss"] == column["baseline"] and not row["baseline"] else ""
            shown = _Shown(column, place, _usual(column), marked)
            cells.append(_empty() if position is None else _metric(shown, position, main))
        ranked = sum(rank is not None for rank in row["ranks"].values())
        mean_rank = row["mean_rank"]
        cells.append(_empty() if mean_rank is None else number(f"{mean_rank:.2f}", mean_rank))
        cells.append(number(f"{row['borda']:g}", row["borda"]) if ranked else _empty())
        missing = "" if row["complete"] else f"{ranked} of {len(columns)} tasks"
        rows.append(_row(row["loss"], row["baseline"], missing, cells, varying(row["varying"])))
    caption = (
        "Main metric of each task in percent: mean ± 95 % interval over seeds; below, the change against the task's "
        "baseline, paired by seed, ± its own interval; * is significant."
    )
    return _table("overall", "All tasks", caption, heads, rows)


def of_column(place: int, column: Plain) -> list[str]:
    """One task: all its metrics and what they cost."""
    main = column["metrics"][0] if column["metrics"] else None
    shown = [
        name
        for name in column["metrics"]
        if name == main or any(entry["metrics"][name]["n"] for entry in column["losses"])
    ]
    means = {
        name: [_cost(entry, name)["mean"] for entry in column["losses"] if _cost(entry, name)] for name in COST_HEADERS
    }
    costs = {name: cost_header(name, max(values)) for name, values in means.items() if values}
    heads = [_head("loss"), _head("n"), *(_head(name) for name in shown)]
    heads += [_head(name, first="ascending") for name, _ in costs.values()]
    rows = []
    for position, entry in enumerate(column["losses"]):
        cells = [number(str(entry["finished"]), entry["finished"], f"{place}.{position}")]
        cells += [_metric(_Shown(column, place, entry["finished"]), position, name) for name in shown]
        cells += [_cost_cell(_cost(entry, name), factor) for name, (_, factor) in costs.items()]
        rows.append(_row(entry["loss"], entry["loss"] == column["baseline"], entry["missing"], cells))
    caption = (
        f"{column['protocol']}, {column['iterations']} iterations, {column['samples']} samples, "
        f"data {str(column['data_digest'])[:8]}, task version {column['task_version']}"
    )
    return _table(f"task-{place}", column["title"], caption, heads, rows)


def _table(name: str, title: str, caption: str, heads: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [
        f'<div class="wide" role="region" aria-labelledby="{name}-caption" tabindex="0">'
        f'<table id="{name}-table"><caption id="{name}-caption"><span class="hidden">{text(title)}. </span>'
        f"<span>{text(caption)}</span></caption>",
        f"<thead><tr>{''.join(heads)}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody></table></div>",
    ]


def _head(name: str, below: str = "", first: str = "descending") -> str:
    order = ' data-first="ascending"' if first == "ascending" else ""
    small = f" <small>{text(below)}</small>" if below else ""
    return f'<th scope="col"{order}><button type="button">{text(name)}{small}</button></th>'


def _usual(column: Plain) -> int:
    """Seeds behind the main metric of most losses that have it."""
    if not column["metrics"]:
        return 0
    numbers = Counter(entry["metrics"][column["metrics"][0]]["n"] for entry in column["losses"])
    return max((n for n in numbers if n), key=lambda n: (numbers[n], n), default=0)


def _row(loss: str, baseline: bool, missing: str, cells: Sequence[str], further: str = "") -> str:
    note = "; ".join(part for part in ("baseline" if baseline else "", missing, further) if part)
    small = f" <small>{text(note)}</small>" if note else ""
    marks = (' class="baseline"' if baseline else "") + (" data-incomplete" if missing else "")
    return (
        f'<tr data-loss="{text(loss)}"{marks}><th scope="row" data-key="{text(loss)}">{text(loss)}{small}</th>'
        f"{''.join(cells)}</tr>"
    )


def _empty() -> str:
    return '<td data-key=""><span aria-label="no value">–</span></td>'


def number(shown: str, key: float, where: str = "") -> str:
    """A cell that sorts by `key`; a button that opens the runs of `where`, column and row, if that is given."""
    inner = f'<button type="button" data-open="{where}">{text(shown)}</button>' if where else text(shown)
    return f'<td data-key="{key:.6g}">{inner}</td>'


class _Shown(NamedTuple):
    """How the numbers of a column are shown: seeds that need no mention, and a word below."""

    column: Plain
    place: int
    expected: int
    below: str = ""


def _metric(shown: _Shown, position: int, name: str | None) -> str:
    entry = shown.column["losses"][position]
    cell = entry["metrics"].get(name) if name else None
    opened = f'<button type="button" data-open="{shown.place}.{position}"'
    if not cell or not cell["n"]:
        return f'<td data-key="">{opened} aria-label="no value: show the runs">–</button></td>'
    lines = "".join(_metric_lines(cell, shown, name or ""))
    return f'<td data-key="{cell["mean"]:.6g}">{opened} data-metric="{text(name)}">{lines}</button></td>'


def _metric_lines(cell: Plain, shown: _Shown, name: str) -> Iterator[str]:
    n, half_width = cell["n"], cell["half_width"]
    yield f"{cell['mean']:z.1f}"
    if half_width is not None:
        yield f"<i> ± {half_width:.1f}</i>"
    if n == 1 or n != shown.expected:
        yield f"<i> (n={n})</i>"
    if shown.below:
        yield f'<br><span class="even">{shown.below}</span>'
    change = cell.get("change")
    if change:
        sense = ("up" if change["mean"] > 0 else "down") if change["significant"] else "even"
        mark = '<abbr title="significant">*</abbr>' if change["significant"] else ""
        own = change["half_width"]
        interval = "" if own is None or change["p"] is None else f"<i> ± {own:.1f}</i>"
        baseline = next(entry for entry in shown.column["losses"] if entry["loss"] == shown.column["baseline"])
        pairs = change["n"]
        fewer = pairs < max(n, baseline["metrics"][name]["n"])
        counted = f"<i> ({pairs} {'pair' if pairs == 1 else 'pairs'})</i>" if fewer else ""
        yield f'<br><span class="{sense}">{change["mean"]:+z.1f}{mark}{interval}{counted}</span>'


def _cost(entry: Plain, name: str) -> Plain:
    found: Plain = entry["cost"].get(name) or {}
    return found if found.get("n") else {}


def _cost_cell(cost: Plain, factor: float) -> str:
    if not cost:
        return _empty()
    value = cost["mean"] * factor
    return number(f"{value:.0f}" if value >= 100 else f"{value:.3g}", value)
