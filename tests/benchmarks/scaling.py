"""What a second concurrent run brings on two cores, and what the driver costs that has 200 runs waiting."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from eqbench.run_folder import SuiteFolder
from tests import small_suites
from tests.benchmarks.processes import ProcessTree
from tests.benchmarks.report import Table, progress
from tests.benchmarks.soak_cluster import TRIAL

RUNS = 8
EPOCHS = 110
AIM = 1.7
QUEUED = 200
MEASURED = 10
SECONDS_BETWEEN_LOOKS = 0.5
PATIENCE_SECONDS = 900
DAEMONS = ("raylet", "gcs_server", "log_monitor", "dashboard", "runtime_env", "DashboardAgent", "RuntimeEnvAgent")


def measure(scratch: Path) -> Iterator[Table]:
    yield concurrency(scratch / "concurrency")
    yield queue(scratch / "queue")


# -- one and two at once -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Seconds of one `eqbench run`."""

    before: float
    """Until the first run has started."""
    busy: float
    """From the first start to the last end."""
    work: float
    """Training and evaluation of all runs, by their own clocks."""


def concurrency(scratch: Path) -> Table:
    """The same suite one run after the other, and two at once."""
    times = {}
    for at_once, cpus in ((1, 2), (2, 1)):
        progress(f"scaling: {RUNS} runs, {at_once} at once")
        times[at_once] = _suite(scratch / f"{at_once}", cpus)
    alone, two = times[1], times[2]
    table = Table(
        f"{RUNS} runs, one and two at once",
        f"ResNet-8 of width 16 on the digits, {EPOCHS} epochs, one thread per process, MLflow on SQLite, 2 cores; each "
        "run is a worker group of Ray Train that asks for both cores, or for one. *All runs*: from the first start to "
        f"the last end. Aim: at least {AIM} × as many runs per hour. Seconds; one measurement.",
        ("", "one at once", "two at once", "one over two"),
    )
    for name in ("before", "busy", "work"):
        title = {
            "before": "before: imports, suite checked, Ray started",
            "busy": "**all runs**",
            "work": "training and evaluation of a run, mean",
        }[name]
        share = RUNS if name == "work" else 1
        first, second = getattr(alone, name) / share, getattr(two, name) / share
        table.rows.append((title, f"{first:.1f}", f"{second:.1f}", f"{first / second:.2f} ×"))
    reached = alone.busy / two.busy >= AIM
    table.rows.append((f"aim: {AIM} × for all runs", "", "", "yes" if reached else "**no**"))
    return table


def _suite(folder: Path, cpus: int) -> Times:
    model = {"name": "classifier", "backbone": "resnet8", "width": 16}
    suite = small_suites.suite(
        name="scaling",
        tasks=[small_suites.task(model=model)],
        losses=["softmax_eql"],
        seeds=list(range(RUNS)),
        train={"epochs": EPOCHS, "batch_size": 32, "evaluate_every_epochs": EPOCHS},
        resources={"cpus_per_worker": cpus},
    )
    small_suites.write(folder / "scaling.yaml", suite)
    command = [sys.executable, "-m", "eqbench.cli", "run", "scaling.yaml", "--storage", "runs"]
    started = time.time()
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    runs = SuiteFolder(folder / "runs", "scaling").runs()
    results = [run.read_result() or {} for run in runs]
    starts = [float(json.loads(run.state_file.read_text())["started"]) for run in runs]
    ends = [float(result["finished_at"]) for result in results]
    work = [float(result["cost"]["train_seconds"] + result["cost"]["evaluate_seconds"]) for result in results]
    return Times(min(starts) - started, max(ends) - min(starts), sum(work))


# -- the driver's own cost ---------------------------------------------------------------------------------------


@dataclass
class Cost:
    """Of some processes: processor seconds between two looks, and the most memory they had."""

    seconds: float = 0.0
    peak: int = 0
    last: dict[int, float] = field(default_factory=dict)
    looked: bool = False

    def look(self, processes: list[psutil.Process]) -> None:
        """Processes that have started since count from their start; those that have ended, until the last look."""
        memory = 0
        for process in processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                now = times.user + times.system
                self.seconds += now - self.last.get(process.pid, 0.0 if self.looked else now)
                self.last[process.pid] = now
                memory += process.memory_full_info().pss
        self.peak = max(self.peak, memory)
        self.looked = True


def queue(scratch: Path) -> Table:
    """A suite of many runs, watched from its first start until some have finished."""
    progress(f"scaling: {QUEUED} runs in the queue")
    shutil.rmtree(scratch, ignore_errors=True)
    task = small_suites.task(model={"name": "classifier", "backbone": "resnet8", "width": 4})
    suite = small_suites.suite(
        name="queue", tasks=[task], losses=["cross_entropy", "softmax_eql"], seeds=list(range(QUEUED // 2))
    )
    suite["train"] = {"epochs": 10, "batch_size": 32}
    suite["resources"] = {"cpus_per_worker": 1}
    small_suites.write(scratch / "queue.yaml", suite)
    command = [sys.executable, "-m", "eqbench.cli", "run", "queue.yaml", "--storage", "runs"]
    with (scratch / "log").open("w") as log:
        program = subprocess.Popen(command, cwd=scratch, env=os.environ, stdout=log, stderr=log, text=True)
    tree = ProcessTree([program])
    try:
        costs, seconds, started, finished = _watch(program, SuiteFolder(scratch / "runs", "queue"))
    except RuntimeError as error:
        raise RuntimeError(f"{error}: {(scratch / 'log').read_text()}") from error
    finally:
        tree.end()
    table = Table(
        f"The driver of {QUEUED} runs",
        f"{QUEUED} short runs, 2 at once on 2 cores, MLflow on SQLite; from the first start until {finished} had "
        f"finished, {seconds:.0f} s; then stopped. The other runs wait. From the start of the process to the first "
        f"run: {started:.0f} s. Peak memory is proportional (PSS), of all processes of a row together.",
        ("processes", "processor seconds per minute", "share of the 2 cores", "peak memory, MiB"),
    )
    for name, cost in costs.items():
        per_minute = 60 * cost.seconds / seconds
        table.rows.append((name, f"{per_minute:.1f}", f"{per_minute / 1.2:.1f} %", f"{cost.peak / 2**20:.0f}"))
    return table


def _watch(program: Any, suite: SuiteFolder) -> tuple[dict[str, Cost], float, float, int]:
    """What each kind of process took, over how many seconds, the seconds before that, and how many runs finished."""
    costs = {"the driver: queue, records, MLflow, console": Cost(), "trials' processes": Cost(), "Ray's own": Cost()}
    begun = time.monotonic()
    first = 0.0
    while time.monotonic() - begun < PATIENCE_SECONDS:
        if program.poll() is not None:
            raise RuntimeError(f"ended early with exit code {program.returncode}")
        runs = suite.runs()
        if not first and any(run.attempts for run in runs):
            first = time.monotonic()
        if first:
            root = psutil.Process(program.pid)
            children = root.children(recursive=True)
            trials = [child for child in children if _command(child).startswith(TRIAL)]
            ray = [child for child in children if any(name in _command(child) for name in DAEMONS)]
            for cost, processes in zip(costs.values(), ([root], trials, ray), strict=True):
                cost.look(processes)
            finished = sum(run.result_file.exists() for run in runs)
            if finished >= MEASURED:
                return costs, time.monotonic() - first, first - begun, finished
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise RuntimeError(f"not within {PATIENCE_SECONDS} s")


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
