"""The training loop in a process of its own, with torch.distributed and without Ray.

python -m tests.benchmarks.plain_worker RUN_FOLDER [--stages STAGES.json]

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say which of how many workers this is, as torchrun sets them.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eqbench import train_loop
from eqbench.recording import Recorder
from eqbench.run_folder import RunFolder
from eqbench.trial import train_and_record

STAGES: dict[str, tuple[Any, str]] = {
    "events": (Recorder, "record"),
    "statistics": (Recorder, "evaluation"),
    "checkpoint": (train_loop, "save"),
    "evaluation": (train_loop, "evaluate"),
}
"""What is timed with `--stages`: everything of the loop that is not a training step."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--stages", type=Path, help="write [stage, start, seconds] of every call here")
    arguments = parser.parse_args()

    calls: list[tuple[str, float, float]] = []
    if arguments.stages:
        for stage, (owner, name) in STAGES.items():
            setattr(owner, name, timed(getattr(owner, name), stage, calls))
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if world_size > 1:
        torch.distributed.init_process_group("gloo")
    failure = train_and_record(
        RunFolder(arguments.run), torch.device("cpu"), code={}, first=rank == 0, alone=world_size == 1
    )
    if world_size > 1:
        torch.distributed.destroy_process_group()
    if arguments.stages:
        arguments.stages.write_text(json.dumps(calls))
    raise SystemExit(failure["traceback"] if failure else 0)


def timed(function: Callable[..., Any], stage: str, calls: list[tuple[str, float, float]]) -> Callable[..., Any]:
    """`function`, which notes its stage, start and seconds in `calls`."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            calls.append((stage, start, time.perf_counter() - start))

    return call


if __name__ == "__main__":
    main()
