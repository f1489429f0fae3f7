"""What is stored of a run that figures are drawn from.

Legend: C classes, S snapshots of the gradient statistics. What is not stored is None, or has no points.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eqbench.errors import InputError
from eqbench.evaluation import tables
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NO_RESULTS = ("class_id", "class_name", "group", "published_group", "weight_norm")


@dataclass(frozen=True)
class Classes:
    """The classes of a data set: (C,) names, groups and training samples."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    counts: Integers

    @cached_property
    def order(self) -> Integers:
        """(C,) class ids from most to least training samples, within each group where groups go by another number."""
        rank = np.array([self.group_names.index(group) for group in self.groups])
        order: Integers = np.lexsort((np.arange(len(rank)), -self.counts, rank))
        return order

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """From frequent to rare, those that have classes."""
        of_class = np.array(self.groups)
        return tuple(sorted(set(self.groups), key=lambda name: -float(self.counts[of_class == name].mean())))

    @property
    def order_text(self) -> str:
        """What decides the order, for an axis."""
        counts = self.counts[self.order]
        by = "by" if (np.diff(counts) <= 0).all() else "by group and"
        return f"class, {by} falling number of training samples ({counts.max():,} to {counts.min():,})"

    def members(self, group: str) -> Integers:
        """Ids of the classes of a group."""
        return np.flatnonzero(np.array(self.groups) == group)


class Ratios(NamedTuple):
    """Accumulated gradients of positives over those of negatives.

    `iterations` (S,); `values` (S, C): infinite without gradients of negatives, NaN before any gradient.
    """

    iterations: Integers
    values: Floats


class StoredRun:
    """The files of one run, read when asked for.

    Raises:
        InputError: by each of its members, when a file is there but cannot be read.
    """

    def __init__(self, folder: RunFolder, spec: RunSpec) -> None:
        self.folder = folder
        self.spec = spec

    @cached_property
    def classes(self) -> Classes | None:
        """The classes of the run's data."""
        file = self.folder.path / "dataset.json"
        if not file.exists():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            names, groups = map(str, content["class_names"]), map(str, content["groups"])
            found = Classes(tuple(names), tuple(groups), np.array(content["class_counts"], np.int64))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{file}: cannot be read as the description of a data set ({error})") from error
        if not len(found.names) == len(found.groups) == found.counts.size > 0:
            raise InputError(f"{file}: class_names, groups and class_counts have different lengths, or none")
        return found

    @cached_property
    def ratios(self) -> Ratios | None:
        """Gradient ratios at every snapshot; where a model has several losses, of their sums."""
        parts = [part for part in self.folder.gradients.glob("*.parquet") if part.stem.isdecimal()]
        if not parts or self.classes is None:
            return None
        parts.sort(key=lambda part: int(part.stem))
        number = len(self.classes.names)
        totals = np.stack([_totals(part, number) for part in parts])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = totals[:, 0] / totals[:, 1]
        return Ratios(np.array([int(part.stem) for part in parts]), ratios)

    @cached_property
    def per_class(self) -> dict[str, list[Any]] | None:
        """Columns of the result by class, of all classes of the data in their order."""
        columns = _read(self.folder.evaluation / "per_class.parquet")
        if columns is None or self.classes is None:
            return None
        expected = list(range(len(self.classes.names)))
        if columns.get("class_id") != expected:
            raise InputError(
                f"{self.folder.evaluation / 'per_class.parquet'}: its classes are not those of the data set"
            )
        return columns

    def by_class(self, column: str) -> Floats | None:
        """(C,) one number per class; None where no class has one."""
        values = (self.per_class or {}).get(column)
        if values is None:
            return None
        numbers = np.array([math.nan if value is None else value for value in values], np.float64)
        return numbers if np.isfinite(numbers).any() else None

    @property
    def result_column(self) -> str | None:
        """The main number by class: the first column of fractions."""
        for name, values in (self.per_class or {}).items():
            if name not in NO_RESULTS and all(value is None or isinstance(value, float) for value in values):
                return name
        return None

    @cached_property
    def confusion(self) -> Integers | None:
        """(C, C) images or pixels: row the labelled class, column the predicted one."""
        if self.classes is None:
            return None
        number = len(self.classes.names)
        for name, weight in (("confusion", "pixels"), ("predictions", None)):
            file = self.folder.evaluation / f"{name}.parquet"
            columns = _read(file)
            if columns is None or not {"label", "prediction"} <= columns.keys():
                continue
            labels, predictions = (np.array(columns[each], np.int64) for each in ("label", "prediction"))
            both = np.concatenate([labels, predictions])
            if both.size and not 0 <= both.min() <= both.max() < number:
                raise InputError(f"{file}: its classes are not those of the data set")
            counted = np.zeros((number, number), np.int64)
            np.add.at(counted, (labels, predictions), np.array(columns[weight], np.int64) if weight else 1)
            return counted
        return None

    @cached_property
    def _events(self) -> list[dict[str, Any]]:
        return self.folder.read_events()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the numbers of the evaluations, main one first."""
        names = (name for event in self._events for name in event["metrics"] if name.startswith("val/"))
        return tuple(dict.fromkeys(names))

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """(epoch, value) of a recorded number, in order."""
        per_epoch = self.spec.budget.iterations_per_epoch
        return [
            (event["iteration"] / per_epoch, float(event["metrics"][metric]))
            for event in self._events
            if metric in event["metrics"] and math.isfinite(event["metrics"][metric])
        ]


def _totals(file: Path, number: int) -> Floats:
    """(2, C) accumulated gradients of positives and of negatives, summed over the losses of a model."""
    columns = _read(file)
    if columns is None or not {"class_id", "positive", "negative"} <= columns.keys():
        raise InputError(f"{file}: is not a table of gradient statistics")
    classes = np.array(columns["class_id"], np.int64)
    if classes.size and not 0 <= classes.min() <= classes.max() < number:
        raise InputError(f"{file}: its classes are not those of the data set")
    totals = np.zeros((2, number))
    for place, name in enumerate(("positive", "negative")):
        np.add.at(totals[place], classes, np.array(columns[name], np.float64))
    return totals


def _read(file: Path) -> dict[str, list[Any]] | None:
    """The columns of a Parquet file; None if it is not there."""
    table = tables.read(file, ())
    return None if table is None else dict(table.to_pydict())
