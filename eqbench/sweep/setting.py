"""A setting of a sweep as a suite of one loss: the values in place of those of the file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eqbench.run_spec import RunSpec
from eqbench.suite_file import SuiteFile
from eqbench.suite_schema import MAX_LABEL, SuiteSchema, merged, merged_train
from eqbench.suite_yaml import Place
from eqbench.sweep.space import Value, is_number
from eqbench.validation import dotted, show

RIVALS = {"epochs": "iterations", "iterations": "epochs"}
PARTS = ("model", "data", "task")
MISSING = object()


@dataclass(frozen=True)
class Base:
    """What every setting changes: a suite's data with one task, nothing inherited, nothing abbreviated."""

    data: Mapping[str, Any]
    file: str

    @classmethod
    def of(cls, source: SuiteFile, schema: SuiteSchema) -> Base:
        """From a checked suite of one task."""
        data, own = source.data, dict(source.data["tasks"][0])
        entry = schema.tasks[0]
        losses = data["losses"] if entry.losses is None else own["losses"]
        task = {"name": own["name"], **{part: named(own[part]) for part in ("task", "model", "data")}}
        return cls(
            {
                "name": data["name"],
                "tasks": [task],
                "losses": [named(loss) for loss in losses],
                "seeds": schema.seeds if entry.seeds is None else entry.seeds,
                "train": merged_train(data.get("train") or {}, own.get("train") or {}),
                "resources": merged(data.get("resources") or {}, own.get("resources") or {}),
            },
            source.file,
        )

    def loss(self, index: int, values: Mapping[str, Value], label: str) -> dict[str, Any]:
        """Entry `index` of the losses with `values` and a label."""
        entry = copy.deepcopy(self.data["losses"][index])
        entry.pop("label", None)
        assign(entry, {path: value for path, value in values.items() if path.startswith("loss.")})
        return {**entry, "label": label}

    def train(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """`train` with `values`."""
        train = copy.deepcopy(self.data["train"])
        assign(train, {path: value for path, value in values.items() if path.startswith("train.")})
        return dict(train)

    def task(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The task with `values` of its model, data and options."""
        task = copy.deepcopy(self.data["tasks"][0])
        for part in PARTS:
            assign(task[part], {path: value for path, value in values.items() if path.startswith(f"{part}.")})
        return dict(task)


class Setting(SuiteFile):
    """The suite of one setting: the swept loss, entry `index` of `base`, with `values`. Problems name its paths."""

    def __init__(self, base: Base, index: int, values: Mapping[str, Value]) -> None:
        self.file = base.file
        self.text = ""
        self.overrides = []
        self.data = {
            **copy.deepcopy(dict(base.data)),
            "tasks": [base.task(values)],
            "losses": [base.loss(index, values, "swept")],
            "train": base.train(values),
        }

    def problem(self, place: Place, message: str) -> str:
        """One line: the path of a sweep's space, what is wrong."""
        for prefix, root in ((("losses", 0), "loss"), *((("tasks", 0, part), part) for part in PARTS)):
            if place[: len(prefix)] == prefix:
                return f"{dotted((root, *place[len(prefix) :]))}: {message}"
        return f"{dotted(place)}: {message}"


def epochs_of(spec: RunSpec) -> float:
    """Epochs that the budget of a run is, the last one maybe not whole."""
    return spec.budget.iterations / spec.budget.iterations_per_epoch


def named(entry: Any) -> Any:
    """A plugin as a mapping with its name.

    >>> named("efl")
    {'name': 'efl'}
    """
    return {"name": entry} if isinstance(entry, str) else copy.deepcopy(entry)


def assign(node: dict[str, Any], values: Mapping[str, Value]) -> None:
    """Set values by path, whose first part is `node` itself.

    Another name replaces a mapping whole: what was given belongs to the plugin, optimizer or schedule named before.

    >>> optimizer = {"name": "sgd", "momentum": 0.9}
    >>> assign({"optimizer": optimizer}, {"train.optimizer.name": "adamw", "train.optimizer.lr": 0.01})
    >>> optimizer
    {'name': 'adamw', 'lr': 0.01}
    """
    for path, value in sorted(values.items(), key=lambda item: not item[0].endswith(".name")):
        _, *keys, last = path.split(".")
        target = node
        for key in keys:
            target = _mapping(target, key)
        if last == "name" and target.get("name") != value:
            target.clear()
        if path in (f"train.{budget}" for budget in RIVALS):
            target.pop(RIVALS[last], None)
        target[last] = value


def _mapping(node: dict[str, Any], key: str) -> dict[str, Any]:
    """What stands under `key`, as a mapping: `optimizer: sgd` is one with a name."""
    child = node.get(key)
    if not isinstance(child, dict):
        child = node[key] = {"name": child} if isinstance(child, str) else {}
    return child


def label(loss: str, values: Mapping[str, Value], number: int) -> str:
    """What the row of a setting is called.

    Args:
        loss: name of the swept loss, unless `loss.name` is among the values.
        values: by path.
        number: of the trial; stands for the values where they are too many.

    >>> label("softmax_eql", {"loss.tau": 1.5316, "loss.indicator": "both", "train.optimizer.lr": 0.1}, 3)
    'softmax_eql(tau=1.532, indicator=both, lr=0.1)'
    """
    name = plain(str(values.get("loss.name", loss)).rpartition(":")[2])
    shown = {path: value for path, value in values.items() if path != "loss.name"}
    names = short_names(list(shown))
    listed = ", ".join(f"{names[path]}={_spelled(value)}" for path, value in shown.items())
    text = plain(f"{name}({listed})" if listed else name)
    return text if len(text) <= MAX_LABEL else f"{name[: MAX_LABEL - 20]} trial {number}"


def short_names(paths: list[str]) -> dict[str, str]:
    """The last part of each path; two where it is a name, all of them where two paths would be called the same.

    >>> short_names(["loss.tau", "train.optimizer.lr", "train.optimizer.name"])
    {'loss.tau': 'tau', 'train.optimizer.lr': 'lr', 'train.optimizer.name': 'optimizer'}
    """
    short = {path: path.removesuffix(".name").rpartition(".")[2] for path in paths}
    counts = [*short.values()]
    return {path: path if counts.count(name) > 1 else name for path, name in short.items()}


def plain(text: str) -> str:
    """Text with an underscore for each character that a label may not have."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_=(),. ") else "_" for c in text)


def _spelled(value: Value) -> str:
    if is_number(value):
        return f"{value:.4g}".replace("e+", "e")
    return value if isinstance(value, str) else show(value)
