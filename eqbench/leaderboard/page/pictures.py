"""The figures of each task and of sweeps, folded away in the page, as many as it has room for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from eqbench.errors import InputError
from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.leaderboard.page import drawings, samples
from eqbench.leaderboard.page.embedded import Embedded
from eqbench.leaderboard.page.tables import text
from eqbench.plots import confusion, curves, gradients, per_class, weights
from eqbench.plots.canvas import Picture
from eqbench.plots.series import Series, Task, tasks_of
from eqbench.plots.stored import StoredRun
from eqbench.run_folder import SuiteFolder

DRAWN: Mapping[str, Callable[[Task], Picture]] = {
    "gradients": gradients.picture,
    "per_class": per_class.picture,
    "confusion": confusion.picture,
    "weights": weights.picture,
    "curves": curves.picture,
}
NAMES = {
    "gradients": "gradient ratios",
    "per_class": "results by class",
    "confusion": "confusion",
    "weights": "weight norms",
    "curves": "learning curves",
    "samples": "samples",
}
"""Figures of runs; the last ones are the first to be left out."""
SWEEP_FIGURES = ("response", "surface", "importance")
MOST_TASKS = 12
FOLDERS = re.compile(r"/\S+/")
"""In a message; they say nothing on another machine."""


class Pictures:
    """Figures as parts of the page, drawn until `room` is used up.

    Attributes:
        left_out: what has no room, a sentence; empty where all is there.
    """

    def __init__(self, board: Leaderboard, embedded: Embedded, folders: Sequence[SuiteFolder], room: int) -> None:
        self._room = room
        self._parts: dict[int, list[str]] = {}
        self._without: dict[str, list[str]] = {}
        self._sweeps = [part for folder in folders for part in self._sweep(folder)]
        tasks = [place for place, column in enumerate(board.columns) if not column.trials]
        drawable = [place for place in tasks if any(map(embedded.drawn.used, embedded.rows[place]))]
        losses = {place: _losses(board, embedded, place) for place in drawable[:MOST_TASKS]}
        for subject in NAMES:
            for place, of_task in losses.items():
                title = board.columns[place].title
                for part in self._figure(subject, place, title, of_task, embedded):
                    self._add(place, NAMES[subject], title, part)
        rest = [board.columns[place].title for place in drawable[MOST_TASKS:]]
        self.left_out = _left_out(self._without, rest)

    def of_task(self, place: int) -> list[str]:
        """The part of a task."""
        parts = self._parts.get(place)
        return ['<div class="pictures"><h3>Figures</h3>', *parts, "</div>"] if parts else []

    def of_sweeps(self) -> list[str]:
        return self._sweeps

    def _add(self, place: int, name: str, title: str, part: str) -> None:
        if self._fits(part):
            self._parts.setdefault(place, []).append(part)
        else:
            self._without.setdefault(name, []).append(title)

    def _fits(self, part: str) -> bool:
        size = len(part.encode())
        if size > self._room:
            return False
        self._room -= size
        return True

    def _figure(
        self, subject: str, place: int, title: str, losses: Mapping[str, Sequence[StoredRun]], embedded: Embedded
    ) -> Iterator[str]:
        """A figure of a task; none where nothing is stored for it."""
        if subject == "samples":
            if shown := samples.table(losses):
                yield _folded("Samples of the rarest classes with predictions", shown)
            return
        if subject == "gradients":
            losses = {label: embedded.drawn.read_of(runs) for label, runs in losses.items()}
        try:
            task = _task(title, losses, embedded.places)
            picture = DRAWN[subject](task) if task else None
        except InputError as error:
            said = FOLDERS.sub("", str(error))
            yield _folded(NAMES[subject].capitalize(), f"<p>Cannot be drawn: {text(said)}.</p>")
            return
        if picture and picture.figure is not None:
            yield _drawn(picture, f"task-{place}-{subject}")

    def _sweep(self, folder: SuiteFolder) -> Iterator[str]:
        """What the sweeps of a suite's name say of its settings."""
        from eqbench.sweep.folder import FOLDER, SweepFolder

        name, own = folder.suite.partition("/")[0], folder.suite.endswith(f"/{FOLDER}")
        sweep = SweepFolder(folder.path.parents[1] if own else folder.path.parent, name)
        if not sweep.sweep_file.exists():
            return
        from eqbench.sweep.plots import pictures
        from eqbench.sweep.report import subtitle, title

        try:
            results = sweep.results()
            drawn = pictures(results)
        except InputError as error:
            yield f"<p>The sweep of {text(name)} cannot be drawn: {text(FOLDERS.sub('', str(error)))}.</p>"
            return
        wanted = [each for each in drawn if each.figure is not None and (own or each.name.startswith(SWEEP_FIGURES))]
        parts = [_drawn(picture, f"sweep-{name}-{picture.name}") for picture in wanted]
        kept = [part for part in parts if self._fits(part)]
        if len(kept) < len(parts):
            self._without["figures of sweeps"] = [name]
        if kept:
            yield f'<section id="sweep-{text(name)}" class="pictures"><h2>{text(title(results))}</h2>'
            yield f'<p class="quiet">{text(subtitle(results))}</p>'
            yield from [*kept, "</section>"]


def _losses(board: Leaderboard, embedded: Embedded, place: int) -> dict[str, list[StoredRun]]:
    """The runs of a task that are drawn, by loss, in the order of the plan."""
    rows = zip(board.columns[place].entries, embedded.rows[place], strict=True)
    stored = embedded.drawn.stored
    found = {label: [stored[run_id] for run_id, _ in runs if run_id in stored] for label, runs in rows}
    return {label: found[label] for label in sorted(found, key=lambda label: embedded.places[label])}


def _task(title: str, losses: Mapping[str, Sequence[StoredRun]], places: Mapping[str, int]) -> Task | None:
    """The runs as figures take them, under the names and in the colours of the page."""
    label_of = {run.folder.path: label for label, runs in losses.items() for run in runs}
    found = tasks_of([run for runs in losses.values() for run in runs])
    if not found:
        return None

    def named(series: Series) -> Series:
        label = label_of[series.runs[0].folder.path]
        return replace(series, label=label, place=places[label])

    return replace(found[0], label=title, series=tuple(map(named, found[0].series)))


def _drawn(picture: Picture, name: str) -> str:
    assert picture.figure is not None
    drawing = drawings.inline(picture, picture.figure, re.sub(r"[^A-Za-z0-9-]", "-", name))
    return _folded(
        picture.title,
        f'<figure><div class="picture">{drawing}</div><figcaption>{text(picture.caption)}</figcaption></figure>',
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def _left_out(without: Mapping[str, Sequence[str]], tasks: Sequence[str]) -> str:
    """What is not in the page for want of room."""
    parts = [f"{name} of {', '.join(titles)}" for name, titles in without.items()]
    parts += [f"all figures of {', '.join(tasks)}"] if tasks else []
    if not parts:
        return ""
    return f"Left out, to keep the page small: {'; '.join(parts)}. `eqbench plot` draws them."
