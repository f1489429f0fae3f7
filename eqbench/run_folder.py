"""The folder of one run and of one suite: the only place that knows which file is where.

    <storage>/<suite>/                 SuiteFolder
        plan.json                      the runs of the last `eqbench run`, in the suite's order
        suite.yaml                     the suite as it was given
        .lock                          held while a driver works on the suite
        <run_id>/                      RunFolder
            run.yaml                   the RunSpec
            state.json                 the attempt under way: number, start
            events.jsonl               one line per record: iteration, samples, time, metrics
            gradients/<iteration>.parquet
            evaluation/*.parquet       per_class; predictions: what was found in each image; confusion
            plots/*.png, samples/*.png
            checkpoints/<iteration>/
            result.json                written last; a run with it has ended
            tags.json                  more tags for MLflow, if there are any

What a run measured is written here first; everything else (MLflow, leaderboard, live table) reads it from here.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from eqbench import file_lock, stored_json
from eqbench.errors import EnvironmentProblem
from eqbench.run_spec import RunSpec
from eqbench.storage import driver_elsewhere, fetch_plans, refuse_driver_elsewhere

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with libyaml


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new one."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.spec_file = self.path / "run.yaml"
        self.state_file = self.path / "state.json"
        self.events_file = self.path / "events.jsonl"
        self.gradients = self.path / "gradients"
        self.evaluation = self.path / "evaluation"
        self.plots = self.path / "plots"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.result_file = self.path / "result.json"
        self.error_file = self.path / "error.txt"

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def newest_checkpoint(self) -> int:
        """Iteration of the newest checkpoint, here or behind the storage's URI; 0 without one."""
        names = [path.name.removeprefix("mirrored.") for path in self.checkpoints.glob("*")]
        return max((int(name) for name in names if name.isdecimal()), default=0)

    # -- specification -------------------------------------------------------------------------------------------

    def write_spec(self, spec: RunSpec) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(self.spec_file, text)

    def read_spec(self) -> RunSpec:
        """As run.yaml says; where that is gone, as the result says."""
        try:
            fields = yaml.load(self.spec_file.read_text(), LOADER)
        except FileNotFoundError:
            fields = (self.read_result() or {}).get("spec")
            if fields is None:
                raise
        return RunSpec.model_validate_json(json.dumps(fields))

    # -- events --------------------------------------------------------------------------------------------------

    def append_event(self, iteration: int, samples: int, metrics: Mapping[str, float]) -> None:
        """Add one record, on a line of its own also where a crash has cut off the line before; it is on disk then.

        Raises:
            OSError: it could not be written completely.
        """
        now = time.time_ns() // 1_000_000
        event = {"iteration": iteration, "samples": samples, "time_ms": now, "metrics": dict(metrics)}
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        try:
            with self.events_file.open("a+b") as file:
                if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(self.events_file)
            raise

    def read_events(self, newest_bytes: int | None = None) -> list[dict[str, Any]]:
        """Complete records, oldest first, of the whole file or its end. A line cut off by a crash is left out."""
        if not self.events_file.exists():
            return []
        with self.events_file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = 0 if newest_bytes is None else max(0, size - newest_bytes)
            file.seek(start)
            lines = file.read().split(b"\n")
        return [event for line in lines[start > 0 :] if (event := _parsed(line)) is not None]

    def rewind_to(self, iteration: int, *, evaluated: bool = True) -> None:
        """Forget what was recorded after `iteration`: training goes on from there and records it again.

        So is an evaluation at `iteration` itself unless it is known to be done (`evaluated`).
        """
        last = iteration, evaluated
        kept = [event for event in self.read_events() if (event["iteration"], is_evaluation(event)) <= last]
        if self.events_file.exists():
            write_atomically(self.events_file, "".join(json.dumps(event) + "\n" for event in kept))
        for part in self.gradients.glob("*.parquet"):
            if int(part.stem) > iteration:
                part.unlink()

    @contextlib.contextmanager
    def exclusively(self, patience: float = 60.0) -> Iterator[None]:
        """Hold the folder for writing, after a process of an earlier attempt that may still be ending.

        Raises:
            EnvironmentProblem: another process still holds it after `patience` seconds.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with file_lock.hold(self.path / ".lock", patience) as held:
            if held is None:
                raise EnvironmentProblem(f"{self.path}: another process has been training this run")
            yield

    # -- state and result ----------------------------------------------------------------------------------------

    def start_attempt(self) -> int:
        """Count one more start of this run and forget how the last one ended; returns its number, from 1."""
        attempt = self.attempts + 1
        self.result_file.unlink(missing_ok=True)
        self.error_file.unlink(missing_ok=True)
        write_atomically(self.state_file, json.dumps({"attempt": attempt, "started": time.time()}))
        return attempt

    @property
    def attempts(self) -> int:
        return stored_json.read_attempts(self.state_file)

    def write_result(self, result: Mapping[str, Any]) -> None:
        text = json.dumps({"schema_version": stored_json.RESULT_VERSION, **result}, indent=1, allow_nan=False)
        write_atomically(self.result_file, text + "\n")

    def read_result(self) -> dict[str, Any] | None:
        """The result, or None while the run has not ended; a file that was cut off is none, so the run goes on.

        Raises:
            InputError: the file was written by a later, unknown version of the schema, or is not a result.
        """
        return stored_json.read_result(self.result_file, cut_off_is_none=True)

    def intact_result(self) -> dict[str, Any] | None:
        """As `read_result`, but InputError for a file that was cut off: it is not taken for a run under way."""
        return stored_json.read_result(self.result_file)

    @property
    def finished(self) -> bool:
        return (self.read_result() or {}).get("status") == "finished"


class SuiteFolder:
    """All runs of one suite under a storage folder."""

    def __init__(self, storage: Path, suite: str) -> None:
        self.path = Path(storage).expanduser().absolute() / suite
        self.suite = suite
        self.plan_file = self.path / "plan.json"
        self.suite_file = self.path / "suite.yaml"
        self.lock_file = self.path / ".lock"

    def create(self) -> None:
        """Make the folder.

        Raises:
            EnvironmentProblem: it cannot be created or written.
        """
        probe = self.path / f".write-test-{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.path}: cannot be written ({error.strerror}); choose another folder with --storage"
            ) from error

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.path / stored_json.checked_run_id(run_id, self.path))

    def runs(self) -> list[RunFolder]:
        """Every run that was ever planned here, by run id; a result alone tells of one too."""
        found = map(RunFolder, sorted(self.path.glob("*")))
        return [run for run in found if run.spec_file.exists() or run.result_file.exists()]

    def write_plan(self, specs: list[RunSpec], suite_text: str, left_out: Mapping[str, str] | None = None) -> None:
        """Write their order, the reasons of those that are `left_out`, and every run that has not finished."""
        for spec in specs:
            run = self.run(spec.run_id)
            if not run.finished:
                run.write_spec(spec)
        write_atomically(self.suite_file, suite_text)
        plan = {"suite": self.suite, "run_ids": [spec.run_id for spec in specs], "left_out": dict(left_out or {})}
        write_atomically(self.plan_file, json.dumps(plan, indent=1) + "\n")

    def read_plan(self) -> list[str]:
        """Run ids of the last `eqbench run`, in the suite's order; InputError where the file is damaged."""
        return list(stored_json.read_plan(self.plan_file).run_ids)

    def left_out(self) -> Mapping[str, str]:
        """The runs of the plan that the last `eqbench run` was told to leave out, each with the option."""
        return stored_json.read_plan(self.plan_file).left_out

    def planned(self) -> list[RunFolder]:
        """The runs of the plan first, in its order, then those of earlier plans."""
        order = {run_id: position for position, run_id in enumerate(self.read_plan())}
        return sorted(self.runs(), key=lambda run: (order.get(run.run_id, len(order)), run.run_id))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the suite: one driver at a time works on it.

        Raises:
            EnvironmentProblem: another process holds it.
        """
        with file_lock.hold(self.lock_file, patience=1.0) as file:  # who only looks at the lock has it for an instant
            if file is None:
                holder = self.lock_file.read_text().strip() or "unknown"
                raise EnvironmentProblem(f"{self.path}: another eqbench process ({holder}) works on this suite")
            refuse_driver_elsewhere(self.path)
            file.truncate(0)
            file.write(f"pid {os.getpid()}")
            file.flush()
            yield

    @property
    def locked(self) -> bool:
        """Whether a living driver works on this suite."""
        return file_lock.is_held(self.lock_file) or bool(driver_elsewhere(self.path))


def is_evaluation(event: Mapping[str, Any]) -> bool:
    """Whether an event holds the numbers of an evaluation."""
    return any(name.startswith("val/") for name in event["metrics"])


def last_event(run: RunFolder) -> dict[str, Any] | None:
    """The latest values of all metrics recorded lately, in one event; None before the first record."""
    latest: dict[str, Any] = {}
    for event in run.read_events(newest_bytes=65536):
        latest = {**event, "metrics": latest.get("metrics", {}) | event["metrics"]}
    return latest or None


def suites_in(storage: Path) -> list[SuiteFolder]:
    """Every suite and sweep (`<name>/sweeps`) that has been run into `storage`."""
    storage = Path(storage).expanduser()
    fetch_plans(storage)
    plans = sorted(plan for at in ("*", "*/sweeps") for plan in storage.glob(f"{at}/plan.json"))
    return [SuiteFolder(storage, plan.parent.relative_to(storage).as_posix()) for plan in plans]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"iteration", "metrics"} <= event.keys() else None
