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


@dataclass(frozen=True)
class Record:
    """One run: what it is, and its result if it has ended. `planned`: the last `eqbench run` asked for it."""

    suite: str
    spec: RunSpec
    result: Mapping[str, Any] | None
    planned: bool
    attempts: int = 0

    @property
    def seed(self) -> int:
        return self.spec.seed

    @property
    def finished(self) -> bool:
        return self.result is not None and self.result["status"] == "finished"

    @property
    def reason(self) -> str:
        """Why there is no number; empty for a finished run."""
        if self.result is None:
            return "started, not finished" if self.attempts else "not run yet"
        if self.finished:
            return ""
        detail = " ".join(str(self.result.get("status_detail") or "").split())
        return f"{self.result['status']}: {detail}" if detail else str(self.result["status"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the reported numbers, main one first; none unless finished."""
        if not self.finished or self.result is None:
            return ()
        main = self.result["main_metric"]
        return (main, *(name for name in self.result["metrics"] if name != main))

    def number(self, section: str, name: str) -> float:
        """`result[section][name]` of a finished run; NaN where it does not exist."""
        value = self.result.get(section, {}).get(name) if self.finished and self.result else None
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """`RunSpec.recipe`, flattened."""
        return flatten(self.spec.recipe)


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
        reason = str(error).partition("\n")[0]
        raise InputError(f"{run.spec_file}: cannot be read as a run ({reason})") from error


def read(folders: Sequence[SuiteFolder]) -> tuple[list[Record], list[Problem]]:
    """The runs of every folder: those of the plan in its order, then the finished ones of earlier plans.

    Returns:
        The runs, and what could not be read.

    Raises:
        InputError: a suite has no runs, or a result was written by an unknown version of the schema.
    """
    records: list[Record] = []
    unreadable: list[Problem] = []
    for folder in folders:
        plan = dict.fromkeys(folder.read_plan())
        present = folder.planned()
        if not plan and not present:
            known = [other.suite for other in suites_in(folder.path.parent)]
            raise InputError(f"{folder.path}: suite {folder.suite!r} has no runs here{nearest(folder.suite, known)}")
        absent = plan.keys() - {run.run_id for run in present}
        unreadable += [_unreadable(folder, run_id, "run.yaml is missing") for run_id in plan if run_id in absent]
        for run in present:
            record = _read_run(folder, run, planned=run.run_id in plan)
            if isinstance(record, Problem):
                unreadable.append(record)
            elif record.planned or record.finished:
                records.append(record)
    return records, unreadable


def _read_run(folder: SuiteFolder, run: RunFolder, *, planned: bool) -> Record | Problem:
    try:
        spec = read_spec(run)
    except InputError as error:
        return _unreadable(folder, run.run_id, str(error))
    return Record(folder.suite, spec, run.read_result(), planned, run.attempts)


def _unreadable(folder: SuiteFolder, run_id: str, reason: str) -> Problem:
    return Problem(f"{folder.suite}/{run_id}", (), reason, (run_id,))
