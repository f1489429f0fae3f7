"""The keys of a suite file, and everything that is wrong with one, in one pass."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from eqbench.errors import nearest
from eqbench.recipe import Model, Train, WholeNumber
from eqbench.run_spec import Resources
from eqbench.suite_file import SuiteFile
from eqbench.suite_yaml import Place
from eqbench.validation import Problem, explain, show

MAX_NAME = 47  # a RayJob's name; Kueue holds the quota of longer ones for days
MAX_LABEL = 100
_BUDGET = frozenset({"epochs", "iterations"})


def _checked_name(name: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}", name):
        raise ValueError(f"{show(name)}, expected 1 to {MAX_NAME} letters, digits, '-' or '_'")
    return name


def _checked_label(label: str) -> str:
    if not re.fullmatch(rf"[A-Za-z0-9_=(),. -]{{1,{MAX_LABEL}}}", label):
        raise ValueError(f"{show(label)}, expected 1 to {MAX_LABEL} letters, digits, spaces or any of - _ = ( ) , .")
    return label


def _without_password(uri: str) -> str:
    from eqbench.tracking.uri import shown

    if "@" in uri and not uri.startswith("sqlite:"):
        raise ValueError(
            f"'{shown(uri)}' with a user name or password before it, which would be in every copy of the suite; leave "
            "them out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or for a database "
            "MLFLOW_TRACKING_URI, in the environment"
        )
    return uri


def _named(entry: object) -> object:
    return {"name": entry} if isinstance(entry, str) else entry


def _checked_plugin(entry: object) -> object:
    if not isinstance(entry, str | Mapping):
        raise ValueError(f"{show(entry)}, expected a name or a mapping with a name and parameters")
    return _named(entry)


Name = Annotated[str, AfterValidator(_checked_name)]
Label = Annotated[str, AfterValidator(_checked_label)]


class PluginEntry(Model):
    """A plugin's name and the parameters that are given, not yet bound."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1)]

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class LossEntry(PluginEntry):
    """A loss, and what its row is called."""

    label: Label | None = None


PluginOrName = Annotated[PluginEntry, BeforeValidator(_checked_plugin)]
Losses = Annotated[list[Annotated[LossEntry, BeforeValidator(_checked_plugin)]], Field(min_length=1)]


Seeds = Annotated[list[WholeNumber], Field(min_length=1)]


class StartFrom(Model):
    """The run whose weights a task's runs start from: of an earlier task of the suite, or of another suite.

    `suite` is a name, or a file, beside this one or not; `override` changes it as `-o` does. The seed is the run's own
    unless `seed` says another.
    """

    suite: Annotated[str, Field(min_length=1)] | None = None
    task: Name
    loss: Label
    seed: WholeNumber | None = None
    override: list[str] = Field(default_factory=list)


class TaskEntry(Model):
    """A column: task, model and data, and what it has of its own."""

    name: Name
    task: PluginOrName
    model: PluginOrName
    data: PluginOrName
    losses: Losses | None = None
    seeds: Seeds | None = None
    start_from: StartFrom | None = None
    train: dict[str, Any] = Field(default_factory=dict)
    resources: dict[str, Any] = Field(default_factory=dict)


class MLflow(Model):
    """Where results are sent; the environment's `MLFLOW_TRACKING_URI` or the embedded store when null."""

    tracking_uri: Annotated[str, AfterValidator(_without_password)] | None = None


class SuiteSchema(Model):
    """A suite file's keys. `train` and `resources` are checked once they are merged with each task's own."""

    name: Name
    tasks: Annotated[list[TaskEntry], Field(min_length=1)]
    losses: Losses
    seeds: Seeds
    train: dict[str, Any] = Field(default_factory=dict)
    resources: dict[str, Any] = Field(default_factory=dict)
    mlflow: MLflow = MLflow()

    def train_of(self, task: TaskEntry) -> Train:
        return Train.model_validate(merged_train(self.train, task.train))

    def resources_of(self, task: TaskEntry) -> Resources:
        return Resources.model_validate(merged(self.resources, task.resources))


def check(source: SuiteFile) -> SuiteSchema:
    """The data of a suite file as objects.

    Raises:
        InputError: one line for each problem of the whole file.
    """
    problems: list[Problem] = []
    schema: SuiteSchema | None = None
    try:
        schema = SuiteSchema.model_validate(source.data)
    except ValidationError as error:
        problems += _explained(error, SuiteSchema)
    problems += _merged_problems(source)
    if schema is not None:
        problems += _duplicates(schema)
    if schema is not None and not problems:
        problems += _small_batches(source, schema)
        problems += _unsynchronized(source, schema)
    if schema is None or problems:
        raise source.error(problems)
    return schema


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `own`, mapping by mapping; one with another `name` is replaced whole.

    >>> merged({"a": {"name": "x", "b": 1}, "c": 2}, {"a": {"b": 3}})
    {'a': {'name': 'x', 'b': 3}, 'c': 2}
    >>> merged({"a": {"name": "x", "b": 1}}, {"a": {"name": "y"}})
    {'a': {'name': 'y'}}
    """
    result = dict(base)
    for key, value in own.items():
        before = result.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            same_kind = value.get("name", before.get("name")) == before.get("name")
            result[key] = merged(before, value) if same_kind else dict(value)
        else:
            result[key] = value
    return result


def merged_train(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A task's training: its own budget replaces the suite's, in epochs or in iterations.

    `optimizer: adamw` stands for `optimizer: {name: adamw}`; without a name it is the default one.
    """
    named = {key: field.default.name for key, field in Train.model_fields.items() if hasattr(field.default, "name")}
    base, own = ({key: _named(value) if key in named else value for key, value in part.items()} for part in (base, own))
    if not _BUDGET.isdisjoint(own):
        base = {key: value for key, value in base.items() if key not in _BUDGET}
    train = merged(base, own)
    for key, name in named.items():
        if isinstance(value := train.get(key), Mapping):
            train[key] = {"name": name, **value}
    return train


