"""What the folders of suites hold, run by run: the input of the leaderboard and of comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import yaml

from eqbench.errors import InputError, nearest
from eqbench.run_folder import RunFolder, SuiteFolder, suites_in
from eqbench.run_spec import RunSpec, flatten
from eqbench.stored_json import Damaged

COSTS = ("seconds_per_step", "peak_memory_mb", "gpu_hours", "cpu_core_hours")
"""Of a run. Hours are those of training, times the GPUs or cores that all its workers had requested: a run on the CPU
has no GPU hours, nor the other way round."""
DEVICE_OF_HOURS = {"gpu_hours": "cuda", "cpu_core_hours": "cpu"}


class Key(NamedTuple):
    """Results are only compared within one of these."""

    task_version: int
    data_digest: str
    protocol: str
    iterations: int
    samples: int

    @classmethod
    def of(cls, spec: RunSpec) -> Key:
        return cls(spec.task_version, spec.data_digest, spec.protocol, spec.budget.iterations, spec.budget.samples)

    @property
    def fields(self) -> dict[str, Any]:
        """By their names in `Recipe.fields`."""
        names = ("task_version", "data_digest", "protocol", "budget.iterations", "budget.samples")
        return dict(zip(names, self, strict=True))


@dataclass(frozen=True)
class Problem:
    """Runs that a number is missing of, and why."""

    name: str
    seeds: tuple[int, ...]
    reason: str
    run_ids: tuple[str, ...]

    def __str__(self) -> str:
        seeds = ", ".join(f"s{seed}" for seed in self.seeds)
        return f"{self.name} · {seeds}: {self.reason}" if seeds else f"{self.name}: {self.reason}"


class Recipe:
    """What runs that differ in their seed alone share, worked out once: see `RunSpec.recipe`."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Everything that decides the result but the loss and the seed, flattened."""
        return flatten(self.spec.recipe)

    @cached_property
    def text(self) -> str:
        """The same for equal fields."""
        return canonical(self.fields)

    @cached_property
    def loss(self) -> dict[str, Any]:
        """Name and parameters of the loss, flattened."""
        return flatten({"name": self.spec.loss.name, **self.spec.loss.params})

    @cached_property
    def loss_text(self) -> str:
        return canonical(self.loss)


@dataclass(frozen=True)
class Record:
    """One run: what it is, and its result if it has ended.

    `planned`: the last `eqbench run` asked for it. `note`: why it has no result, where it is not just to come.
    """

    suite: str
    spec: RunSpec
    result: Mapping[str, Any] | None
    planned: bool
    attempts: int = 0
    shared: Recipe | None = None
    note: str = ""

    @property
    def seed(self) -> int:
        return self.spec.seed

    @property
    def trial(self) -> bool:
        return is_sweep(self.suite)

    @property
    def finished(self) -> bool:
        return self.result is not None and self.result["status"] == "finished"

    @property
    def status(self) -> str:
        """How it ended (finished, failed, stopped or killed), or how far it is."""
        if self.result is None:
            return self.note or ("started, not finished" if self.attempts else "not run yet")
        return str(self.result["status"])

    @property
    def reason(self) -> str:
        """Why there is no number; empty for a finished run."""
        if self.finished:
            return ""
        detail = " ".join(str((self.result or {}).get("status_detail") or "").split())
        return f"{self.status}: {detail}" if detail else self.status

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the reported numbers, main one first; none unless finished."""
        if not self.finished or self.result is None:
            return ()
        main = self.result.get("main_metric")
        return tuple(dict.fromkeys([*([main] if main else []), *self.result["metrics"]]))

    def number(self, section: str, name: str) -> float:
        """`result[section][name]` of a finished run, or its device hours; NaN where it does not exist."""
        if section == "cost" and name in DEVICE_OF_HOURS:
            return self._device_hours(name)
        value = self.result.get(section, {}).get(name) if self.finished and self.result else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return math.nan
        return float(value)

    def _device_hours(self, name: str) -> float:
        if not self.result or self.result["cost"].get("device") != DEVICE_OF_HOURS[name]:
            return math.nan
        resources = self.spec.resources
        each = resources.gpus_per_worker if name == "gpu_hours" else resources.cpus_per_worker
        return each * self.number("cost", "num_workers") * self.number("cost", "train_seconds") / 3600

    @cached_property
    def recipe(self) -> Recipe:
        return self.shared or Recipe(self.spec)


def is_sweep(suite: str) -> bool:
    """Whether this is the suite of a sweep's trials, `<name>/sweeps`."""
    return "/" in suite


