"""The runs that a page draws, and what it draws of the runs of a loss together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eqbench.errors import InputError
from eqbench.leaderboard.page.traces import classes_of, group_ratios, per_class, recorded_ratios
from eqbench.leaderboard.results import Record
from eqbench.plots import palette
from eqbench.plots.stored import Classes, StoredRun
from eqbench.run_folder import SuiteFolder

DRAWN_RUNS = 400
"""At most: of them, curves and results by class are in the page."""
SNAPSHOTS = 5000
"""Of gradient statistics, read at most; the ratios of further runs are those that they recorded."""
BINS = 160
"""Of classes in the order of their frequency, where losses are many."""
SINGLE_CLASSES = 1500
"""Up to which each class is in the page itself, where losses are few."""
FEW_ENTRIES = 60
IN_WORDS = {"f": "frequent", "c": "common", "r": "rare"}

Named = Sequence[tuple[str, Record]]
"""Runs with their ids, which are costly to work out anew."""


class DrawnRuns:
    """The first seeds of every loss on every task, those of all losses before the next ones.

    Attributes:
        measured: the number of runs that have ended.
        stored: what is stored of the runs that are drawn, by their ids.

    Args:
        entries: the runs of each loss on each task.
    """

    def __init__(self, entries: Sequence[Named], folders: Iterable[SuiteFolder]) -> None:
        by_suite = {folder.suite: folder for folder in folders}
        ended = [[(run_id, record) for run_id, record in runs if record.result] for runs in entries]
        self.measured = sum(map(len, ended))
        self.stored: dict[str, StoredRun] = {}
        self._read: set[str] = set()
        snapshots = 0
        for run_id, record in first_seeds(ended, DRAWN_RUNS):
            if record.suite not in by_suite:
                continue
            run = self.stored[run_id] = StoredRun(by_suite[record.suite].run(run_id), record.spec)
            snapshots += sum(1 for _ in run.folder.gradients.glob("*.parquet"))
            if snapshots <= SNAPSHOTS:
                self._read.add(run_id)
        self._bins = SINGLE_CLASSES if len(entries) <= FEW_ENTRIES else BINS

    def used(self, runs: Named) -> dict[str, StoredRun]:
        """Those of a loss that are averaged: the finished ones, or all where none has finished."""
        known = [(run_id, record) for run_id, record in runs if run_id in self.stored]
        finished = [run_id for run_id, record in known if record.finished]
        return {run_id: self.stored[run_id] for run_id in finished or (run_id for run_id, _ in known)}

    def read_of(self, runs: Sequence[StoredRun]) -> list[StoredRun]:
        """Those whose gradient statistics are read, all of them."""
        return [run for run in runs if run.folder.run_id in self._read]

    def entry(self, runs: Named) -> dict[str, Any]:
        """Gradient ratios by group and results by class of a loss; only what there is.

        `classes` is as `traces.per_class` gives it.
        """
        used = self.used(runs)
        if not used:
            return {}
        fields: dict[str, Any] = {}
        ratios, number = self._ratios(used)
        if ratios:
            fields |= {"ratios": ratios, "ratioSeeds": _seeds(runs, list(used)[:number])}
        if classes := per_class(list(used.values()), self._bins):
            fields["classes"] = classes
        return fields

    def _ratios(self, used: Mapping[str, StoredRun]) -> tuple[dict[str, list[Any]] | None, int]:
        """By group over epochs, and of how many of the runs."""
        runs = list(used.values())
        read = self.read_of(runs)
        classes = classes_of(runs)
        if classes is None:
            return None, 0
        try:
            own = group_ratios(read, classes) if read else None
            if own is not None and (len(own["x"]) > 1 and len(read) == len(runs)):
                return own, len(runs)
            recorded = recorded_ratios(runs, classes)
        except InputError:  # a file of a run cannot be read
            return None, 0
        return (recorded, len(runs)) if recorded else (own, len(read))

    def column(self, rows: Sequence[Named]) -> dict[str, Any]:
        """The class groups of a task from frequent to rare, and what its training samples are."""
        runs = [run for named in rows for run in self.used(named).values()]
        classes = classes_of(runs)
        if classes is None:
            return {"samples": "samples", "groups": []}
        return {"samples": classes.unit, "groups": _groups(classes)}


def _groups(classes: Classes) -> list[dict[str, Any]]:
    groups = []
    names = classes.group_names
    for place, name in enumerate(names):
        counts = classes.counts[classes.members(name)]
        low, high = int(counts.min()), int(counts.max())
        size = f"{len(counts)} {'class' if len(counts) == 1 else 'classes'}"
        words = f"({', '.join(filter(None, [IN_WORDS.get(name), size]))}: {_span(low, high)} training {classes.unit}"
        words += f"{' each' if len(counts) > 1 else ''})"
        groups.append({"name": name, "tone": palette.group_place(place, len(names)), "words": words})
    return groups


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _seeds(runs: Named, used: Sequence[str]) -> str:
    """`5 seeds`, and which did not finish."""
    chosen = [record for run_id, record in runs if run_id in used]
    number = f"seed {chosen[0].seed}" if len(chosen) == 1 else f"{len(chosen)} seeds"
    if not any(record.finished for record in chosen):
        return f"{number}, not finished"
    out = [f"s{record.seed}" for _, record in runs if not record.finished]
    return f"{number}; without {', '.join(out)}, which did not finish" if out else number


def first_seeds(rows: Sequence[Named], most: int) -> Named:
    """The first run of every row, then every second one, and so on until there are `most`."""
    longest = max(map(len, rows), default=0)
    turns = (row[turn] for turn in range(longest) for row in rows if turn < len(row))
    return list(itertools.islice(turns, most))
