"""What Ray costs per training step: a run inside Ray Train against the same loop in plain processes.

Both are in progress at the same time, but only one moves: they are stopped (SIGSTOP, the daemons of Ray too) and
continued in turn, every few seconds. So what else happens on the machine slows both alike.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.suite import Suite, load_suite
from tests.benchmarks.processes import ProcessTree
from tests.benchmarks.report import Series, Table, progress
from tests.benchmarks.runs import plan, start_without_ray

WORKERS = (1, 2)
TURNS = 10
TURN_SECONDS = 3.0
SETTLING_SECONDS = 0.5
RECORDS_OF_WARM_UP = 2
RECORD_EVERY = 5
SAMPLES_PER_WORKER = 8
STEPS = 20_000
"""More than are ever made: the runs are ended when they have been timed."""
SUITE = f"""
name: steps
tasks:
  - name: noise
    task: classification
    model: {{name: classifier, backbone: resnet20}}
    data: {{name: "tests.benchmarks.random_images:RandomImages", num_images: 1}}
losses: [softmax_eql]
seeds: [0]
train: {{epochs: 1, batch_size: 1}}
resources: {{record_every: {RECORD_EVERY}}}
"""


@dataclass
class Turns:
    """Milliseconds per step of each turn, in turn order, and what ran beside the workers in Ray."""

    plain: list[float] = field(default_factory=list)
    ray: list[float] = field(default_factory=list)
    background: float = 0.0

    @property
    def more(self) -> list[float]:
        """By how many percent a step took longer in Ray than in the turns without it before and after."""
        around = [(before + after) / 2 for before, after in zip(self.plain[:-1], self.plain[1:], strict=True)]
        return [100 * (ray / plain - 1) for ray, plain in zip(self.ray, around, strict=True)]


def measure(scratch: Path) -> Iterator[Table]:
    """Time 1 and 2 workers."""
    table = Table(
        "Step time in Ray",
        f"ResNet-20, `softmax_eql` with 100 classes, {SAMPLES_PER_WORKER} images of 3 × 32 × 32 per worker, one "
        f"thread per worker, gloo. Median and range of {TURNS} turns of {TURN_SECONDS:g} s; all that eqbench starts, "
        "Ray and MLflow included, is on the same cores as the workers. *More*: each turn in Ray against the mean of "
        "the turns without before and after it. *Background*: processor time of all processes but the workers.",
        ("workers", "without Ray, ms", "in Ray Train, ms", "more, %", "background, % of a core"),
    )
    for workers in WORKERS:
        progress(f"step_time: {workers} worker(s)")
        turns = _take_turns(scratch / str(workers), workers)
        row = (workers, Series(turns.plain), Series(turns.ray), Series(turns.more), f"{turns.background:.1f}")
        table.rows.append(row)
    yield table


def _take_turns(folder: Path, workers: int) -> Turns:
    suite = _suite(folder, workers)
    (plain,) = plan(suite, folder / "plain")
    in_ray = SuiteFolder(folder / "ray", suite.name).run(plain.run_id)
    plain_tree = ProcessTree(start_without_ray(plain))
    try:
        ray_tree = ProcessTree([_start_in_ray(suite, folder)])
        try:
            _wait_for_warm_up([plain_tree, ray_tree], [plain, in_ray])
            return _alternate(plain_tree, ray_tree, plain, in_ray)
        finally:
            ray_tree.end()
    finally:
        plain_tree.end()


def _alternate(plain_tree: ProcessTree, ray_tree: ProcessTree, plain: RunFolder, in_ray: RunFolder) -> Turns:
    turns = Turns()
    ray_tree.pause()
    before = ray_tree.background_seconds()
    turns.plain.append(_turn(plain_tree, plain, running=True))
    seconds = 0.0
    for _ in range(TURNS):
        since = time.monotonic()
        turns.ray.append(_turn(ray_tree, in_ray))
        seconds += time.monotonic() - since
        turns.plain.append(_turn(plain_tree, plain))
    turns.background = 100 * (ray_tree.background_seconds() - before) / seconds
    return turns


def _turn(tree: ProcessTree, run: RunFolder, running: bool = False) -> float:
    """Let `tree` run for a while; returns its milliseconds per step."""
    if not running:
        tree.resume()
    time.sleep(SETTLING_SECONDS)
    since = 1000 * time.time()
    time.sleep(TURN_SECONDS)
    tree.pause()
    tree.check()
    times = [
        (event["time_ms"], event["iteration"])
        for event in run.read_events(newest_bytes=65536)
        if event["time_ms"] >= since
    ]
    if len(times) < 2:
        raise RuntimeError(f"{run.path}: fewer than {2 * RECORD_EVERY} steps in {TURN_SECONDS:g} s are too few to time")
    (start, first), (end, last) = times[0], times[-1]
    return float((end - start) / (last - first))


def _wait_for_warm_up(trees: list[ProcessTree], runs: list[RunFolder]) -> None:
    while any(len(run.read_events()) < RECORDS_OF_WARM_UP for run in runs):
        for tree in trees:
            tree.check()
        time.sleep(0.5)


def _suite(folder: Path, workers: int) -> Suite:
    folder.mkdir(parents=True)
    file = folder / "steps.yaml"
    file.write_text(SUITE)
    return load_suite(file, _overrides(workers))


def _overrides(workers: int) -> list[str]:
    batch_size = SAMPLES_PER_WORKER * workers
    return [
        f"resources.num_workers={workers}",
        f"train.batch_size={batch_size}",
        f"tasks.noise.data.num_images={batch_size * STEPS}",
    ]


def _start_in_ray(suite: Suite, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "eqbench.cli", "run", str(suite.file), "--storage", str(folder / "ray")]
    for override in _overrides(suite.expand()[0].resources.num_workers):
        command += ["-o", override]
    with (folder / "ray.txt").open("w") as output:
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True)
