"""What tracking costs: the share of an epoch that goes into events, gradient statistics and checkpoints."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.suite import load_suite
from eqbench.tracking import Tracker
from tests.benchmarks.report import Series, Table, progress
from tests.benchmarks.runs import plan, train_without_ray

REPEATS = 3
STAGES = {
    "events": "training metrics to events.jsonl",
    "statistics": "gradient statistics and per-class table to Parquet, metrics to events.jsonl",
    "checkpoint": "checkpoint, flushed to disk",
    "evaluation": "evaluation itself (500 images)",
}


def measure(scratch: Path) -> Iterator[Table]:
    """Runs of the quickstart with a clock around everything that is not a training step."""
    suite = load_suite("quickstart", ["losses=[softmax_eql]"])
    runs = plan(suite, scratch, seeds=range(REPEATS))
    epochs = []
    for number, run in enumerate(runs, 1):
        progress(f"recording: run {number} of {REPEATS}")
        stages = scratch / f"stages{number}.json"
        train_without_ray(run, stages)
        epochs.append(_per_epoch(json.loads(stages.read_text())))

    steps = runs[0].read_spec().budget.iterations_per_epoch
    table = Table(
        "What recording costs",
        f"An epoch of suites/quickstart.yaml ({steps} steps of 32 images of 8 × 8, ResNet-8), the worst case: the "
        "shorter the epoch, the larger the share. One process without Ray; the median over the epochs of a run, "
        f"then median and range of {REPEATS} runs.",
        ("part of an epoch", "ms", "share of the epoch, %"),
    )
    for stage, name in STAGES.items():
        table.rows.append(
            (
                name,
                Series([1000 * epoch[stage] for epoch in epochs], digits=2),
                Series([100 * epoch[stage] / epoch["epoch"] for epoch in epochs]),
            )
        )
    table.rows.append(("**epoch**", Series([1000 * epoch["epoch"] for epoch in epochs], digits=2), "100"))
    yield table
    yield _sending(runs, SuiteFolder(scratch, suite.name), scratch)


def _per_epoch(calls: list[tuple[str, float, float]]) -> dict[str, float]:
    """Median seconds of each stage per epoch, and of whole epochs, from one checkpoint to the next."""
    seconds = defaultdict(list)
    for stage, _, duration in calls:
        seconds[stage].append(duration)
    ends = [start + duration for stage, start, duration in calls if stage == "checkpoint"]
    seconds["epoch"] = [after - before for before, after in pairwise(ends)]
    return {stage: statistics.median(durations) for stage, durations in seconds.items()}


def _sending(runs: list[RunFolder], folder: SuiteFolder, scratch: Path) -> Table:
    """Time what the driver does for MLflow after a run, in a database that exists."""
    tracker = Tracker(f"sqlite:///{scratch}/mlflow.db", folder)
    tracker.list_runs()
    seconds = []
    for run in runs:
        start = time.perf_counter()
        if not tracker.send(run, running=False):
            raise RuntimeError(f"MLflow did not take a run: {tracker.behind}")
        seconds.append(time.perf_counter() - start)
    table = Table(
        "What MLflow costs",
        "In the driver, while the workers train; MLflow on SQLite. Median and range of "
        f"{REPEATS} runs of suites/quickstart.yaml.",
        ("", "seconds"),
    )
    table.rows.append(("send one finished run: parameters, 30 epochs of metrics, artifacts", Series(seconds, 2)))
    return table
