"""What became of the soak test's runs: beside the same runs undisturbed, and beside what MLflow has."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.trial import train_and_record
from tests import small_suites
from tests.benchmarks.counted_steps import FOLDER


def train_undisturbed(specs: Sequence[RunSpec], folder: Path, processes: int = 2) -> dict[str, str]:
    """Train every run without Ray, in plain processes; why one failed, by run id."""
    alone = [spec for spec in specs if spec.resources.num_workers == 1]
    several = [spec for spec in specs if spec.resources.num_workers > 1]
    failures: dict[str, str] = {}
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for spec, failure in zip(alone, pool.map(train_one, alone, [folder] * len(alone)), strict=True):
            failures |= {spec.run_id: failure} if failure else {}
    for spec in several:
        number = spec.resources.num_workers
        torch.multiprocessing.spawn(train_share, args=(folder, spec, number), nprocs=number)
    return failures


def train_one(spec: RunSpec, folder: Path) -> str:
    """Train one run in this process; empty, or why it failed."""
    os.environ.pop(FOLDER, None)
    run = RunFolder(folder / spec.run_id)
    run.write_spec(spec)
    failure = train_and_record(run, torch.device("cpu"), code={})
    return failure["failure"] if failure else ""


def train_share(rank: int, folder: Path, spec: RunSpec, number: int) -> None:
    """What one of several processes does that train a run together."""
    os.environ.pop(FOLDER, None)
    run = RunFolder(folder / spec.run_id)
    if rank == 0:
        run.write_spec(spec)
    store = torch.distributed.FileStore(f"{folder}/store-{spec.run_id}", number)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=number)
    torch.distributed.barrier()
    train_and_record(run, torch.device("cpu"), code={}, first=rank == 0, alone=False)
    torch.distributed.destroy_process_group()


def differing(specs: Sequence[RunSpec], suite: SuiteFolder, undisturbed: Path) -> list[str]:
    """Names of the runs that differ from the undisturbed ones in any bit of what they measured or learned."""
    found = []
    for spec in specs:
        try:
            small_suites.assert_equal_bit_for_bit(suite.run(spec.run_id), RunFolder(undisturbed / spec.run_id))
        except (AssertionError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[:1]
            found.append(f"{spec.name} ({spec.run_id}): {type(error).__name__} {' '.join(reason)}")
    return found


def disagreements(specs: Sequence[RunSpec], suite: SuiteFolder, uri: str) -> list[str]:
    """Where MLflow differs from the runs' folders: missing, not FINISHED, another value, a step twice; what runs."""
    from eqbench.tracking.store import connect

    client = connect(uri)
    experiment = client.get_experiment_by_name(suite.suite)
    if experiment is None:
        return ["there is no experiment"]
    tracked = list(client.search_runs([experiment.experiment_id], max_results=5000))
    found = [f"{run.info.run_name} is {run.info.status}" for run in tracked if run.info.status == "RUNNING"]
    for spec in specs:
        mine = [run for run in tracked if run.data.tags.get("eqbench.run_id") == spec.run_id]
        if [run.info.status for run in mine] != ["FINISHED"]:
            found.append(f"{spec.name} has {[run.info.status for run in mine]}")
            continue
        for key, points in recorded(suite.run(spec.run_id)).items():
            history = client.get_metric_history(mine[0].info.run_id, key)
            if sorted((point.step, point.value) for point in history) != points:
                found.append(f"{spec.name}: {key} has {len(history)} points in MLflow, {len(points)} here, or others")
    return found


def recorded(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Losses and evaluations of a run as (iteration, value), by name."""
    metrics: dict[str, list[tuple[int, float]]] = {}
    for event in run.read_events():
        for key, value in event["metrics"].items():
            if key.startswith(("train/loss", "val/top1")):
                metrics.setdefault(key, []).append((event["iteration"], value))
    return {key: sorted(points) for key, points in metrics.items()}


def attempts(specs: Sequence[RunSpec], suite: SuiteFolder) -> list[int]:
    return [suite.run(spec.run_id).attempts for spec in specs]


def unfinished(specs: Sequence[RunSpec], suite: SuiteFolder) -> list[str]:
    """Runs that have not finished, each with what became of it."""
    found = []
    for spec in specs:
        result: dict[str, Any] = {}
        with contextlib.suppress(Exception):
            result = suite.run(spec.run_id).read_result() or {}
        if result.get("status") != "finished":
            found.append(f"{spec.name}: {result.get('status', 'no result')} {result.get('status_detail', '')}")
    return found


def steps(folder: Path) -> int:
    """Steps that were trained in all processes together, repeated ones included."""
    return sum(file.stat().st_size for file in folder.glob("*"))