def _merged_problems(source: SuiteFile) -> Iterator[Problem]:
    """Problems of `train` and `resources` of each task, merged; at the place that the value came from."""
    data = source.data
    tasks = data.get("tasks")
    for index, task in enumerate(tasks if isinstance(tasks, list) and tasks else [{}]):
        for section, model, merge in (("train", Train, merged_train), ("resources", Resources, merged)):
            own = task.get(section, {}) if isinstance(task, dict) else {}
            base = data.get(section, {})
            if not isinstance(own, dict) or not isinstance(base, dict):
                continue
            try:
                model.model_validate(values := merge(base, own))
            except ValidationError as error:
                for place, message in _explained(error, model, values):
                    if not place and _BUDGET.isdisjoint(own):
                        yield (section,), message
                    else:
                        yield source.inherited(("tasks", index), (section, *place)), message


def _explained(
    error: ValidationError, model: type[BaseModel], values: Mapping[str, Any] | None = None
) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        if detail["type"] == "extra_forbidden":
            known = _keys(model, location[:-1])
            key = str(location[-1])
            message = f"unknown key{nearest(key, known)} (known: {', '.join(known)})"
        else:
            message = explain(detail)
        place = location if values is None else _without_tags(location, values)
        yield (*place, "name") if detail["type"] == "union_tag_invalid" else place, message


def _without_tags(location: Place, values: Any) -> Place:
    """A place in the file: pydantic's location also has the name of the chosen class of a union."""
    place: list[str | int] = []
    for position, part in enumerate(location):
        if isinstance(values, Mapping) and part not in values and part == values.get("name"):
            continue
        place.append(part)
        if position < len(location) - 1:
            values = values.get(part) if isinstance(values, Mapping) else None
    return tuple(place)


def _keys(model: type[BaseModel], location: Place) -> list[str]:
    """Known keys of the part of `model` at `location`."""
    models = [model]
    for part in location:
        if isinstance(part, int):
            continue
        fields = [candidate.model_fields for candidate in models]
        tagged = [m for m in models if "name" in m.model_fields and m.model_fields["name"].default == part]
        models = tagged or [m for known in fields if part in known for m in _models(known[part].annotation)]
    return list(dict.fromkeys(key for known in models for key in known.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in typing.get_args(annotation) for found in _models(argument)]


def _duplicates(schema: SuiteSchema) -> Iterator[Problem]:
    tasks: dict[str, int] = {}
    for index, task in enumerate(schema.tasks):
        if (first := tasks.setdefault(task.name, index)) < index:
            yield ("tasks", index, "name"), f"{task.name!r} is the name of tasks[{first}] already"
    own = [(("tasks", index, "seeds"), task.seeds or []) for index, task in enumerate(schema.tasks)]
    for place, seeds in [(("seeds",), schema.seeds), *own]:
        place_of: dict[int, int] = {}
        for index, seed in enumerate(seeds):
            if place_of.setdefault(seed, index) < index:
                yield (*place, index), f"{seed} is in the list already"


def _small_batches(source: SuiteFile, schema: SuiteSchema) -> Iterator[Problem]:
    for index, task in enumerate(schema.tasks):
        train, resources = schema.train_of(task), schema.resources_of(task)
        shares = resources.num_workers * train.accumulate
        if train.batch_size < shares:
            yield (
                source.inherited(("tasks", index), ("train", "batch_size")),
                f"{train.batch_size}, expected at least {shares}: a sample for each of {resources.num_workers} "
                f"(resources.num_workers) x {train.accumulate} (train.accumulate) micro-batches",
            )


def _unsynchronized(source: SuiteFile, schema: SuiteSchema) -> Iterator[Problem]:
    for index, task in enumerate(schema.tasks):
        resources = schema.resources_of(task)
        if schema.train_of(task).sync_batchnorm and resources.num_workers > 1 and not resources.gpus_per_worker:
            yield (
                source.inherited(("tasks", index), ("train", "sync_batchnorm")),
                "true, expected false: batch normalization over several workers needs GPUs, and "
                "resources.gpus_per_worker is 0",
            )
