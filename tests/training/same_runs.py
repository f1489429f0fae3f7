"""What two runs must share to be the same."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from eqbench.checkpoint import Checkpoints
from eqbench.run_folder import RunFolder


def events(run: RunFolder) -> list[tuple[int, int, dict[str, float]]]:
    """Everything recorded but times, speed and load."""
    passing = ("system/", "train/samples_per_second")
    return [
        (
            event["iteration"],
            event["samples"],
            {key: value for key, value in event["metrics"].items() if not key.startswith(passing)},
        )
        for event in run.read_events()
    ]


def last_state(run: RunFolder) -> dict[str, Any]:
    """The newest checkpoint, without the seconds it took."""
    iteration, state, damaged = Checkpoints(run.checkpoints).load_newest()
    assert not damaged
    assert iteration == run.newest_checkpoint
    state.pop("elapsed")
    return state


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Where two trees of tensors and plain values are not equal bit for bit."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return [] if left.dtype == right.dtype and torch.equal(left, right) else [where]
    if isinstance(left, dict) and isinstance(right, dict) and list(left) == list(right):
        return [found for key in left for found in differences(left[key], right[key], f"{where}.{key}")]
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [found for at, (one, other) in pairs for found in differences(one, other, f"{where}.{at}")]
    return [] if left == right else [f"{where}: {left!r} != {right!r}"]


def assert_same_run(run: RunFolder, reference: RunFolder) -> None:
    """Results, weights, optimizer, statistics, events and tables are equal bit for bit."""
    result, expected = run.read_result(), reference.read_result()
    assert result is not None
    assert expected is not None
    for key in ("status", "metrics", "budget", "skipped_steps"):
        assert result[key] == expected[key]
    assert differences(last_state(run), last_state(reference)) == []
    assert events(run) == events(reference)
    for folder in ("gradients", "evaluation"):
        tables, others = ((each.path / folder).glob("*.parquet") for each in (run, reference))
        files = {file.name: file for file in tables}
        expected_files = {file.name: file for file in others}
        assert sorted(files) == sorted(expected_files)
        for name, file in files.items():
            assert pq.read_table(file).equals(pq.read_table(expected_files[name])), name
