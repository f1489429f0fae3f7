"""The plugins that a suite names: found, their parameters bound, their rows labelled. No data is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from eqbench import plugins
from eqbench.errors import InputError
from eqbench.recipe import Train
from eqbench.run_spec import Plugin, Resources
from eqbench.suite_file import SuiteFile
from eqbench.suite_schema import LossEntry, PluginEntry, StartFrom, SuiteSchema, TaskEntry
from eqbench.suite_yaml import Place
from eqbench.validation import Problem, dotted, show


@dataclass(frozen=True)
class BoundLoss:
    """A row: a loss with all its parameters."""

    place: Place
    label: str
    plugin: Plugin


@dataclass(frozen=True)
class BoundTask:
    """A column: a task with all its parameters, and its rows."""

    place: Place
    label: str
    task: Plugin
    task_class: type[Any]
    model: Plugin
    data: Plugin
    losses: list[BoundLoss]
    seeds: list[int]
    train: Train
    resources: Resources
    start_from: StartFrom | None


def bind(source: SuiteFile, schema: SuiteSchema) -> list[BoundTask]:
    """Every plugin of the suite with its parameters, defaults filled in; all problems at once."""
    problems: list[Problem] = []
    tasks = []
    shared = _bind_losses(schema.losses, ("losses",), problems)
    for index, entry in enumerate(schema.tasks):
        place: Place = ("tasks", index)
        own = None if entry.losses is None else _bind_losses(entry.losses, (*place, "losses"), problems)
        tasks.append(_bind_task(schema, entry, place, shared if own is None else own, problems))
    if problems:
        raise source.error(problems)
    return [task for task in tasks if task is not None]


def _bind_task(
    schema: SuiteSchema, entry: TaskEntry, place: Place, losses: list[BoundLoss], problems: list[Problem]
) -> BoundTask | None:
    task = _bind_plugin("task", entry.task, (*place, "task"), problems)
    model = _bind_plugin("model", entry.model, (*place, "model"), problems)
    data = _bind_plugin("dataset", entry.data, (*place, "data"), problems)
    if task is None or model is None or data is None:
        return None
    return BoundTask(
        place=place,
        label=entry.name,
        task=task,
        task_class=plugins.load("task", task.name),
        model=model,
        data=data,
        losses=losses,
        seeds=schema.seeds if entry.seeds is None else entry.seeds,
        train=schema.train_of(entry),
        resources=schema.resources_of(entry),
        start_from=entry.start_from,
    )


def _bind_plugin(kind: plugins.KindName, entry: PluginEntry, place: Place, problems: list[Problem]) -> Plugin | None:
    try:
        cls = plugins.load(kind, entry.name)
        supplied = plugins.KINDS[kind].supplied
        params = plugins.bind(cls, entry.params, where=entry.name, supplied=supplied)
    except plugins.ParameterError as error:
        problems += [((*place, *path), message) for path, message in error.problems]
    except InputError as error:
        problems.append((place, str(error)))
    else:
        bound = _placed(to_jsonable_python(params))
        try:
            return Plugin(name=entry.name, params=bound, source=plugins.source_of(cls, bound))
        except InputError as error:
            problems.append((place, str(error)))
    return None


def _placed(params: dict[str, Any]) -> dict[str, Any]:
    """The same with an absolute `root`, by default `$EQBENCH_DATA` or `data`: workers may be in another folder."""
    if "root" not in params:
        return params
    root = params["root"] or os.environ.get("EQBENCH_DATA") or "data"
    return params | {"root": str(Path(root).expanduser().absolute())}


def _bind_losses(entries: Sequence[LossEntry], place: Place, problems: list[Problem]) -> list[BoundLoss]:
    bound = [_bind_plugin("loss", entry, (*place, i), problems) for i, entry in enumerate(entries)]
    losses = [
        BoundLoss((*place, i), entry.label or _default_label(plugin, bound), plugin)
        for i, (entry, plugin) in enumerate(zip(entries, bound, strict=True))
        if plugin is not None
    ]
    for later, loss in enumerate(losses):
        for earlier in losses[:later]:
            if earlier.plugin == loss.plugin:
                problems.append((loss.place, f"the same loss as {dotted(earlier.place)}: {earlier.label}"))
            elif earlier.label == loss.label:
                problems.append((loss.place, f"its label {loss.label!r} is that of {dotted(earlier.place)}"))
    return losses


def _default_label(plugin: Plugin, all_losses: Sequence[Plugin | None]) -> str:
    """The loss's name; with the parameters in which it differs from losses of the same name, if there are any."""
    name = plugin.name.rpartition(":")[2]
    same_name = [other.params for other in all_losses if other is not None and other.name == plugin.name]
    differing = [
        f"{key}={_spelled(value)}"
        for key, value in plugin.params.items()
        if any(other.get(key) != value for other in same_name)
    ]
    return f"{name}({', '.join(differing)})" if differing else name


def _spelled(value: object) -> str:
    text = value if isinstance(value, str) else show(value)
    return "".join(c if c.isascii() and (c.isalnum() or c in "_(),. -") else "_" for c in text)
