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

from eqbench import gradient_ratio
from eqbench.errors import InputError
from eqbench.evaluation import tables
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
UNITS = {"classification": "images", "detection": "instances", "segmentation": "pixels"}
"""What the training samples of a class are, by the name of the task."""
TRAINING = {"train/loss", "train/lr"}
"""Recorded together, whenever the training loss is."""
GROUP_WORDS = {"f": "frequent", "c": "common", "r": "rare"}
NO_RESULTS = ("class_id", "class_name", "group", "published_group", "weight_norm")


@dataclass(frozen=True)
class Classes:
    """The classes of a data set: (C,) names, groups and training samples, which are `unit`."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    counts: Integers
    unit: str = "samples"

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
        return f"class, {by} falling number of training {self.unit} ({counts.max():,} to {counts.min():,})"

    @property
    def groups_text(self) -> str:
        """What the groups are: `many 1 class (100), few 2 classes (15 to 4) by training images`."""
        parts = []
        for name in self.group_names:
            counts = self.counts[self.members(name)]
            high, low = int(counts.max()), int(counts.min())
            words = f"{GROUP_WORDS[name]} ({name})" if name in GROUP_WORDS else name
            size = f"{len(counts)} class{'es' if len(counts) > 1 else ''}"
            parts.append(f"{words} {size} ({brief(high)}{f' to {brief(low)}' if low < high else ''})")
        return f"{', '.join(parts)} by training {self.unit}"

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
            unit = UNITS.get(self.spec.task.name, "samples")
            found = Classes(tuple(names), tuple(groups), np.array(content["class_counts"], np.int64), unit)
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
        return Ratios(
            np.array([int(part.stem) for part in parts]), gradient_ratio.of_totals(totals[:, 0], totals[:, 1])
        )

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
    def status(self) -> str:
        """How the run ended, or `not finished`."""
        return str((self.folder.read_result() or {}).get("status", "not finished"))

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @cached_property
    def main_result(self) -> float:
        """The main number of the result; NaN without one."""
        result = self.folder.read_result() or {}
        value = result.get("metrics", {}).get(result.get("main_metric"))
        return float(value) if is_number(value) else math.nan

    @cached_property
    def _events(self) -> list[tuple[int, dict[str, float]]]:
        """Iteration and finite numbers of each record; what is something else is left out."""
        events = [(event["iteration"], event["metrics"]) for event in self.folder.read_events()]
        return [
            (iteration, {name: float(value) for name, value in metrics.items() if is_number(value)})
            for iteration, metrics in events
            if isinstance(iteration, int) and isinstance(metrics, dict)
        ]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the numbers of the evaluations, main one first."""
        return tuple(dict.fromkeys(name for _, metrics in self._events for name in metrics if name.startswith("val/")))

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """(epoch, value) of a recorded number, in order."""
        per_epoch = self.spec.budget.iterations_per_epoch
        return [(iteration / per_epoch, metrics[metric]) for iteration, metrics in self._events if metric in metrics]

    def averaged_curve(self, metric: str, most: int) -> list[tuple[float, float]]:
        """(epoch, value) of a number that was averaged since the last record, over windows of about one length.

        As long as the longest that was recorded, and such that there are at most `most`: numbers of shorter windows
        scatter more. Within a window, each number counts by its iterations.
        """
        recorded = [(iteration, metrics) for iteration, metrics in self._events if TRAINING & metrics.keys()]
        lengths = np.diff([0, *(iteration for iteration, _ in recorded)])
        if not recorded or lengths.max() <= 0:
            return self.curve(metric)
        window = max(int(lengths.max()), math.ceil(recorded[-1][0] / most))
        sums: dict[int, tuple[int, float, int]] = {}
        for (iteration, metrics), length in zip(recorded, lengths.tolist(), strict=True):
            if metric in metrics and length > 0:
                place = math.ceil(iteration / window)
                _, total, weight = sums.get(place, (0, 0.0, 0))
                sums[place] = iteration, total + length * metrics[metric], weight + length
        per_epoch = self.spec.budget.iterations_per_epoch
        return [(last / per_epoch, total / weight) for last, total, weight in sums.values()]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def brief(count: int) -> str:
    """A number of samples in a few characters.

    >>> brief(12_345), brief(491_390), brief(1_234_567)
    ('12,345', '491k', '1.23M')
    """
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.3g}M"


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
