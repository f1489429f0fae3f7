"""From a checked suite to its runs: filters, data, a trial construction of each loss, budgets."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pydantic import ValidationError

from eqbench import plugins
from eqbench.data import samplers
from eqbench.data.base import Dataset
from eqbench.errors import EqbenchError, InputError, nearest
from eqbench.run_spec import Budget, Plugin, RunSpec
from eqbench.suite_binding import BoundLoss, BoundTask, bind
from eqbench.suite_file import SuiteFile
from eqbench.suite_origins import Origins, describe
from eqbench.suite_schema import SuiteSchema
from eqbench.suite_yaml import Place
from eqbench.tasks.base import Task
from eqbench.validation import explain, show

MAX_RUNS = 100_000
MAX_SEED = 2**31


def expand(
    source: SuiteFile,
    schema: SuiteSchema,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    datasets: dict[str, Dataset] | None = None,
) -> list[RunSpec]:
    """The runs by task, loss and seed; see `Suite.expand`."""
    tasks = bind(source, schema)
    if seeds is not None:
        given = _checked_seeds(seeds)
        tasks = [replace(task, seeds=given) for task in tasks]
    keep = Filters(only, tasks)
    chosen = [
        replace(
            task,
            losses=[loss for loss in task.losses if keep("loss", loss.label)],
            seeds=[seed for seed in task.seeds if keep("seed", str(seed))],
        )
        for task in tasks
        if keep("task", task.label)
    ]
    number = sum(len(task.losses) * len(task.seeds) for task in chosen)
    if number == 0:
        raise InputError(f"--only {' --only '.join(map(repr, only))}: no run matches all of these")
    if number > MAX_RUNS:
        raise InputError(f"{source.file}: {number:,} runs, expected at most {MAX_RUNS:,}")
    expansion = _Expansion(source, schema.name, tasks, {} if datasets is None else datasets)
    specs = [spec for task in chosen if task.losses and task.seeds for spec in expansion.runs(task)]
    _refuse_duplicates(source, specs)
    return specs


class _Expansion:
    """The runs of the tasks of one suite; data are constructed once for tasks that share them."""

    def __init__(self, source: SuiteFile, suite: str, tasks: Sequence[BoundTask], datasets: dict[str, Dataset]) -> None:
        self._source = source
        self._suite = suite
        self._datasets = datasets
        self._origins = Origins(source, tasks, self._of_loss)

    def _of_loss(self, task: BoundTask, loss: BoundLoss, seeds: list[int]) -> list[RunSpec]:
        return list(self.runs(replace(task, losses=[loss], seeds=seeds)))

    def runs(self, task: BoundTask) -> Iterator[RunSpec]:
        """By loss, then by seed."""
        parents = self._origins.of(task)
        for spec in _runs(self._source, self._suite, task, self._datasets, next(iter(parents.values()), None)):
            parent = parents.get(spec.seed)
            if parent is None or task.start_from is None:
                yield spec
            else:
                yield spec.model_copy(update={"origin": describe(parent, task.start_from, self._source)})


def _runs(
    source: SuiteFile, suite: str, task: BoundTask, datasets: dict[str, Dataset], parent: RunSpec | None
) -> Iterator[RunSpec]:
    data = _data(source, task, datasets)
    digest = data.digest
    with _located(source, source.inherited(task.place, ("train", "sampler")), task.train.sampler.name):
        epoch_length = samplers.build(task.train.sampler, data).epoch_length
    budget = _budget(source, task, epoch_length)
    for index, loss in enumerate(task.losses):
        with _located(source, (*task.place, "task"), task.task.name):
            built: Task = plugins.construct(
                "task", task.task.name, task.task.params, data=data, model=task.model, loss=loss.plugin
            )
        if index == 0:
            with _located(source, (*task.place, "model"), task.model.name):
                built.check_model()
            with _located(source, (*task.place, "data"), task.data.name):
                built.check_data()
        with _located(source, loss.place, loss.plugin.name):
            built.check_loss()
        with _located(source, (*task.place, "start_from" if parent else "model"), task.model.name):
            built.check_origin(parent)
        for seed in task.seeds:
            yield RunSpec(
                suite=suite,
                task_label=task.label,
                loss_label=loss.label,
                task=task.task,
                task_version=task.task_class.version,
                protocol=built.protocol,
                model=task.model,
                data=task.data,
                data_digest=digest,
                loss=loss.plugin,
                train=task.train,
                budget=budget,
                seed=seed,
                resources=task.resources,
            )


def data_key(data: Plugin) -> str:
    """What `datasets` has a data set under."""
    return json.dumps([data.name, data.params], sort_keys=True)


def _data(source: SuiteFile, task: BoundTask, datasets: dict[str, Dataset]) -> Dataset:
    """The task's data, constructed once for tasks that share it."""
    key = data_key(task.data)
    if key not in datasets:
        with _located(source, (*task.place, "data"), task.data.name):
            datasets[key] = plugins.construct("dataset", task.data.name, task.data.params)
    return datasets[key]


