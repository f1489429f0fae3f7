"""Two runs side by side: what differs in their configuration, their metrics and the result of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eqbench.errors import InputError
from eqbench.leaderboard.find import find_run
from eqbench.leaderboard.results import Key, Record, read_spec
from eqbench.leaderboard.titles import differing
from eqbench.run_folder import RunFolder
from eqbench.run_spec import flatten

__all__ = ["Comparison", "compare", "find_run", "render"]

SHOWN_CLASSES = 10
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
    """Run B against run A. `incomparable`: the fields of the comparability key that differ."""

    names: tuple[str, str]
    run_ids: tuple[str, str]
    incomparable: tuple[tuple[str, Any, Any], ...]
    configuration: tuple[tuple[str, Any, Any], ...]
    metrics: tuple[Value, ...]
    class_metric: str
    classes: tuple[ClassValue, ...]
    notes: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        return not self.incomparable

    @property
    def regression(self) -> bool:
        """Whether B's main metric, the first, is not at least A's, or the two cannot be compared."""
        return not self.comparable or not self.metrics or not self.metrics[0].difference >= 0

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
            "notes": list(self.notes),
        }


def compare(run_a: RunFolder, run_b: RunFolder) -> Comparison:
    """Run B against run A; all differences are B - A.

    Raises:
        InputError: a run has not finished, or its files cannot be read.
    """
    a, b = _finished(run_a), _finished(run_b)
    class_metric, classes, notes = _classes(run_a, run_b)
    return Comparison(
        names=(f"{a.suite}/{a.spec.name}", f"{b.suite}/{b.spec.name}"),
        run_ids=(run_a.run_id, run_b.run_id),
        incomparable=tuple(differing(Key.of(a.spec)._asdict(), Key.of(b.spec)._asdict())),
        configuration=tuple(differing(flatten(a.spec.identity), flatten(b.spec.identity))),
        metrics=tuple(
            Value(name, a.number("metrics", name), b.number("metrics", name))
            for name in dict.fromkeys((*a.metrics, *b.metrics))
        ),
        class_metric=class_metric,
        classes=tuple(classes),
        notes=tuple(notes),
    )


def _finished(run: RunFolder) -> Record:
    record = Record(run.path.parent.name, read_spec(run), run.read_result(), planned=True, attempts=run.attempts)
    if not record.finished:
        raise InputError(f"{run.path}: {record.spec.name}: {record.reason}; expected a finished run")
    return record


# -- classes -------------------------------------------------------------------------------------------------


def _classes(run_a: RunFolder, run_b: RunFolder) -> tuple[str, list[ClassValue], list[str]]:
    """Name of the number; the classes that both runs have, by falling |difference|; what is to be said."""
    tables = [_read_per_class(run) for run in (run_a, run_b)]
    absent = [run.run_id for run, table in zip((run_a, run_b), tables, strict=True) if not table]
    if absent:
        return "", [], [f"no result by class is stored for {' and '.join(absent)}"]
    a, b = tables
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
    return metric, sorted(classes, key=_by_difference), notes


def _read_per_class(run: RunFolder) -> dict[str, list[Any]]:
    """The columns of per_class.parquet; empty if it is not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = run.evaluation / "per_class.parquet"
    try:
        columns: dict[str, list[Any]] = pq.read_table(file).to_pydict()
    except FileNotFoundError:
        return {}
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: cannot be read as Parquet ({error})") from error
    lacking = [name for name in CLASS_COLUMNS if name not in columns]
    if lacking:
        raise InputError(f"{file}: column {lacking[0]!r} is missing; there are {', '.join(columns)}")
    return columns


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


# -- for people and for programs -----------------------------------------------------------------------------


def render(comparison: Comparison) -> RenderableType:
    """What a terminal shows."""
    parts: list[RenderableType] = [
        Text.assemble(("A  ", "bold"), comparison.names[0], (f"  {comparison.run_ids[0]}", "dim")),
        Text.assemble(("B  ", "bold"), comparison.names[1], (f"  {comparison.run_ids[1]}", "dim")),
    ]
    if comparison.incomparable:
        fields = ", ".join(f"{name} ({a} and {b})" for name, a, b in comparison.incomparable)
        parts.append(Text(f"Not comparable: the runs differ in {fields}.", style="bold yellow"))
    if comparison.configuration:
        table = _table("configuration", "A", "B", justify="left")
        for name, *values in comparison.configuration:
            table.add_row(Text(name), *(Text(_shown(value)) for value in values))
        parts.append(table)
    else:
        parts.append(Text("The configurations are the same."))
    parts.append(_value_table("metric", comparison.metrics))
    if comparison.classes:
        shown = comparison.classes[:SHOWN_CLASSES]
        number = f"{len(shown)} of {len(comparison.classes)} classes"
        parts.append(Text(f"{comparison.class_metric} by class: the largest differences, {number}"))
        parts.append(_class_table(shown))
    parts += [Text(note, style="dim") for note in comparison.notes]
    return Group(*parts)


def _value_table(title: str, values: Sequence[Value]) -> Table:
    table = _table(title, "A", "B", "B - A")
    for value in values:
        table.add_row(Text(value.name), *_numbers(value))
    return table


def _class_table(values: Sequence[ClassValue]) -> Table:
    table = _table("class", "group", "training samples", "A", "B", "B - A")
    for value in values:
        table.add_row(Text(value.name), Text(value.group), str(value.count), *_numbers(value))
    return table


def _table(first: str, *others: str, justify: Any = "right") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _numbers(value: Value) -> list[str]:
    return [_fixed(value.a, ""), _fixed(value.b, ""), _fixed(value.difference, "+")]


def _fixed(value: float, sign: str) -> str:
    return "–" if math.isnan(value) else f"{value:{sign}z.2f}"


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def _field_dict(field: tuple[str, Any, Any]) -> dict[str, Any]:
    name, a, b = field
    return {"field": name, "a": a, "b": b}


def _value_dict(value: Value) -> dict[str, float | None]:
    numbers = {"a": value.a, "b": value.b, "difference": value.difference}
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}
