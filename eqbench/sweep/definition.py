"""A sweep file: a suite of one task and the space that is searched, read, checked, and turned into runs.

sweep = load_sweep("quickstart", overrides=["sweep.trials=4"])
specs = sweep.specs({"loss.tau": 1.5}, number=0)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.errors import InputError, nearest
from eqbench.run_spec import RunSpec, digest
from eqbench.suite import SuiteSummary, find_suite, list_suites
from eqbench.suite_file import SuiteFile
from eqbench.suite_schema import MLflow, SuiteSchema, check
from eqbench.suite_yaml import Place
from eqbench.sweep import population
from eqbench.sweep.folder import FOLDER
from eqbench.sweep.schema import Section, parameter_as_data, read_section, section_as_data
from eqbench.sweep.setting import MISSING, Base, Setting, epochs_of, label
from eqbench.sweep.space import Value, is_number, same, spelled
from eqbench.validation import Problem, show

if TYPE_CHECKING:
    from eqbench.data.base import Dataset

KEPT_DATASETS = 4


class Sweep:
    """A checked sweep.

    `swept` and `baseline` are labels of losses of the file; there is no baseline where the first loss is the swept one.
    `task_metrics` are the metrics that an objective may name.
    """

    def __init__(self, source: SuiteFile, schema: SuiteSchema, section: Section, places: Mapping[str, Place]) -> None:
        from eqbench.suite_binding import bind  # plugins import torch
        from eqbench.sweep.trial_construction import check_objective, check_space, check_strategy

        task = bind(source, schema)[0]
        labels = [loss.label for loss in task.losses]
        self.name = schema.name
        self.file = Path(source.file)
        self.text = source.text + "".join(f"\n# -o {argument}" for argument in source.overrides)
        self.section = section
        self.mlflow: MLflow = schema.mlflow
        self.swept = labels[-1] if section.loss is None else section.loss
        if self.swept not in labels:
            message = f"{show(self.swept)} is no loss of this file{nearest(self.swept, labels)} ({', '.join(labels)})"
            raise source.error([(("sweep", "loss"), message)])
        self.index = labels.index(self.swept)
        self.baseline = labels[0] if self.index else None
        self.task_label = task.label
        self.task_metrics = (*(f"val/{name}" for name in task.task_class.metrics), "train/loss")
        self.base = Base.of(source, schema)
        entry = self.base.data["losses"][self.index]
        self.loss_name: str = entry.get("label") or entry["name"]
        self._source, self._schema = source, schema
        self._datasets: dict[str, Dataset] = {}
        self._labelled = {name: self._expand(source, schema, [f"loss={name}"]) for _, name in self.references}
        problems = [*check_objective(self), *check_strategy(self)]
        problems += [*population.check_population(self, places), *check_space(self, places)]
        if problems:
            raise source.error(problems)

    @property
    def folder_name(self) -> str:
        """Of its folder below the storage, and of its experiment in MLflow."""
        return f"{self.name}/{FOLDER}"

    @property
    def references(self) -> list[tuple[int, str]]:
        """Baseline, if there is one, and swept loss: index in the file's list and label."""
        return [*([(0, self.baseline)] if self.baseline is not None else []), (self.index, self.swept)]

    @property
    def dataset(self) -> Dataset:
        """Of the default setting."""
        return next(iter(self._datasets.values()))

    def dataset_of(self, spec: RunSpec) -> Dataset:
        """Of a run of the default or of the setting that was built last."""
        from eqbench.suite_expansion import data_key

        return self._datasets[data_key(spec.data)]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(spec.seed for spec in self._labelled[self.swept])

    @property
    def epochs(self) -> float:
        """Full budget of a run of the default setting."""
        return epochs_of(self._labelled[self.swept][0])

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that are others for another space or recipe, and the same for another search."""
        space = {parameter.path: parameter_as_data(parameter) for parameter in self.section.space.parameters}
        runs = sorted(spec.run_id for spec in self._labelled[self.swept])
        scheduler = self.section.scheduler
        rules = {"population": scheduler.options} if scheduler.name == population.NAME else {}
        return digest({"runs": runs, "space": space, **rules})

    def description(self) -> dict[str, Any]:
        """Plain data that say which sweep this is, enough to read its results without its file."""
        return {
            "name": self.name,
            "digest": self.digest,
            "task": self.task_label,
            "loss": self.swept,
            "baseline": self.baseline,
            "epochs": self.epochs,
            "seeds": list(self.seeds),
            "section": section_as_data(self.section),
        }

    def default_specs(self) -> list[RunSpec]:
        """The runs of the swept loss as the file has it, one per seed."""
        return list(self._labelled[self.swept])

    def baseline_specs(self) -> list[RunSpec]:
        """The runs of the baseline, one per seed; none if the file has none."""
        return [] if self.baseline is None else list(self._labelled[self.baseline])

    def specs(self, values: Mapping[str, Value], number: int) -> list[RunSpec]:
        """The runs of a setting, one per seed.

        Args:
            values: by path.
            number: of the trial, for its label.

        Raises:
            InputError: the runs cannot be built; says of which values, and why.
        """
        try:
            specs = self.built(values)
        except InputError as error:
            setting = ", ".join(f"{path} {spelled(value)}" for path, value in values.items())
            raise InputError(f"{self.file}: the setting {setting} cannot be built: {error}") from error
        if self.section.scheduler.name == population.NAME:
            return [population.as_member(spec, self, number) for spec in specs]
        name = label(self.loss_name, values, number)
        return [spec.model_copy(update={"loss_label": name}) for spec in specs]

    def built(self, values: Mapping[str, Value]) -> list[RunSpec]:
        """The runs of a setting, without a label of their own.

        Raises:
            InputError: a line for each problem, with the path that it is about.
        """
        setting = Setting(self.base, self.index, values)
        specs = self._expand(setting, check(setting))
        for key in list(self._datasets)[1 : 1 - KEPT_DATASETS]:
            del self._datasets[key]
        return specs

    def default_values(self) -> dict[str, Value]:
        """The file's own value of each parameter that applies to it."""
        values: dict[str, Value] = {}
        space = self.section.space
        for path in space.paths:
            value = self.default_value(path)
            if value is not MISSING and space.active(path, values):
                values[path] = _whole(value) if space[path].kind == "integer" else value
        return values

    def default_value(self, path: str) -> Any:
        """What the file's own swept loss, training, model, data or task has at a path; `MISSING` if it has nothing."""
        spec = self._labelled[self.swept][0]
        root, *keys = path.split(".")
        node: Any = spec.train.model_dump() if root == "train" else None
        if node is None:
            plugin = getattr(spec, root)
            node = {**plugin.params, "name": plugin.name}
        for key in keys:
            if not isinstance(node, Mapping) or key not in node:
                return MISSING
            node = node[key]
        return node if node is None or isinstance(node, str | int | float) else MISSING

    def is_default(self, values: Mapping[str, Value]) -> bool:
        """Whether these are the values of the default setting."""
        own = self.default_values()
        return own.keys() == values.keys() and all(same(own[path], value) for path, value in values.items())

    def setting_file(self, values: Mapping[str, Value] | Sequence[Mapping[str, Value]], seeds: Sequence[int]) -> str:
        """A suite, as YAML, that compares one setting, or several, with the baseline and the default.

        See `eqbench.sweep.setting_suite`.
        """
        from eqbench.sweep.setting_suite import setting_file

        return setting_file(self, [values] if isinstance(values, Mapping) else values, seeds)

    def _expand(self, source: SuiteFile, schema: SuiteSchema, only: Sequence[str] = ()) -> list[RunSpec]:
        from eqbench.suite_expansion import expand

        specs = expand(source, schema, only, datasets=self._datasets)
        return [spec.model_copy(update={"suite": self.folder_name}) for spec in specs]


