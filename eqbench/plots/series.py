"""Runs as figures show them: those of one task together, seeds of one loss as one series."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eqbench.leaderboard.titles import free_title
from eqbench.plots.canvas import BLUE, GREEN, ORANGE, PURPLE, RED
from eqbench.plots.stored import Classes, Floats, StoredRun
from eqbench.plots.text import cleaned
from eqbench.run_spec import flatten

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, "#8a6d3b", "#5f9e2f", "#77808c")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
INDIGO, TEAL, GOLD, PINK = "#6a74c9", "#1f9aa8", "#c9a227", "#dd5182"
GROUP_COLOURS = {1: (INDIGO,), 2: (INDIGO, PINK), 3: (INDIGO, TEAL, PINK), 4: (INDIGO, TEAL, GOLD, PINK)}
"""From frequent to rare, none of them a loss's."""


@dataclass(frozen=True)
class Series:
    """The runs of one loss, which differ in their seeds alone; `place` among the losses decides how it looks."""

    label: str
    place: int
    runs: tuple[StoredRun, ...]

    @property
    def colour(self) -> str:
        return COLOURS[self.place % len(COLOURS)]

    @property
    def mark(self) -> str:
        return MARKS[(self.place + self.place // len(COLOURS)) % len(MARKS)]

    @property
    def dashes(self) -> Any:
        return DASHES[(self.place // len(COLOURS)) % len(DASHES)]

    @property
    def gid(self) -> str:
        """What a page finds its marks by."""
        return f"loss:{self.place}"

    @property
    def seeds(self) -> str:
        """`seed 0`, or `3 seeds`."""
        return f"seed {self.runs[0].spec.seed}" if len(self.runs) == 1 else f"{len(self.runs)} seeds"

    def by_class(self, of_run: Callable[[StoredRun], Floats | None]) -> Floats | None:
        """(R, C) numbers of the runs that have any; None if none has."""
        found = [values for run in self.runs if (values := of_run(run)) is not None]
        return np.stack(found) if found else None


@dataclass(frozen=True)
class Task:
    """The runs of one task on the same data."""

    label: str
    classes: Classes | None
    series: tuple[Series, ...]

    def with_series(self, kept: Sequence[Series]) -> Task:
        return Task(self.label, self.classes, tuple(kept))

    @property
    def subtitle(self) -> str:
        """`digits: cross_entropy (3 seeds), softmax_eql (3 seeds)`, or how many losses where they are many."""
        if len(self.series) > 4:
            return f"{self.label}: {len(self.series)} losses"
        return f"{self.label}: {', '.join(f'{each.label} ({each.seeds})' for each in self.series)}"


def tasks_of(runs: Sequence[StoredRun]) -> list[Task]:
    """Tasks and series in the order in which their first runs come; a run that comes twice counts once."""
    distinct = {run.folder.path.resolve(): run for run in runs}.values()
    by_task: dict[tuple[str, str], list[StoredRun]] = {}
    for run in distinct:
        by_task.setdefault((run.spec.task_label, run.spec.data_digest), []).append(run)
    taken: list[str] = []
    found = []
    for (label, digest), group in by_task.items():
        taken.append(cleaned(label if label not in taken else f"{label} ({digest[:6]})"))
        classes = next((run.classes for run in group if run.classes is not None), None)
        found.append(Task(taken[-1], classes, tuple(_series(group))))
    return found


def _series(runs: Sequence[StoredRun]) -> list[Series]:
    groups: dict[str, list[StoredRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_without_seed(run), sort_keys=True, default=str), []).append(run)
    titles: list[str] = []
    firsts: dict[str, dict[str, Any]] = {}
    for group in groups.values():
        label, own = group[0].spec.loss_label, _without_seed(group[0])
        titles.append(free_title(label, firsts.setdefault(label, own), own, titles))
    return [
        Series(cleaned(title), place, tuple(sorted(group, key=lambda run: run.spec.seed)))
        for place, (title, group) in enumerate(zip(titles, groups.values(), strict=True))
    ]


def _without_seed(run: StoredRun) -> dict[str, Any]:
    spec = run.spec
    member = spec.population.model_dump() if spec.population else {}
    return flatten({**spec.recipe, "loss": spec.loss.model_dump(), "population": member})


def group_styles(classes: Classes) -> dict[str, dict[str, Any]]:
    """How the line of each group of classes looks, from frequent to rare."""
    names = classes.group_names
    colours = GROUP_COLOURS.get(len(names), COLOURS)
    return {
        name: {"color": colours[place % len(colours)], "linestyle": DASHES[place % len(DASHES)], "label": cleaned(name)}
        for place, name in enumerate(names)
    }


def geometric_mean(values: Floats) -> Floats:
    """Over the first axis; values without a number are left out, zero and infinity are what they are.

    >>> geometric_mean(np.array([[1.0, 0.0], [4.0, 2.0]])).tolist()
    [2.0, 0.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(_mean(np.log(values)))


def mean(values: Floats) -> Floats:
    """Over the first axis; values without a number are left out."""
    return _mean(values)


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
    return result


def is_wide(values: Floats, factor: float = 8.0) -> bool:
    """Whether positive numbers span so much that a logarithmic axis shows them better."""
    known = values[np.isfinite(values) & (values > 0)]
    return bool(known.size) and math.log(float(known.max() / known.min())) > math.log(factor)
