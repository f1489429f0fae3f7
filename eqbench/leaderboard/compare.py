"""Two runs side by side: what differs in their configuration, their metrics and the result of each class.

Where predictions of both runs are stored, a paired bootstrap over the images says how much of a difference is chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eqbench.errors import InputError
from eqbench.evaluation import tables
from eqbench.evaluation.image_totals import RESAMPLES
from eqbench.leaderboard import bootstrap, same_images
from eqbench.leaderboard.bootstrap import GroupDifference, Interval
from eqbench.leaderboard.find import find_run, suite_of
from eqbench.leaderboard.regression import UNDECIDED, Change, Judgement, judge
from eqbench.leaderboard.results import Key, Record, read_spec
from eqbench.leaderboard.stored_detections import Columns
from eqbench.leaderboard.titles import differing
from eqbench.run_folder import RunFolder
from eqbench.run_spec import flatten

__all__ = ["Comparison", "compare", "find_run"]

CLASS_COLUMNS = ("class_id", "class_name", "group", "count")


@dataclass(frozen=True)
class Value:
    """One number of both runs; NaN where a run does not have it."""

    name: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        return self.b - self.a


@dataclass(frozen=True)
class ClassValue(Value):
    """The result of one class; `count` is the number of its training samples in run A."""

    class_id: int
    group: str
    count: int


@dataclass(frozen=True)
class Comparison:
    """Run B against run A.

    `incomparable`: the fields of the comparability key that differ. `images`: how many images the intervals
    `over_images` of the metrics were resampled from, and `resamples` how often; 0 without predictions. `over_classes`:
    the mean differences over all classes and those of each group. `tolerance`: by how many points the main metric may
    be lower.
    """

    names: tuple[str, str]
    run_ids: tuple[str, str]
    incomparable: tuple[tuple[str, Any, Any], ...]
    configuration: tuple[tuple[str, Any, Any], ...]
    metrics: tuple[Value, ...]
    class_metric: str
    classes: tuple[ClassValue, ...]
    images: int
    resamples: int
    over_images: dict[str, Interval]
    over_classes: tuple[GroupDifference, ...]
    notes: tuple[str, ...]
    tolerance: float = 0.0

    @property
    def comparable(self) -> bool:
        return not self.incomparable

    @property
    def regression(self) -> bool:
        """Whether B is worse than A, or cannot be compared; see `regression.judge`."""
        return self._judgement.regression

    @property
    def verdict(self) -> str:
        """One sentence on what `regression` says."""
        return self._judgement.sentence

    @property
    def _judgement(self) -> Judgement:
        if not self.comparable:
            return Judgement(True, f"{UNDECIDED}: the runs cannot be compared")
        if not self.metrics:
            return Judgement(True, f"{UNDECIDED}: the runs have no metrics")
        main = Change(self.metrics[0].name, self.metrics[0].a, self.metrics[0].b)
        return judge(main, self.over_images, self.over_classes, self.tolerance)

    def as_dict(self) -> dict[str, Any]:
        """As plain data, all classes included; what does not exist is None."""
        return {
            "a": {"name": self.names[0], "run_id": self.run_ids[0]},
            "b": {"name": self.names[1], "run_id": self.run_ids[1]},
            "comparable": self.comparable,
            "incomparable": [_field_dict(field) for field in self.incomparable],
            "configuration": [_field_dict(field) for field in self.configuration],
            "metrics": {value.name: _value_dict(value) for value in self.metrics},
            "class_metric": self.class_metric,
            "classes": [
                {
                    "class_id": value.class_id,
                    "class_name": value.name,
                    "group": value.group,
                    "count": value.count,
                    **_value_dict(value),
                }
                for value in self.classes
            ],
            "bootstrap": self._bootstrap_dict(),
            "tolerance": self.tolerance,
            "regression": self.regression,
            "verdict": self.verdict,
            "notes": list(self.notes),
        }

    def _bootstrap_dict(self) -> dict[str, Any]:
        return {
            "seed": bootstrap.SEED,
            "resamples": {"images": self.resamples, "classes": RESAMPLES},
            "images": self.images,
            "metrics": {name: _existing(interval._asdict()) for name, interval in self.over_images.items()},
            "classes": [
                {
                    "group": each.group,
                    "n": each.n,
                    **_existing({"difference": each.difference, **each.interval._asdict()}),
                }
                for each in self.over_classes
            ],
        }


def compare(run_a: RunFolder, run_b: RunFolder, *, tolerance: float = 0.0) -> Comparison:
    """Run B against run A; all differences are B - A.

    Args:
        tolerance: by how many points B's main metric may be lower without being a regression.

    Raises:
        InputError: a run has not finished, or its files cannot be read.
    """
    a, b = _finished(run_a), _finished(run_b)
    ids = (run_a.run_id, run_b.run_id)
    by_class = [_read_per_class(run) for run in (run_a, run_b)]
    class_metric, classes, notes = _classes(ids, by_class)
    images = same_images.resample((run_a, run_b), (a, b), by_class)
    return Comparison(
        names=(f"{a.suite}/{a.spec.name}", f"{b.suite}/{b.spec.name}"),
        run_ids=ids,
        incomparable=tuple(differing(Key.of(a.spec)._asdict(), Key.of(b.spec)._asdict())),
        configuration=tuple(differing(flatten(a.spec.identity), flatten(b.spec.identity))),
        metrics=tuple(
            Value(name, a.number("metrics", name), b.number("metrics", name))
            for name in dict.fromkeys((*a.metrics, *b.metrics))
        ),
        class_metric=class_metric,
        classes=tuple(classes),
        images=images.number,
        resamples=images.resamples,
        over_images=images.intervals,
        over_classes=_over_classes(classes),
        notes=(*notes, *filter(None, [images.why_not])),
        tolerance=tolerance,
    )


def _finished(run: RunFolder) -> Record:
    record = Record(suite_of(run), read_spec(run), run.intact_result(), planned=True, attempts=run.attempts)
    if not record.finished:
        raise InputError(f"{run.path}: {record.spec.name}: {record.reason}; expected a finished run")
    return record


# -- classes -------------------------------------------------------------------------------------------------


def _classes(ids: Sequence[str], by_class: Sequence[Columns]) -> tuple[str, list[ClassValue], list[str]]:
    """Name of the number; the classes that both runs have, by falling |difference|; what is to be said."""
    if absent := same_images.absent(ids, by_class):
        return "", [], [f"no result by class is stored for {absent}"]
    a, b = by_class
    common = [name for name in a if name in b and _is_measured(a[name]) and _is_measured(b[name])]
    if not common:
        return "", [], ["the runs have no number by class in common"]
    metric = common[0]
    other = {key: _float(value) for key, value in zip(_class_keys(b), b[metric], strict=True)}
    classes = [
        ClassValue(str(key[1]), _float(value), other[key], int(key[0]), str(group), int(count))
        for key, value, group, count in zip(_class_keys(a), a[metric], a["group"], a["count"], strict=True)
        if key in other
    ]
    unmatched = max(len(a[metric]), len(b[metric])) - len(classes)
    notes = [f"{unmatched} classes are not in both runs"] if unmatched else []
    groups = dict(zip(_class_keys(b), b["group"], strict=True))
    moved = sum(groups.get(key, group) != group for key, group in zip(_class_keys(a), a["group"], strict=True))
    notes += [f"classes of another group in B: {moved}; means over classes go by the groups of A"] if moved else []
    return metric, sorted(classes, key=_by_difference), notes


def _read_per_class(run: RunFolder) -> Columns:
    """The columns of per_class.parquet; empty if it is not there."""
    table = tables.read(run.evaluation / "per_class.parquet", CLASS_COLUMNS, whole=("class_id", "count"))
    return {} if table is None else table.to_pydict()


def _over_classes(classes: Sequence[ClassValue]) -> tuple[GroupDifference, ...]:
    """Groups from frequent to rare."""
    if not classes:
        return ()
    frequent_first = sorted(classes, key=lambda each: (-each.count, each.class_id))
    differences, groups = zip(*((each.difference, each.group) for each in frequent_first), strict=True)
    return tuple(bootstrap.over_classes(differences, groups))


def _class_keys(table: Mapping[str, Sequence[Any]]) -> list[tuple[Any, Any]]:
    return list(zip(table["class_id"], table["class_name"], strict=True))


def _is_measured(values: Sequence[Any]) -> bool:
    """Whether a column holds results: fractional numbers, not ids, names or counts."""
    return all(value is None or isinstance(value, float) for value in values)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _by_difference(value: ClassValue) -> tuple[float, int]:
    size = abs(value.difference)
    return math.inf if math.isnan(size) else -size, value.class_id


# -- for programs ---------------------------------------------------------------------------------------------


def _field_dict(field: tuple[str, Any, Any]) -> dict[str, Any]:
    name, a, b = field
    return {"field": name, "a": a, "b": b}


def _value_dict(value: Value) -> dict[str, float | None]:
    numbers = {"a": value.a, "b": value.b, "difference": value.difference}
    return _existing(numbers)


def _existing(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}