def canonical(fields: Mapping[str, Any]) -> str:
    """One text for equal contents."""
    return json.dumps(fields, sort_keys=True)


def read_spec(run: RunFolder) -> RunSpec:
    """What a run is.

    Raises:
        InputError: its file is not there, or not of a run as this version describes one.
    """
    try:
        return run.read_spec()
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{run.spec_file}: cannot be read as a run ({_first_line(error)})") from error


def read(folders: Sequence[SuiteFolder]) -> tuple[list[Record], list[Problem]]:
    """The runs of every folder: those of the plan in its order, then finished and damaged ones of earlier plans.

    Returns:
        The runs, and what could not be read.

    Raises:
        InputError: a suite has no runs, or a result was written by an unknown version of the schema.
    """
    records: list[Record] = []
    unreadable: list[Problem] = []
    reader = _Reader()
    for folder in folders:
        plan = dict.fromkeys(folder.read_plan())
        present, left_out = folder.planned(), folder.left_out()
        if not plan and not present:
            known = [other.suite for other in suites_in(folder.path.parent)]
            raise InputError(f"{folder.path}: suite {folder.suite!r} has no runs here{nearest(folder.suite, known)}")
        absent = plan.keys() - {run.run_id for run in present}
        unreadable += [_unreadable(folder, run_id, "run.yaml is missing") for run_id in plan if run_id in absent]
        for run in present:
            by = left_out.get(run.run_id)
            record = reader.read(folder, run, run.run_id in plan, f"left out by {by}" if by else "")
            if isinstance(record, Problem):
                unreadable.append(record)
            elif record.planned or record.finished or record.note:
                records.append(record)
    return records, unreadable


class _Reader:
    """Reads runs; descriptions that differ in their seed alone are checked once."""

    def __init__(self) -> None:
        self.recipes: dict[str, Recipe] = {}

    def read(self, folder: SuiteFolder, run: RunFolder, planned: bool, left_out: str) -> Record | Problem:
        """A run; `left_out` says so of one that has not started."""
        try:
            result, damage = run.intact_result(), ""
        except Damaged as error:
            result, damage = None, str(error).removeprefix(f"{run.path}/")
        fields = (result or {}).get("spec")
        try:
            spec, recipe = self._described(fields) if isinstance(fields, dict) else (read_spec(run), None)
        except InputError as error:
            return _unreadable(folder, run.run_id, str(error))
        except ValueError as error:
            return _unreadable(folder, run.run_id, f"{run.result_file}: spec: {_first_line(error)}")
        attempts = 0 if result else run.attempts
        return Record(folder.suite, spec, result, planned, attempts, recipe, damage or ("" if attempts else left_out))

    def _described(self, fields: Mapping[str, Any]) -> tuple[RunSpec, Recipe]:
        """A run as its result describes it, which takes a tenth of the time that `run.yaml` does."""
        seed = fields.get("seed")
        key = json.dumps({**fields, "seed": 0})
        if key not in self.recipes or type(seed) is not int or seed < 0:
            self.recipes[key] = Recipe(RunSpec.model_validate_json(json.dumps(fields)))
        recipe = self.recipes[key]
        return recipe.spec.model_copy(update={"seed": seed}), recipe


def _unreadable(folder: SuiteFolder, run_id: str, reason: str) -> Problem:
    return Problem(f"{folder.suite}/{run_id}", (), reason, (run_id,))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