def _budget(source: SuiteFile, task: BoundTask, samples_per_epoch: int) -> Budget:
    train = task.train
    given = "epochs" if train.iterations is None else "iterations"
    try:
        budget = Budget.of(train, samples_per_epoch)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        message = f"{getattr(train, given):,} are too many {detail['loc'][0]}: {explain(detail)}"
        raise source.error([(source.inherited(task.place, ("train", given)), message)]) from error
    warm_up = train.schedule.warmup.iterations
    if warm_up >= budget.iterations:
        place = source.inherited(task.place, ("train", "schedule", "warmup", "iterations"))
        message = f"{warm_up}, expected less than the {budget.iterations} iterations of the whole run"
        raise source.error([(place, message)])
    return budget


@contextmanager
def _located(source: SuiteFile, place: Place, plugin: str) -> Iterator[None]:
    """What a constructor refuses, at its place in the file. A class outside eqbench may raise anything."""
    expected = Exception if ":" in plugin else (ValueError, OSError)
    try:
        yield
    except InputError as error:
        raise source.error([(place, str(error))]) from error
    except EqbenchError:
        raise
    except expected as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise source.error([(place, f"{plugin}: {kind}{error}")]) from error


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"--seeds: {seed}, expected whole numbers from 0 to {MAX_SEED}")
    if twice := [seed for seed, times in Counter(seeds).items() if times > 1]:
        raise InputError(f"--seeds: {twice[0]} is given more than once")
    if not seeds:
        raise InputError("--seeds: none is given, expected e.g. --seeds 0,1,2")
    return list(seeds)


class Filters:
    """Whether a label passes `--only`: one filter of its field matches, or there is none."""

    def __init__(self, only: Sequence[str], tasks: Sequence[BoundTask]) -> None:
        labels = {
            "task": [task.label for task in tasks],
            "loss": list(dict.fromkeys(loss.label for task in tasks for loss in task.losses)),
            "seed": list(dict.fromkeys(str(seed) for task in tasks for seed in task.seeds)),
        }
        self._patterns: dict[str, list[str]] = {field: [] for field in labels}
        for argument in only:
            field, equals, pattern = argument.partition("=")
            if not equals or not pattern:
                raise InputError(f"--only {argument!r}: expected field=label, e.g. --only loss={labels['loss'][0]}")
            if field not in labels:
                raise InputError(
                    f"--only {argument!r}: unknown field {field!r}{nearest(field, labels)} (known: {', '.join(labels)})"
                )
            if not any(fnmatch.fnmatchcase(label, pattern) for label in labels[field]):
                raise InputError(
                    f"--only {argument!r}: there is no {field} {show(pattern)}{nearest(pattern, labels[field])} "
                    f"(known: {', '.join(labels[field])})"
                )
            self._patterns[field].append(pattern)

    def __call__(self, field: str, label: str) -> bool:
        patterns = self._patterns[field]
        return not patterns or any(fnmatch.fnmatchcase(label, pattern) for pattern in patterns)


def _refuse_duplicates(source: SuiteFile, specs: Sequence[RunSpec]) -> None:
    known: dict[str, RunSpec] = {}
    for spec in specs:
        twin = known.setdefault(spec.run_id, spec)
        if twin is not spec:
            raise InputError(
                f"{source.file}: {twin.name!r} and {spec.name!r} are the same run, they differ in their names only"
            )
