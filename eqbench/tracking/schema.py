"""What MLflow is told about a run: tags, params, metrics, data set. Pure functions of what is on disk."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from eqbench.run_spec import PLACEMENT_PARAMETERS, RunSpec, digest, flatten

VERSION = "3"
"""Of what follows: runs that were sent in an earlier one are sent again by `eqbench sync`."""
MAX_METRIC_KEYS = 60
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 5000
MAX_DIGEST_LENGTH = 36
COST = (
    "seconds_per_step",
    "samples_per_second",
    "train_seconds",
    "evaluate_seconds",
    "peak_memory_mb",
    "num_workers",
)
STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
ENDED_EARLY = "the process that trained it has ended; `eqbench run` continues it"


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    time_ms: int
    step: int


def name(text: str) -> str:
    """`text` with only the characters that MLflow takes in names.

    >>> name("val/AP@0.5")
    'val/AP_0.5'
    """
    return re.sub(r"[^\w./: -]", "_", text, flags=re.ASCII)[:250]


def shorten(text: str, length: int) -> str:
    """`text`, cut to `length` characters with an ellipsis in place of the rest."""
    return text if len(text) <= length else text[: length - 1] + "…"


def params(spec: RunSpec) -> dict[str, str]:
    """The flattened identity of a run.

    MLflow refuses to change a param. Labels, resources and the place of the data may differ when a run is continued,
    so they are in the tags and in config/run.yaml instead.
    """
    identity = {key: value for key, value in spec.identity.items() if key != "version"}
    return param_values(flatten(identity))


def param_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Params as MLflow stores them."""
    return {name(key): shorten(_as_text(value), MAX_PARAM_LENGTH) for key, value in values.items()}


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def tags(
    spec: RunSpec, result: Mapping[str, Any] | None, *, running: bool, attempts: int, parent: str | None
) -> dict[str, str]:
    """The tags of a run. `parent` is the MLflow id of the parent run."""
    environment = (result or {}).get("environment") or {}
    detail = result.get("status_detail", "") if result else "" if running else ENDED_EARLY
    values = {
        "eqbench.run_id": spec.run_id,
        "eqbench.kind": "run",
        "eqbench.task": spec.task_label,
        "eqbench.task_version": spec.task_version,
        "eqbench.dataset": spec.data.name,
        "eqbench.data_digest": spec.data_digest,
        "eqbench.data_verified": (result or {}).get("data_verified"),
        "eqbench.loss": spec.loss_label,
        "eqbench.seed": spec.seed,
        "eqbench.protocol": spec.protocol,
        "eqbench.recipe": digest(spec.recipe),
        "eqbench.valid": "true" if result and result["status"] == "finished" else "false",
        "eqbench.status_detail": detail,
        "eqbench.attempts": max(attempts, 1),
        "eqbench.git_sha": environment.get("git_sha"),
        "eqbench.dirty": environment.get("dirty"),
        "mlflow.source.git.commit": environment.get("git_sha"),
        "mlflow.parentRunId": parent,
    }
    return tag_values(values)


def parent_tags(invocation_id: str, description: str, command: str, board: str = "") -> dict[str, str]:
    """The tags of a parent run; `board` is the leaderboard in Markdown, of which as many lines are kept as fit."""
    about = [part for part in (description, f"`{command}`" if command else "") if part]
    room = MAX_TAG_LENGTH - len("\n\n".join(about)) - 2
    note = "\n\n".join([*about, *filter(None, [_whole_lines(board.strip(), room)])])
    return tag_values({"eqbench.run_id": invocation_id, "eqbench.kind": "suite", "mlflow.note.content": note or None})


def _whole_lines(text: str, room: int) -> str:
    """`text` without the lines that do not fit into `room` characters, and a hint at where all of them are."""
    if len(text) <= room:
        return text
    hint = "\n\n… (the rest is in the artifact `board/leaderboard.md`)"
    return text[: max(0, room - len(hint))].rpartition("\n")[0] + hint


def tag_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow stores them; None is left out, booleans are lower case."""
    return {
        key: shorten(str(value).lower() if isinstance(value, bool) else str(value), MAX_TAG_LENGTH)
        for key, value in values.items()
        if value is not None
    }


def event_points(events: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Every finite value of every record, oldest first."""
    return [
        Point(name(key), float(value), int(event["time_ms"]), int(event["iteration"]))
        for event in events
        for key, value in event["metrics"].items()
        if value is not None and math.isfinite(value)
    ]


def cost_points(result: Mapping[str, Any]) -> list[Point]:
    """What a finished run cost, as `cost/…` at its last iteration."""
    cost = result.get("cost") or {}
    step = int((result.get("budget") or {}).get("iterations", 0))
    return [
        Point(f"cost/{key}", float(cost[key]), round(result["finished_at"] * 1000), step)
        for key in COST
        if isinstance(cost.get(key), int | float) and math.isfinite(cost[key])
    ]


def news(points: Iterable[Point], last_steps: Mapping[str, int]) -> tuple[list[Point], set[str]]:
    """The points beyond the last step that MLflow has of their key, and the keys left out because there are too many.

    A continued run records the steps after its checkpoint again, with the same values; MLflow would keep both.
    """
    steps = dict(last_steps)
    new: list[Point] = []
    left_out: set[str] = set()
    for point in points:
        if point.key not in steps and len(steps) >= _allowed(point.key, steps):
            left_out.add(point.key)
        elif point.step > steps.get(point.key, -1):
            steps[point.key] = point.step
            new.append(point)
    return new, left_out


def _allowed(key: str, present: Mapping[str, int]) -> int:
    """Keys there may be before `key` is added: room for the cost is kept free until the end."""
    if key.startswith("cost/"):
        return MAX_METRIC_KEYS
    return MAX_METRIC_KEYS - len(COST) + sum(known.startswith("cost/") for known in present)


class DataInput(NamedTuple):
    """A data set as MLflow's `Dataset` entity wants it."""

    name: str
    digest: str
    source: str
    profile: str


def data_input(spec: RunSpec, description: Mapping[str, Any]) -> DataInput:
    """The data set of a run; `description` is the content of its dataset.json, empty when there is none."""
    source = {
        "dataset": spec.data.name,
        **{key: value for key, value in spec.data.params.items() if key not in PLACEMENT_PARAMETERS},
    }
    profile = {key: value for key, value in description.items() if key not in {"name", "digest"}}
    return DataInput(
        name=str(description.get("name", spec.data.name)),
        digest=str(description.get("digest", spec.data_digest))[:MAX_DIGEST_LENGTH],
        source=json.dumps(source, ensure_ascii=False),
        profile=json.dumps(profile, ensure_ascii=False),
    )
