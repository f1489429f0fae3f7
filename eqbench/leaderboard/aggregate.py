"""From runs to the leaderboard: losses × tasks, each cell with its interval and its change to the baseline.

A column holds the runs of one task that share one comparability key and one recipe (everything but loss and
seed). The recipe of the current plan has the task's name; others stand apart, and their title says what
differs. In the same way a loss whose parameters are not those of the plan is a row of its own.

The trials of a sweep are settings to choose from: those of one key share a column, a row each, and are not ranked over
tasks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eqbench.leaderboard.results import COSTS, Key, Problem, Record
from eqbench.leaderboard.statistics import (
    ALPHA,
    Difference,
    Estimate,
    Standing,
    best_first,
    holm,
    interval,
    paired_difference,
    standings,
)
from eqbench.leaderboard.titles import differing, free_title


@dataclass(frozen=True)
class Cell:
    """One loss, one task, one metric. `p_holm` is corrected over the losses of this task, for this metric."""

    value: Estimate
    change: Difference | None = None
    p_holm: float = math.nan

    @property
    def significant(self) -> bool:
        return self.p_holm < ALPHA


@dataclass(frozen=True)
class Entry:
    """One loss on one task. `rank` is by the main metric, NaN while runs are missing; `missing` says so."""

    records: tuple[Record, ...]
    cells: dict[str, Cell]
    costs: dict[str, Estimate]
    rank: float
    missing: str

    @property
    def finished(self) -> int:
        return sum(record.finished for record in self.records)


@dataclass(frozen=True)
class Column:
    """One task, one key, one recipe. `entries` are ordered: baseline, then by rank, incomplete ones last.

    `trials` is a column of those of a sweep, of any recipe.
    """

    title: str
    task: str
    key: Key
    current: bool
    trials: bool
    metrics: tuple[str, ...]
    baseline: str | None
    entries: dict[str, Entry]

    @property
    def ranked(self) -> bool:
        """Whether losses are ranked over this task, among others."""
        return self.current and not self.trials


@dataclass(frozen=True)
class Row:
    """One loss over the tasks of the current plan.

    `baseline`: the others are compared with it on every task. `varying`: its parameters that differ from task to task.
    """

    label: str
    baseline: bool
    standing: Standing
    missing: tuple[str, ...]
    varying: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """`rows` are ordered: baseline if all tasks have the same, then by mean rank, incomplete ones last."""

    suites: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    @property
    def current(self) -> tuple[Column, ...]:
        """The columns of the current plan."""
        return tuple(column for column in self.columns if column.current)

    @property
    def ranked(self) -> tuple[Column, ...]:
        """The columns over which losses are ranked."""
        return tuple(column for column in self.columns if column.ranked)


Group = list[Record]


def build(records: Sequence[Record], unreadable: Sequence[Problem] = ()) -> Leaderboard:
    """The leaderboard of runs, whose order is that of the tasks; the first loss of a plan is the baseline."""
    plan_first = sorted(records, key=lambda record: not record.planned)
    columns: list[Column] = []
    firsts: dict[str, Record] = {}
    for group in _group(plan_first, _column_key):
        name = f"{group[0].spec.task_label}, trials" if group[0].trial else group[0].spec.task_label
        first = firsts.setdefault(name, group[0])
        taken = {column.title for column in columns}
        title = free_title(name, _shared(first), _shared(group[0]), taken)
        baseline = group[0] if group[0].planned else first
        columns.append(_column(title, group, baseline.spec.loss_label))
    return Leaderboard(
        tuple(dict.fromkeys(record.suite for record in records)),
        tuple(columns),
        tuple(_rows([column for column in columns if column.ranked])),
        (*unreadable, *_problems(columns)),
    )


def _column_key(record: Record) -> tuple[object, ...]:
    return record.trial, record.spec.task_label, Key.of(record.spec) if record.trial else record.recipe.text


def _shared(record: Record) -> Mapping[str, Any]:
    """What the runs of a column have in common."""
    return Key.of(record.spec).fields if record.trial else record.recipe.fields


def _group(records: Iterable[Record], key: Callable[[Record], Any]) -> list[Group]:
    groups: dict[Any, Group] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return list(groups.values())


def _losses(group: Group) -> dict[str, Group]:
    """Runs by row label; the first parameters that come with a label have it, others say what differs."""
    rows: dict[str, Group] = {}
    reference: dict[str, dict[str, Any]] = {}
    for runs in _group(group, lambda record: (record.spec.loss_label, record.recipe.loss_text, record.recipe.text)):
        label = runs[0].spec.loss_label
        own = {**runs[0].recipe.fields, **runs[0].recipe.loss}
        rows[free_title(label, reference.setdefault(label, own), own, rows)] = _one_per_seed(runs)
    return rows


def _one_per_seed(runs: Group) -> Group:
    """The same run may stand in several suites: one that has finished counts, else the first."""
    chosen: dict[int, Record] = {}
    for record in runs:
        if record.seed not in chosen or (record.finished and not chosen[record.seed].finished):
            chosen[record.seed] = record
    return [chosen[seed] for seed in sorted(chosen)]


def _column(title: str, group: Group, first_loss: str) -> Column:
    losses = _losses(group)
    baseline = first_loss if first_loss in losses else None
    metrics = tuple(dict.fromkeys(name for record in group for name in record.metrics))
    cells = {metric: _cells(metric, losses, baseline) for metric in metrics}
    main = metrics[0] if metrics else None
    seeds = {record.seed for record in group if record.planned}
    missing = {label: _missing(runs, seeds, cells[main][label] if main else None) for label, runs in losses.items()}
    scores = [[cells[main][label].value.mean if main and not missing[label] else math.nan] for label in losses]
    placed = standings(scores)
    entries = {
        label: Entry(
            tuple(runs),
            {metric: cells[metric][label] for metric in metrics},
            {cost: interval(_numbers(runs, "cost", cost).values()) for cost in COSTS},
            standing.ranks[0],
            missing[label],
        )
        for (label, runs), standing in zip(losses.items(), placed, strict=True)
    }
    labels = list(losses)
    order = sorted((labels[position] for position in best_first(placed)), key=lambda label: label != baseline)
    return Column(
        title,
        group[0].spec.task_label,
        Key.of(group[0].spec),
        group[0].planned,
        group[0].trial,
        metrics,
        baseline,
        {label: entries[label] for label in order},
    )


def _cells(metric: str, losses: dict[str, Group], baseline: str | None) -> dict[str, Cell]:
    values = {label: _numbers(runs, "metrics", metric) for label, runs in losses.items()}
    changes = {
        label: paired_difference(own, values[baseline])
        for label, own in values.items()
        if baseline is not None and label != baseline and own.keys() & values[baseline].keys()
    }
    corrected = dict(zip(changes, holm([change.p for change in changes.values()]), strict=True))
    return {
        label: Cell(interval(own.values()), changes.get(label), corrected.get(label, math.nan))
        for label, own in values.items()
    }


def _numbers(runs: Group, section: str, name: str) -> dict[int, float]:
    """By seed, of the runs that have it."""
    values = {record.seed: record.number(section, name) for record in runs}
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def _missing(runs: Group, planned_seeds: set[int], main: Cell | None) -> str:
    """What a complete entry would have more; empty for a complete one, which has every seed of the plan."""
    finished = sum(record.finished for record in runs)
    expected = len(planned_seeds | {record.seed for record in runs})
    states = Counter(record.status for record in runs if not record.finished)
    if finished == 0 and len(states) == 1:
        return next(iter(states))
    if finished < expected:
        return ", ".join([f"{finished} of {expected} seeds", *ended(states)])
    measured = main.value.n if main else 0
    return "" if measured == expected else f"main metric of {measured} of {expected} seeds"


def ended(states: Mapping[str, int]) -> list[str]:
    """Of runs without a number, those that ended, by how they did: `["2 failed", "1 stopped"]`."""
    return [f"{count} {state}" for state, count in states.items() if state in ("failed", "stopped", "killed")]


def _rows(columns: Sequence[Column]) -> list[Row]:
    labels = list(dict.fromkeys(label for column in columns for label in column.entries))
    placed = standings([[_score(column, label) for column in columns] for label in labels])
    baselines = {column.baseline for column in columns} - {None}
    baseline = baselines.pop() if len(baselines) == 1 else None
    order = sorted(best_first(placed), key=lambda position: labels[position] != baseline)
    return [
        Row(label, label == baseline, placed[position], _gaps(columns, label), _varying(columns, label))
        for position, label in ((position, labels[position]) for position in order)
    ]


def _score(column: Column, label: str) -> float:
    entry = column.entries.get(label)
    return math.nan if entry is None or entry.missing else entry.cells[column.metrics[0]].value.mean


def _gaps(columns: Sequence[Column], label: str) -> tuple[str, ...]:
    gaps = {
        column.title: column.entries[label].missing if label in column.entries else "not in the plan"
        for column in columns
    }
    return tuple(f"{title}: {gap}" if len(columns) > 1 else gap for title, gap in gaps.items() if gap)


def _varying(columns: Sequence[Column], label: str) -> tuple[str, ...]:
    """Parameters of the loss that are not the same on all tasks; `name` if it is another plugin."""
    losses = [column.entries[label].records[0].recipe.loss for column in columns if label in column.entries]
    return tuple(dict.fromkeys(key for other in losses[1:] for key, _, _ in differing(losses[0], other)))


def _problems(columns: Sequence[Column]) -> list[Problem]:
    """Runs without a number, those of one loss and one reason together."""
    problems: list[Problem] = []
    for column in columns:
        for label, entry in column.entries.items():
            unfinished = [record for record in entry.records if not record.finished]
            problems += [
                Problem(
                    f"{column.title} · {label}",
                    tuple(record.seed for record in runs),
                    runs[0].reason,
                    tuple(record.spec.run_id for record in runs),
                )
                for runs in _group(unfinished, lambda record: record.reason)
            ]
    return problems
