"""Suites that train in a second, and what two runs must share to be the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import yaml

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.suite import load_suite

DIGITS = {"name": "digits", "imbalance_factor": 50, "test_per_class": 50, "many_above": 50, "few_below": 10}
PATIENCE_SECONDS = 600


def task(**changes: Any) -> dict[str, Any]:
    """A column of handwritten digits."""
    model = {"name": "classifier", "backbone": "resnet8", "width": 4}
    return {"name": "digits", "task": "classification", "model": model, "data": dict(DIGITS), **changes}


def suite(**changes: Any) -> dict[str, Any]:
    """Two runs of two epochs of 11 iterations, a checkpoint every third iteration."""
    data: dict[str, Any] = {
        "name": "small",
        "tasks": [task()],
        "losses": ["cross_entropy", "softmax_eql"],
        "seeds": [0],
        "train": {"epochs": 2, "batch_size": 32, "deterministic": True},
        "resources": {"cpus_per_worker": 0.25, "record_every": 3, "checkpoint_minutes": 0},
    }
    return {**data, **changes}


def write(file: Path, data: Any) -> Path:
    """A suite file; the losses of `faulty_losses` beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    shutil.copy(Path(__file__).with_name("faulty_losses.py"), file.parent)
    return file


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """What `condition` returns, once that is true."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.05)
    return answer


def assert_equal_bit_for_bit(run: RunFolder, other: RunFolder) -> None:
    """Metrics, weights, optimizer, gradient statistics and records of two runs, times left out."""
    assert_equal_trees(outcome(run), outcome(other), "outcome")
    for ours, theirs in zip(records(run), records(other), strict=True):
        assert_equal_trees(ours, theirs, f"record {ours[0]}")
    for part in ("gradients", "evaluation"):
        files = [sorted((folder.path / part).glob("*.parquet")) for folder in (run, other)]
        assert [file.name for file in files[0]] == [file.name for file in files[1]] != [], part
        for a, b in zip(*files, strict=True):
            assert pq.read_table(a).equals(pq.read_table(b)), f"{part}/{a.name}"
    assert run.newest_checkpoint == other.newest_checkpoint == run.read_spec().budget.iterations, "newest checkpoint"
    assert_equal_trees(*(last_state(folder) for folder in (run, other)), "state")


def outcome(run: RunFolder) -> dict[str, Any]:
    """The parts of a result that do not depend on when and where it was measured."""
    result = run.read_result() or {}
    return {key: result.get(key) for key in ("status", "metrics", "budget", "main_metric", "skipped_steps")}


def records(run: RunFolder) -> list[tuple[int, int, dict[str, float]]]:
    """Every record with the metrics that training decides."""
    kept = ("train/loss", "train/lr", "val/", "gradient/")
    return [
        (event["iteration"], event["samples"], {k: v for k, v in event["metrics"].items() if k.startswith(kept)})
        for event in run.read_events()
    ]


def last_state(run: RunFolder) -> dict[str, Any]:
    """The newest checkpoint's content, without the time that training took."""
    state: dict[str, Any] = torch.load(run.checkpoints / f"{run.newest_checkpoint:09d}" / "state.pt", weights_only=True)
    return {key: value for key, value in state.items() if key != "elapsed"}


def assert_equal_trees(tree: Any, other: Any, path: str = "") -> None:
    """Nested mappings and lists of tensors and plain values, exactly equal."""
    assert type(tree) is type(other), path
    if isinstance(tree, dict):
        assert tree.keys() == other.keys(), path
        for key in tree:
            assert_equal_trees(tree[key], other[key], f"{path}.{key}")
    elif isinstance(tree, list | tuple):
        assert len(tree) == len(other), path
        for index, (a, b) in enumerate(zip(tree, other, strict=True)):
            assert_equal_trees(a, b, f"{path}[{index}]")
    elif isinstance(tree, torch.Tensor):
        assert torch.equal(tree, other), path
    else:
        assert tree == other, f"{path}: {tree!r} and {other!r}"


def planned(folder: Path, **changes: Any) -> SuiteFolder:
    """The folder of a suite whose runs are all still to be done."""
    loaded = load_suite(write(folder / "small.yaml", suite(**changes)))
    planned = SuiteFolder(folder / "runs", loaded.name)
    planned.create()
    planned.write_plan(loaded.expand(), loaded.text)
    return planned
