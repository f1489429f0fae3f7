"""Runs for the benchmarks: planned from a suite, and trained without Ray."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.suite import Suite

SLOWEST_RUN_SECONDS = 300


def plan(suite: Suite, storage: Path, seeds: Sequence[int] | None = None) -> list[RunFolder]:
    """Write what `eqbench run` would before it trains; returns the runs."""
    specs = suite.expand(seeds=seeds)
    folder = SuiteFolder(storage, suite.name)
    folder.create()
    folder.write_plan(specs, suite.text)
    return [folder.run(spec.run_id) for spec in specs]


def start_without_ray(run: RunFolder, stages: Path | None = None) -> list[subprocess.Popen[str]]:
    """Start to train a planned run in as many processes as it has workers; what they say goes to `<run>/plain.txt`."""
    world_size = run.read_spec().resources.num_workers
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(world_size)}
    command = [sys.executable, "-m", "tests.benchmarks.plain_worker", str(run.path)]
    if stages:
        command += ["--stages", str(stages)]
    with (run.path / "plain.txt").open("w") as output:
        return [
            subprocess.Popen(
                command,
                env={**os.environ, **rendezvous, "RANK": str(rank)},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(world_size)
        ]


def train_without_ray(run: RunFolder, stages: Path | None = None) -> None:
    """Train a planned run to its end in plain processes.

    Raises:
        RuntimeError: a process failed; with what it said.
    """
    workers = start_without_ray(run, stages)
    try:
        for worker in workers:
            if worker.wait(SLOWEST_RUN_SECONDS):
                raise RuntimeError(f"{worker.args!r}: {(run.path / 'plain.txt').read_text()}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
