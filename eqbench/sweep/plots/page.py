"""One self-contained page of a sweep: the answer, every picture as inline SVG, a table of all trials.

It asks nothing of a network or of other files, and says so to the browser (`Content-Security-Policy`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from eqbench.plots.svg import inline
from eqbench.plots.text import cleaned
from eqbench.sweep.plots.canvas import gid
from eqbench.sweep.plots.page_style import SCRIPT, STYLE, TONES
from eqbench.sweep.report import CAUTION, subtitle, summary, title
from eqbench.sweep.standings import Standings, number, setting_text, short_names, value_text
from eqbench.sweep.trial_table import remark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eqbench.plots.canvas import Picture
    from eqbench.sweep.record import Results, Trial

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
NOT_RESULTS = ("train/lr", "train/samples_per_second")
"""Recorded with the metrics, but of how a trial was trained."""
ANSWERS = {"yes": "Yes", "no": "No", "open": "Not known"}


def html(results: Results, pictures: Sequence[Picture]) -> str:
    """The whole page; the same sweep gives the same text."""
    standings = Standings(results)
    tips = {gid(trial): tip(standings, trial) for trial in results.trials}
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(title(results))}</title>",
        f"<style>{TONES}{STYLE}</style>",
        "</head>",
        "<body>",
        *_header(standings),
        *(part for picture in pictures for part in _figure(picture, tips)),
        *_table(standings),
        f"<script>{SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def tip(standings: Standings, trial: Trial) -> str:
    """What pointing at a trial shows: its setting, its numbers, what became of it."""
    names = short_names(standings.results.section.space)
    metrics = [
        f"{metric} {number(metric, trial.metrics.get(metric, math.nan))}" for metric in standings.objective.metrics
    ]
    setting = setting_text(trial.values, names) or cleaned(trial.label)
    return "\n".join([f"{trial.name}: {remark(standings, trial)}", setting, ", ".join(metrics)])


def _header(standings: Standings) -> list[str]:
    results = standings.results
    verdict = standings.verdict()
    sentence = verdict.sentence.partition(": ")[2]
    caution = f"<p>{_text(CAUTION)}</p>" if verdict.answer == "yes" else ""
    parameters = "".join(
        f"<li><code>{_text(parameter.path)}</code> {_text(parameter.describe())}</li>"
        for parameter in results.section.space.parameters
    )
    return [
        "<header>",
        f"<h1>{_text(title(results))}</h1>",
        f"<p>{_text(subtitle(results))}</p>",
        f'<section class="answer {verdict.answer}"><h2>Better than the published setting?</h2>',
        f"<p><strong>{ANSWERS[verdict.answer]}</strong>: {_text(sentence)}.</p>{caution}</section>",
        f"<p>{'. '.join(map(_text, summary(standings)))}.</p>",
        f"<details><summary>Space: {len(results.section.space.parameters)} parameters</summary>"
        f"<ul>{parameters}</ul></details>",
        "</header>",
    ]


def _figure(picture: Picture, tips: Mapping[str, str]) -> list[str]:
    heading = f"<h2>{_text(picture.title)}</h2>"
    if picture.figure is None:
        return [f'<section id="{picture.name}">{heading}<p class="missing">{_text(picture.caption)}</p></section>']
    return [
        f'<section id="{picture.name}">{heading}',
        f'<figure><div class="picture">{_drawing(picture, picture.figure, tips)}</div>',
        f"<figcaption>{_text(picture.caption)}</figcaption></figure></section>",
    ]


def _drawing(picture: Picture, figure: Figure, tips: Mapping[str, str]) -> str:
    """The figure without the title that the heading above it is already."""
    titles = [text for text in figure.texts if text.get_text() and text.get_text() == figure.get_suptitle()]
    for text in titles:
        text.set_visible(False)
        text.set_in_layout(False)
    try:
        return inline(figure, picture.name, picture.title, tips)
    finally:
        for text in titles:
            text.set_visible(True)
            text.set_in_layout(True)


def _table(standings: Standings) -> list[str]:
    results = standings.results
    if not results.trials:
        return ["<p>No trial has started.</p>"]
    paths = results.section.space.paths
    metrics = list(standings.objective.metrics)
    metrics += sorted({name for trial in results.trials for name in trial.metrics} - {*metrics, *NOT_RESULTS})
    names = ("trial", *paths, *metrics, "epochs", "seconds", "status", "runs")
    heads = "".join(f'<th scope="col"><button type="button">{_text(name)}</button></th>' for name in names)
    rows = [_row(standings, trial, paths, metrics) for trial in standings.order]
    return [
        '<section id="trials"><h2>All trials</h2>',
        "<p>A click on a heading sorts. Pointing at a mark or a row shows the same trial everywhere.</p>",
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>',
        *rows,
        "</tbody></table></div></section>",
    ]


def _row(standings: Standings, trial: Trial, paths: Sequence[str], metrics: Sequence[str]) -> str:
    status = ": ".join(
        [
            *([] if trial.status == "stopped" and trial.detail else [remark(standings, trial)]),
            *([cleaned(trial.detail)] if trial.detail else []),
        ]
    )
    cells = [_cell(trial.name, trial.number)]
    for path in paths:
        known = path in trial.values
        value = trial.values.get(path)
        plain = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        cells.append(_cell(value_text(value) if known else "", plain))
    cells += [_cell(number(name, trial.metrics.get(name, math.nan)), trial.metrics.get(name)) for name in metrics]
    cells += [_cell(f"{trial.epochs:.4g}", trial.epochs), _cell(f"{trial.seconds:.1f}", trial.seconds)]
    cells += [_cell(status), _cell(" ".join(trial.run_ids), style="runs")]
    best = ' class="best"' if trial in standings.front else ""
    return f'<tr data-trial="{trial.number}"{best}>{"".join(cells)}</tr>'


def _cell(text: str, sorted_by: float | None = None, style: str = "") -> str:
    if sorted_by is None:
        return f'<td class="{style}">{_text(text)}</td>' if style else f"<td>{_text(text)}</td>"
    key = sorted_by if math.isfinite(sorted_by) else ""
    return f'<td class="number" data-key="{key}">{_text(text)}</td>'


def _text(text: str) -> str:
    return escape(cleaned(text))
