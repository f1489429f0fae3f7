"""What a sweep adds to the work of its trials: many of a second each, in processes that take one after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import yaml

from eqbench.run_folder import RunFolder
from eqbench.suite import find_suite
from eqbench.sweep.folder import SweepFolder
from tests.benchmarks.report import Table, progress

TRIALS = 50
EPOCHS = 9
GROUP_TRIALS = 6
CORES = 2


@dataclass(frozen=True)
class Times:
    """Seconds of one sweep. `inside` and `work` are sums over its runs: in their process; training or evaluating."""

    before: float
    busy: float
    after: float
    inside: float
    work: float
    runs: int
    at_once: int

    @property
    def overhead(self) -> float:
        """Per trial, beyond its own work, of one of the processes that run at once."""
        return (self.busy * self.at_once - self.work) / self.runs


def measure(scratch: Path) -> Iterator[Table]:
    progress(f"sweep_overhead: {TRIALS} trials")
    reused = _sweep(scratch / "reused", TRIALS, workers=1)
    progress(f"sweep_overhead: {GROUP_TRIALS} trials with worker groups")
    groups = _sweep(scratch / "groups", GROUP_TRIALS, workers=2)
    table = Table(
        f"A sweep of {TRIALS} trials of about a second each",
        f"suites/sweeps/quickstart.yaml with {EPOCHS} epochs, random search, no scheduler, MLflow on SQLite, {CORES} "
        f"cores, two trials at once. Beside it {GROUP_TRIALS} trials of two workers each, worker groups of Ray Train, "
        "one at once. *Own work*: training and evaluation by the run's own clock. Seconds; one measurement.",
        ("", f"{TRIALS} trials, one process after another", f"{GROUP_TRIALS} trials, worker groups"),
    )
    rows = {
        "whole call": lambda t: t.before + t.busy + t.after,
        "before the first trial: imports, sweep checked, Ray started": lambda t: t.before,
        "after the last: plots, MLflow, Ray ended": lambda t: t.after,
        "own work per trial": lambda t: t.work / t.runs,
        "**overhead per trial**": lambda t: t.overhead,
        "of it in the run's process: data, model, records, checkpoints": lambda t: (t.inside - t.work) / t.runs,
        "of it between runs: figures, proposal, Ray, start of processes": lambda t: (
            (t.busy * t.at_once - t.inside) / t.runs
        ),
    }
    for name, value in rows.items():
        table.rows.append((name, f"{value(reused):.2f}", f"{value(groups):.2f}"))
    yield table


def _sweep(folder: Path, trials: int, workers: int) -> Times:
    folder.mkdir(parents=True)
    data = yaml.safe_load(find_suite("quickstart").with_name("sweeps").joinpath("quickstart.yaml").read_text())
    data["train"] |= {"epochs": EPOCHS, "evaluate_every_epochs": EPOCHS}
    data["resources"] = {"num_workers": workers, "cpus_per_worker": 1}
    data["sweep"] |= {"trials": trials, "search": "random", "scheduler": "none"}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(data))
    command = [sys.executable, "-m", "eqbench.cli", "sweep", "sweep.yaml", "--storage", "runs"]
    started = time.time()
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return _times(SweepFolder(folder / "runs", "quickstart").runs(), started, ended, CORES // workers)


def _times(runs: list[RunFolder], started: float, ended: float, at_once: int) -> Times:
    results = [run.read_result() or {} for run in runs]
    starts = [float(json.loads(run.state_file.read_text())["started"]) for run in runs]
    ends = [float(result["finished_at"]) for result in results]
    work = [float(result["cost"]["train_seconds"] + result["cost"]["evaluate_seconds"]) for result in results]
    return Times(
        before=min(starts) - started,
        busy=max(ends) - min(starts),
        after=ended - max(ends),
        inside=mean(end - start for start, end in zip(starts, ends, strict=True)) * len(runs),
        work=sum(work),
        runs=len(runs),
        at_once=at_once,
    )
