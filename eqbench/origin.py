"""Weights that a run starts from: the last ones of another run, from its folder in the same storage."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.checkpoint import CheckpointError, Checkpoints
from eqbench.errors import InputError
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import Origin, RunSpec
from eqbench.storage.suite_mirror import fetch_run

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_STORAGE = Path("runs")


class OriginMissing(Exception):
    """The run to start from has not finished, or its weights are not there."""


def folder_of(origin: Origin, storage: Path) -> RunFolder:
    return SuiteFolder(storage, origin.suite).run(origin.run_id)


def load_weights(origin: Origin, storage: Path) -> dict[str, Tensor]:
    """The state of the model that `origin` was judged by, averaged weights where it has them, on the CPU.

    Raises:
        OriginMissing: it has not finished, or its last checkpoint is gone or damaged.
    """
    run = folder_of(origin, storage)
    if not run.finished:
        result = run.read_result()
        why = f"it {result['status']}: {result['status_detail']}" if result else "it has not finished"
        raise OriginMissing(f"starts from {origin.name!r} ({run.path}), but {why}")
    last = run.read_spec().budget.iterations
    try:
        state = Checkpoints(run.checkpoints).load(last)
    except CheckpointError as error:
        raise OriginMissing(f"starts from {origin.name!r}, whose last checkpoint cannot be used: {error}") from error
    if state["ema"] is None:
        weights: dict[str, Tensor] = state["model"]
        return weights
    return {key.removeprefix("module."): value for key, value in state["ema"].items() if key.startswith("module.")}


def without_origin(todo: Sequence[RunSpec], storage: Path) -> dict[str, Origin]:
    """By run id, what runs start from where that has neither finished nor is among the runs to do."""
    known = {spec.run_id for spec in todo}
    origins = {spec.run_id: spec.origin for spec in todo if spec.origin and spec.origin.run_id not in known}
    for origin in origins.values():
        fetch_run(folder_of(origin, storage).path)
    return {run_id: origin for run_id, origin in origins.items() if not folder_of(origin, storage).finished}


def check_finished(todo: Sequence[RunSpec], storage: Path) -> None:
    """Whether every run has what it starts from: finished already, or among the runs to do.

    Raises:
        InputError: one has not; says which command makes it.
    """
    for run_id, origin in without_origin(todo, storage).items():
        name = next(spec.name for spec in todo if spec.run_id == run_id)
        elsewhere = "" if storage == DEFAULT_STORAGE else f" --storage {shlex.quote(str(storage))}"
        raise InputError(
            f"{name!r} starts from {origin.name!r} ({origin.run_id}), which has not finished in "
            f"{SuiteFolder(storage, origin.suite).path}; first: {origin.command}{elsewhere}"
        )


def waves(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """The same runs, those that start from others of them after these."""
    left, done = list(specs), set[str]()
    ordered: list[list[RunSpec]] = []
    while left:
        open_ids = {spec.run_id for spec in left}
        ready = [spec for spec in left if spec.origin is None or spec.origin.run_id not in open_ids]
        ordered.append(ready)
        done |= {spec.run_id for spec in ready}
        left = [spec for spec in left if spec.run_id not in done]
    return ordered
