"""Runs as figures show them: those of one task together, seeds of one loss as one series."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eqbench.leaderboard.titles import free_title
from eqbench.plots import palette
from eqbench.plots.stored import Classes, Floats, StoredRun
from eqbench.plots.text import cleaned, shortened
from eqbench.run_spec import flatten

Group = tuple[StoredRun, ...]
MOST_SERIES = 16
"""Of one figure."""
MOST_NAMED = 6
"""What is left out of a figure for one reason, by name."""


@dataclass(frozen=True)
class Series:
    """The runs of one loss, which differ in their seeds alone; `place` among the losses decides how it looks."""

    label: str
    place: int
    runs: tuple[StoredRun, ...]

    @property
    def colour(self) -> str:
        return palette.loss_colour(self.place)

    @property
    def mark(self) -> str:
        return palette.mark(self.place)

    @property
    def dashes(self) -> Any:
        return palette.dashes(self.place)

    @property
    def gid(self) -> str:
        """What a page finds its marks by."""
        return f"loss:{self.place}"

    @property
    def finished(self) -> bool:
        """Whether all its runs have."""
        return all(run.finished for run in self.runs)

    @property
    def seeds(self) -> str:
        """`seed 0`, or `3 seeds`."""
        number = f"seed {self.runs[0].spec.seed}" if len(self.runs) == 1 else f"{len(self.runs)} seeds"
        return number if self.finished else f"{number}, not finished"

    def by_class(self, of_run: Callable[[StoredRun], Floats | None]) -> Floats | None:
        """(R, C) numbers of the runs that have any; None if none has."""
        found = [values for run in self.runs if (values := of_run(run)) is not None]
        return np.stack(found) if found else None


@dataclass(frozen=True)
class Task:
    """The runs of one task on the same data; `left_out`: runs and losses that are not shown, each with the reason."""

    label: str
    classes: Classes | None
    series: tuple[Series, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def having(self, has: Callable[[StoredRun], bool], what: str) -> Task:
        """The runs of which there is what a figure shows: of each loss those that have finished, if any has.

        A run that has not got to its end would pull the numbers of all its loss towards what is known of a start.

        Args:
            what: `no gradient statistics`.
        """
        kept, left_out = [], list(self.left_out)
        for series in self.series:
            able = [run for run in series.runs if has(run)]
            shown = [run for run in able if run.finished] or able
            left_out += [
                (f"{series.label} s{run.spec.seed}", what if run.finished or not shown else run.status)
                for run in series.runs
                if run not in shown
            ]
            kept += [replace(series, runs=tuple(shown))] if shown else []
        return replace(self, series=tuple(kept), left_out=tuple(left_out))

    @property
    def several(self) -> bool:
        """Whether there are seeds to average."""
        return any(len(series.runs) > 1 for series in self.series)

    @property
    def subtitle(self) -> str:
        """`digits: cross_entropy (3 seeds), softmax_eql (3 seeds)`, or how many losses where they are many."""
        if len(self.series) <= 4:
            return f"{self.label}: {', '.join(f'{shortened(each.label, 60)} ({each.seeds})' for each in self.series)}"
        low, high = (bound(len(each.runs) for each in self.series) for bound in (min, max))
        seeds = f"{low} to {high} seeds" if low < high else f"{high} seed{'s' if high > 1 else ''} each"
        return f"{self.label}: {len(self.series)} losses, {seeds}"

    @property
    def remarks(self) -> str:
        """What is not as it should be, as sentences for a caption; empty if nothing is."""
        unfinished = [f"{each.label} ({run.status})" for each in self.series for run in each.runs if not run.finished]
        parts = [f"Drawn as far as it got: {_listed(list(dict.fromkeys(unfinished)))}."] if unfinished else []
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out:
            by_reason.setdefault(reason, []).append(name)
        if by_reason:
            reasons = "; ".join(f"{_listed(names)} ({reason})" for reason, names in by_reason.items())
            parts.append(f"Left out: {reasons}.")
        return " ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def tasks_of(runs: Sequence[StoredRun]) -> list[Task]:
    """Tasks and series in the order in which their first runs come; a run that comes twice counts once.

    Beside losses that have finished, those whose every run was stopped early are left out; so are, of more than
    `MOST_SERIES`, those with the lowest results, but for the first one.
    """
    distinct = {run.folder.path.resolve(): run for run in runs}.values()
    by_task: dict[tuple[str, str], list[StoredRun]] = {}
    for run in distinct:
        by_task.setdefault((run.spec.task_label, run.spec.data_digest), []).append(run)
    by_loss = {key: _shown(_by_loss(group)) for key, group in by_task.items()}
    places = palette.places(label for groups, _ in by_loss.values() for label in groups)
    taken: list[str] = []
    found = []
    for (label, digest), group in by_task.items():
        taken.append(cleaned(label if label not in taken else f"{label} ({digest[:6]})"))
        classes = next((run.classes for run in group if run.classes is not None), None)
        groups, left_out = by_loss[label, digest]
        series = tuple(Series(name, places[name], of_loss) for name, of_loss in groups.items())
        found.append(Task(taken[-1], classes, series, left_out))
    return found


def _by_loss(runs: Sequence[StoredRun]) -> dict[str, Group]:
    """Runs of a task by the label of their loss, told apart by what differs where several are called the same."""
    groups: dict[str, list[StoredRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_without_seed(run), sort_keys=True, default=str), []).append(run)
    titles: dict[str, Group] = {}
    firsts: dict[str, dict[str, Any]] = {}
    for group in groups.values():
        label, own = group[0].spec.loss_label, _without_seed(group[0])
        title = cleaned(free_title(label, firsts.setdefault(label, own), own, titles))
        while title in titles:
            title += "'"
        titles[title] = tuple(sorted(group, key=lambda run: run.spec.seed))
    return titles


def _without_seed(run: StoredRun) -> dict[str, Any]:
    spec = run.spec
    member = spec.population.model_dump() if spec.population else {}
    return flatten({**spec.recipe, "loss": spec.loss.model_dump(), "population": member})


def _shown(groups: Mapping[str, Group]) -> tuple[dict[str, Group], tuple[tuple[str, str], ...]]:
    """The losses of a figure, and those left out with the reason."""
    stopped = {label for label, runs in groups.items() if all(run.status == "stopped" for run in runs)}
    if not any(run.finished for runs in groups.values() for run in runs):
        stopped = set()
    kept = [label for label in groups if label not in stopped]
    worst = sorted(kept[1:], key=lambda label: _result(groups[label]), reverse=True)[MOST_SERIES - 1 :]
    reasons = dict.fromkeys((label for label in groups if label in stopped), "stopped early")
    reasons |= dict.fromkeys(
        (label for label in kept if label in worst), f"not among the first loss and the {MOST_SERIES - 1} best"
    )
    return {label: runs for label, runs in groups.items() if label not in reasons}, tuple(reasons.items())


def _result(runs: Group) -> float:
    known = [run.main_result for run in runs if run.finished and not math.isnan(run.main_result)]
    return sum(known) / len(known) if known else -math.inf


def group_styles(classes: Classes) -> dict[str, dict[str, Any]]:
    """How the line of each group of classes looks, from frequent to rare."""
    names = classes.group_names
    return {
        name: {
            "color": palette.group_colour(place, len(names)),
            "linestyle": palette.dashes(place),
            "label": cleaned(name),
        }
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
