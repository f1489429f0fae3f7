"""The tables of the page: over all tasks, and of each task; every number is a button that opens its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from eqbench.leaderboard.sheets import COST_HEADERS

Plain = Mapping[str, Any]


def text(value: object) -> str:
    """Text as it may stand in HTML, what cannot be shown replaced."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(value).split()))
    return escape(shown)


def overall(ranking: Sequence[Plain], columns: Sequence[tuple[int, Plain]]) -> list[str]:
    """Losses × tasks, by the main metric of each task; `columns` are the current ones with their place on the board."""
    heads = [_head("loss")]
    for _, column in columns:
        main = column["metrics"][0] if column["metrics"] else ""
        heads.append(_head(column["title"], main))
    heads += [_head("mean rank", first="ascending"), _head("Borda")]
    entries = [
        (place, column, {entry["loss"]: (position, entry) for position, entry in enumerate(column["losses"])})
        for place, column in columns
    ]
    rows = []
    for row in ranking:
        cells = []
        for place, column, by_loss in entries:
            position, entry = by_loss.get(row["loss"], (0, None))
            main = column["metrics"][0] if column["metrics"] else None
            cells.append(_metric(f"{place}.{position}", entry, main) if entry else _empty())
        ranked = sum(rank is not None for rank in row["ranks"].values())
        mean_rank = row["mean_rank"]
        cells.append(_empty() if mean_rank is None else number(f"{mean_rank:.2f}", mean_rank))
        cells.append(number(f"{row['borda']:g}", row["borda"]) if ranked else _empty())
        missing = "" if row["complete"] else f"{ranked} of {len(columns)} tasks"
        rows.append(_row(row["loss"], row["baseline"], missing, cells))
    caption = "Main metric of each task: mean ± 95 % interval over seeds, change against the baseline."
    return _table("overall", "All tasks", caption, heads, rows)


def of_column(place: int, column: Plain) -> list[str]:
    """One task: all its metrics and what they cost."""
    main = column["metrics"][0] if column["metrics"] else None
    shown = [
        name
        for name in column["metrics"]
        if name == main or any(entry["metrics"][name]["n"] for entry in column["losses"])
    ]
    costs = [name for name in COST_HEADERS if any(_cost(entry, name).get("n") for entry in column["losses"])]
    heads = [_head("loss"), _head("n"), *(_head(name) for name in shown)]
    heads += [_head(COST_HEADERS[name][0], first="ascending") for name in costs]
    rows = []
    for position, entry in enumerate(column["losses"]):
        where = f"{place}.{position}"
        cells = [number(str(entry["finished"]), entry["finished"], where)]
        cells += [_metric(where, entry, name) for name in shown]
        cells += [_cost_cell(_cost(entry, name), COST_HEADERS[name][1]) for name in costs]
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


def _row(loss: str, baseline: bool, missing: str, cells: Sequence[str]) -> str:
    note = "; ".join(part for part in ("baseline" if baseline else "", missing) if part)
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


def _metric(where: str, entry: Plain, name: str | None) -> str:
    cell = entry["metrics"].get(name) if name else None
    opened = f'<button type="button" data-open="{where}"'
    if not cell or not cell["n"]:
        status = "none" if name else "runs"
        return f'<td data-key="">{opened} aria-label="no value: show the {status}">–</button></td>'
    lines = "".join(_metric_lines(cell, entry["finished"]))
    return f'<td data-key="{cell["mean"]:.6g}">{opened} data-metric="{text(name)}">{lines}</button></td>'


def _metric_lines(cell: Plain, finished: int) -> Iterator[str]:
    n, half_width = cell["n"], cell["half_width"]
    yield f"{cell['mean']:z.1f}"
    if half_width is not None:
        yield f"<i> ± {half_width:.1f}</i>"
    if n == 1 or n != finished:
        yield f"<i> (n={n})</i>"
    change = cell.get("change")
    if change:
        sense = ("up" if change["mean"] > 0 else "down") if change["significant"] else "even"
        mark = '<abbr title="significant">*</abbr>' if change["significant"] else ""
        yield f'<br><span class="{sense}">{change["mean"]:+z.1f}{mark}</span>'


def _cost(entry: Plain, name: str) -> Plain:
    found: Plain = entry["cost"].get(name) or {}
    return found


def _cost_cell(cost: Plain, factor: float) -> str:
    return number(f"{cost['mean'] * factor:.4g}", cost["mean"] * factor) if cost.get("n") else _empty()