def load_sweep(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep: a file, or the name of one in ./suites/sweeps or in eqbench's own.

    Data are read, and the lowest and highest value of each parameter is tried on the constructors, so that what cannot
    work is known before anything is trained.

    Args:
        path_or_name: `mine.yaml`, `folder/mine.yaml` or `quickstart`.
        overrides: as of suites; also `sweep.trials=4`, `sweep.space.loss.tau={uniform: [1, 2]}`.

    Raises:
        InputError: there is no such file, or one line for each problem of its content.
    """
    source = SuiteFile.read(find_suite(path_or_name, "sweep"))
    for argument in overrides:
        source.override(argument)
    if "sweep" not in source.data:
        misspelt = difflib.get_close_matches(
            "sweep", [key for key in source.data if key not in SuiteSchema.model_fields]
        )
        if misspelt:
            raise source.error([((misspelt[0],), "unknown key; did you mean 'sweep'?")])
        raise InputError(f"{source.file}: has no key sweep; it is a suite, use: eqbench run {path_or_name}")
    problems: list[Problem] = []
    section, places = read_section(source.data.pop("sweep"), problems)
    found: list[str] = []
    schema = None
    try:
        schema = check(source)
    except InputError as error:
        found.append(str(error))
    if schema is not None:
        problems += _wrong_tasks(schema)
    if problems:
        found.append(str(source.error(problems)))
    if schema is None or found:
        raise InputError("\n".join(found))
    return Sweep(source, schema, section, places)


def list_sweeps() -> list[SuiteSummary]:
    """Every sweep that `load_sweep` finds by name, those of the current folder first."""
    return list_suites("sweep")


def is_sweep(path: str | Path) -> bool:
    """Whether a file is a sweep; False also if it cannot be read."""
    try:
        return "sweep" in SuiteFile.read(Path(path)).data
    except InputError:
        return False


def _wrong_tasks(schema: SuiteSchema) -> list[Problem]:
    problems: list[Problem] = []
    if len(schema.tasks) > 1:
        names = ", ".join(task.name for task in schema.tasks)
        problems.append((("tasks",), f"{len(schema.tasks)} tasks ({names}), expected exactly one in a sweep"))
    if schema.tasks[0].start_from is not None:
        problems.append(
            (("tasks", 0, "start_from"), "is not possible in a sweep: its runs start from no other's weights")
        )
    return problems


def _whole(value: Value) -> Value:
    """50.0 as 50."""
    return int(value) if is_number(value) and value == int(value) else value
