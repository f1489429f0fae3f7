"""The leaderboard of a storage that holds 10,000 runs: time, memory and size of every format; the frame; a start."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eqbench.recipe import Train
from eqbench.run_folder import SuiteFolder
from eqbench.run_spec import Budget, RunSpec
from tests.benchmarks.report import Series, Table, progress

TASKS, LOSSES, SEEDS = 20, 20, 25
RUNS = TASKS * LOSSES * SEEDS
METRICS = ("top1", "many", "medium", "few", "hmean", "worst")
REPEATS = 3
AIM_SECONDS = 5
MEBI = 2**20


def measure(scratch: Path) -> Iterator[Table]:
    """Every format in a process of its own, one after the other."""
    progress(f"leaderboard_size: writing {RUNS:,} runs")
    write_runs(SuiteFolder(scratch, "many_runs"))
    table = Table(
        f"The leaderboard of {RUNS:,} runs",
        f"{TASKS} tasks x {LOSSES} losses x {SEEDS} seeds, {len(METRICS)} metrics each; generated, files in the page "
        f"cache. *Whole call*: `eqbench leaderboard --format`, imports and output included; the frame: "
        f"`eqbench.leaderboard.load`. Median and range of {REPEATS} processes. Aim: at most {AIM_SECONDS} s.",
        ("format", "whole call, s", "processor time, s", "peak memory, MiB", "output, MB", "reached"),
    )
    for name in ("table", "csv", "markdown", "latex", "json", "html", "frame"):
        progress(f"leaderboard_size: {name}")
        runs = [_call(name, scratch) for _ in range(REPEATS)]
        seconds = Series([run["seconds"] for run in runs])
        table.rows.append(
            (
                name,
                seconds,
                Series([run["processor"] for run in runs]),
                Series([run["peak"] / MEBI for run in runs], 0),
                f"{runs[0]['bytes'] / 1e6:.1f}" if runs[0]["bytes"] else "",
                "yes" if seconds.median <= AIM_SECONDS else "**no**",
            )
        )
    yield table


def write_runs(folder: SuiteFolder) -> None:
    """Finished runs with the results that `eqbench run` writes; their `run.yaml` is JSON, which is YAML too."""
    folder.create()
    numbers = random.Random(0)
    run_ids = []
    for task in range(TASKS):
        level = numbers.uniform(20, 80)
        for loss in range(LOSSES):
            for seed in range(SEEDS):
                spec = _spec(f"task_{task:02d}", f"loss_{loss:02d}", seed)
                run_ids.append(spec.run_id)
                metrics = {name: level + loss / 4 + numbers.gauss(0, 1) for name in METRICS}
                _write_run(folder.path / spec.run_id, spec, metrics)
    plan = {"suite": folder.suite, "run_ids": run_ids}
    folder.plan_file.write_text(json.dumps(plan))


def _spec(task: str, loss: str, seed: int) -> RunSpec:
    train = Train(epochs=90, batch_size=256)
    fields = {
        "suite": "many_runs",
        "task_label": task,
        "loss_label": loss,
        "task": {"name": "classification"},
        "task_version": 1,
        "protocol": "accuracy:last",
        "model": {"name": "classifier", "params": {"backbone": "resnet50", "head": "linear"}},
        "data": {"name": "imagenet_lt", "params": {"root": "data/imagenet", "split": task}},
        "data_digest": f"0123456789abcdef0123456789abcdef{task}",
        "loss": {"name": loss, "params": {"gamma": 12.0, "mu": 0.8, "alpha": 4.0}},
        "train": train,
        "budget": Budget.of(train, samples_per_epoch=115_846),
        "seed": seed,
    }
    return RunSpec.model_validate(fields)


def _write_run(path: Path, spec: RunSpec, metrics: dict[str, float]) -> None:
    path.mkdir()
    fields = spec.model_dump(mode="json")
    cost = {"train_seconds": 36_000.0, "evaluate_seconds": 60.0, "seconds_per_step": 0.9, "samples_per_second": 290.0}
    result = {
        "schema_version": 1,
        "run_id": spec.run_id,
        "name": spec.name,
        "attempts": 1,
        "finished_at": 1.8e9,
        "spec": fields,
        "status": "finished",
        "status_detail": "",
        "main_metric": METRICS[0],
        "metrics": metrics,
        "cost": {**cost, "peak_memory_mb": 9000.0, "num_workers": 1, "device": "cuda"},
        "environment": {
            "python": "3.11.7",
            "git_sha": "0" * 40,
            "packages": {f"package_{i}": "1.2.3" for i in range(15)},
        },
        "skipped_steps": 0,
        "warnings": [],
    }
    (path / "run.yaml").write_text(json.dumps(fields))
    (path / "state.json").write_text('{"attempt": 1, "started": 1.8e9}')
    (path / "result.json").write_text(json.dumps(result, indent=1))


def _call(name: str, storage: Path) -> dict[str, Any]:
    out = storage / f"board.{name}"
    if name == "frame":
        command = [
            sys.executable,
            "-c",
            "import eqbench, sys; eqbench.leaderboard.load('many_runs', storage=sys.argv[1])",
        ]
        command.append(str(storage))
    else:
        command = [sys.executable, "-m", "eqbench.cli", "leaderboard", "many_runs", "--storage", str(storage)]
        command += ["--format", name, "--out", str(out)]
    started = time.monotonic()
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    size = out.stat().st_size if out.exists() else 0
    processor = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "processor": processor, "peak": usage.ru_maxrss * 1024, "bytes": size}
