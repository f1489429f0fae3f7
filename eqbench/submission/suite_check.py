"""A suite or a sweep checked before it is sent: all of it but data that are only on the cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eqbench import plugins
from eqbench.data.base import Dataset
from eqbench.errors import EqbenchError, InputError
from eqbench.run_spec import Resources, RunSpec
from eqbench.submission.package import cache_folder
from eqbench.suite import find_suite, load_suite
from eqbench.suite_binding import BoundTask, bind
from eqbench.suite_expansion import Filters, data_key, expand
from eqbench.suite_file import SuiteFile
from eqbench.suite_schema import SuiteSchema, check
from eqbench.validation import Problem


@dataclass(frozen=True)
class Checked:
    """What is known of a suite or a sweep without the cluster."""

    file: Path
    name: str
    sweep: bool
    runs: tuple[Resources, ...] | None
    """What each run wants, of a suite whose data are all here."""
    resources: dict[str, Resources]
    """That each run of a task wants, by the task's label; of the tasks that are to be run."""
    absent: dict[str, str]
    """Why the data of a task cannot be read here, by the task's label."""
    tracking_uri: str | None
    modules: frozenset[str] = field(default_factory=frozenset)
    """Names of the packages or modules outside eqbench that it names."""

    @property
    def kind(self) -> str:
        return "sweep" if self.sweep else "suite"

    def describe(self) -> str:
        number = "" if self.runs is None else f" ({len(self.runs)} run{'s' * (len(self.runs) != 1)})"
        return f"{self.name}{number}, {self.file}"


@contextlib.contextmanager
def _miniatures_in_cache() -> Iterator[None]:
    """Miniatures that are made to be looked at are in the user's cache, and not in the folder that may be sent."""
    given = os.environ.get("EQBENCH_DATA")
    if not given:
        os.environ["EQBENCH_DATA"] = str(cache_folder("data"))
    try:
        yield
    finally:
        if not given:
            del os.environ["EQBENCH_DATA"]


@_miniatures_in_cache()
def check_suite(
    name: str,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    folder: Path | None = None,
) -> Checked:
    """Check a suite as `eqbench validate` does, tasks whose data are not here as far as that goes.

    Args:
        folder: the job's, where the user has given one.

    Raises:
        InputError: a line for each problem.
    """
    load_suite(name, overrides)  # refuses a sweep
    source, schema = _read(find_suite(name), overrides)
    tasks = bind(source, schema)
    keep = Filters(only, tasks)
    chosen = [task for task in tasks if keep("task", task.label)]
    _refuse_relative_roots(source, schema, {task.label for task in chosen}, folder)
    datasets: dict[str, Dataset] = {}
    absent = _absent_data(chosen, Path(source.file), datasets)
    here = [task for task in chosen if task.label not in absent]
    specs: list[RunSpec] = []
    if here:
        others = [each for each in only if not each.startswith("task=")]
        tasks_here = [f"task={task.label}" for task in here] if absent else only
        specs = expand(source, schema, [*others, *tasks_here] if absent else only, seeds, datasets)
    runs = None if absent else tuple(spec.resources for spec in specs)
    return _checked(source, schema, tasks, chosen, absent, runs)


@_miniatures_in_cache()
def check_sweep(name: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Checked:
    """The same of a sweep; its space is tried on the constructors if its data are here."""
    from eqbench.sweep.definition import load_sweep

    source, schema = _read(find_suite(name, "sweep"), overrides)
    if "sweep" not in SuiteFile.read(find_suite(name, "sweep")).data:
        load_sweep(name, overrides)  # says so
    tasks = bind(source, schema)
    _refuse_relative_roots(source, schema, {task.label for task in tasks}, folder)
    absent = _absent_data(tasks, Path(source.file), {})
    if absent:
        _check_section(name, overrides)
    else:
        load_sweep(name, overrides)
    return _checked(source, schema, tasks, tasks, absent, None, sweep=True)


def _read(file: Path, overrides: Sequence[str]) -> tuple[SuiteFile, SuiteSchema]:
    source = SuiteFile.read(file)
    for argument in overrides:
        source.override(argument)
    source.data.pop("sweep", None)
    return source, check(source)


def _check_section(name: str, overrides: Sequence[str]) -> None:
    from eqbench.sweep.schema import read_section

    source = SuiteFile.read(find_suite(name, "sweep"))
    for argument in overrides:
        source.override(argument)
    problems: list[Problem] = []
    read_section(source.data.get("sweep"), problems)
    if problems:
        raise source.error(problems)


def _checked(
    source: SuiteFile,
    schema: SuiteSchema,
    tasks: Sequence[BoundTask],
    chosen: Sequence[BoundTask],
    absent: dict[str, str],
    runs: tuple[Resources, ...] | None,
    sweep: bool = False,
) -> Checked:
    named = [plugin.name for task in tasks for plugin in (task.task, task.model, task.data)]
    named += [loss.plugin.name for task in tasks for loss in task.losses]
    return Checked(
        file=Path(source.file),
        name=schema.name,
        sweep=sweep,
        runs=runs,
        resources={task.label: task.resources for task in chosen},
        absent=absent,
        tracking_uri=schema.mlflow.tracking_uri,
        modules=frozenset(name.partition(":")[0].partition(".")[0] for name in named if ":" in name),
    )


def _refuse_relative_roots(
    source: SuiteFile, schema: SuiteSchema, labels: Collection[str], folder: Path | None
) -> None:
    """Where a path is relative, data are looked for in the job's folder, which is made for it and goes with it.

    Args:
        labels: of the tasks that are to be run.
        folder: the job's, where the user has given one; it may hold data.

    Raises:
        InputError: a data set's folder is not given from the root.
    """
    problems: list[Problem] = []
    for index, task in enumerate(schema.tasks):
        root = task.data.params.get("root")
        if task.name not in labels or not isinstance(root, str) or Path(root).expanduser().is_absolute():
            continue
        if folder is None or not (folder / root).exists():
            shared = f"-o tasks.{task.name}.data.root=/shared/{Path(root).name}"
            message = f"{root!r} is relative, and a job has a folder of its own; {shared}"
            problems.append((("tasks", index, "data", "root"), message))
    if problems:
        raise source.error(problems)


def _absent_data(
    tasks: Sequence[BoundTask], file: Path, datasets: dict[str, Dataset], seen: frozenset[Path] = frozenset()
) -> dict[str, str]:
    """Why data of tasks, or of those whose weights they start from, cannot be read here, by label of the task.

    Args:
        datasets: gets what could be constructed.
        seen: suites that are being looked at.
    """
    absent: dict[str, str] = {}
    for task in tasks:
        key = data_key(task.data)
        try:
            if key not in datasets:
                datasets[key] = plugins.construct("dataset", task.data.name, task.data.params)
            _construct_origin(task, file, seen)
        except Exception as error:
            known = isinstance(error, EqbenchError | ValueError | OSError) or ":" in task.data.name
            if not known or ("root" not in task.data.params and not isinstance(error, OSError)):
                raise
            absent[task.label] = str(error).partition("\n")[0]
    return absent


def _construct_origin(task: BoundTask, file: Path, seen: frozenset[Path]) -> None:
    """Read the data of the run in another suite that a task starts from."""
    start = task.start_from
    if start is None or start.suite is None or file in seen:
        return
    beside = file.parent / start.suite
    other = find_suite(str(beside) if beside.suffix and beside.is_file() else start.suite)
    source, schema = _read(other, start.override)
    parents = [each for each in bind(source, schema) if each.label == start.task]
    for reason in _absent_data(parents, other, {}, seen | {file}).values():
        raise InputError(reason)
