"""The values that a run is trained with while they change, segment by segment: `schedule.jsonl` in its folder.

A member of a population (`eqbench.sweep.population`) begins with the values of its specification, which never changes.
Each time that it goes on from another member's weights, with other values, a line is added; the last one is in force.
A run without the file is trained as its specification says.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eqbench.run_folder import RunFolder, write_atomically
from eqbench.run_spec import RunSpec

OPTIMIZER = "train.optimizer."
LOSS = "loss."
COMPARED = "compared"


@dataclass(frozen=True)
class Segment:
    """Values by path, trained with after `iteration`. `donor`: the run whose weights at `iteration` it began with."""

    iteration: int
    values: dict[str, Any]
    donor: str | None = None


def file_of(run: RunFolder) -> Path:
    return run.path / "schedule.jsonl"


def read(run: RunFolder) -> tuple[Segment, ...]:
    """Every segment, oldest first; none of a run whose values never change. What a crash has cut off is left out."""
    file = file_of(run)
    lines = file.read_bytes().split(b"\n") if file.exists() else []
    segments = []
    for line in lines:
        try:
            segments.append(Segment(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return tuple(segments)


def append(run: RunFolder, segment: Segment) -> None:
    """Begin a segment; its values are also the run's `params.json`, which MLflow gets when the run has finished."""
    segments = [*read(run), segment]
    run.path.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(each), ensure_ascii=False, allow_nan=False) + "\n" for each in segments)
    write_atomically(file_of(run), "".join(lines))
    final = {f"final.{path}": value for path, value in segment.values.items()}
    write_atomically(run.path / "params.json", json.dumps(final, ensure_ascii=False) + "\n")


def compared(run: RunFolder) -> int:
    """The iteration at which a member was last compared with the others, and all that came of it was done; 0: none."""
    file = run.path / COMPARED
    return int(file.read_text()) if file.exists() else 0


def write_compared(run: RunFolder, iteration: int) -> None:
    """Let a member that waits at `iteration` go on."""
    write_atomically(run.path / COMPARED, f"{iteration}\n")


def in_force(spec: RunSpec, run: RunFolder) -> RunSpec:
    """What is trained now: `spec` with the values of the last segment."""
    segments = read(run)
    return with_values(spec, segments[-1].values) if segments else spec


def with_values(spec: RunSpec, values: Mapping[str, Any]) -> RunSpec:
    """`spec` with other values of the loss (`loss.*`) and the optimizer (`train.optimizer.*`).

    Raises:
        ValueError: a path is of something else.
    """
    params = copy.deepcopy(spec.loss.params)
    options: dict[str, Any] = {}
    for path, value in values.items():
        if path.startswith(OPTIMIZER):
            options[path.removeprefix(OPTIMIZER)] = value
        elif path.startswith(LOSS):
            *keys, last = path.removeprefix(LOSS).split(".")
            node = params
            for key in keys:
                node = node.setdefault(key, {})
            node[last] = value
        else:
            raise ValueError(f"{path}: expected {LOSS}* or {OPTIMIZER}*, which can change while a run is trained")
    optimizer = spec.train.optimizer.model_copy(update=options)
    return spec.model_copy(
        update={
            "loss": spec.loss.model_copy(update={"params": params}),
            "train": spec.train.model_copy(update={"optimizer": optimizer}),
        }
    )


def metrics(run: RunFolder) -> dict[str, float]:
    """The numbers among the values in force, as metrics `schedule/<path>`."""
    segments = read(run)
    values = segments[-1].values if segments else {}
    return {f"schedule/{path}": float(value) for path, value in values.items() if isinstance(value, int | float)}
