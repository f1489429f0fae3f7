"""What `result.json` holds: the content that says how a run ended, and what it was."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from eqbench import environment
from eqbench.run_folder import RunFolder, is_evaluation
from eqbench.run_spec import RunSpec

if TYPE_CHECKING:
    from eqbench.train_loop import Outcome


def finished_result(spec: RunSpec, run: RunFolder, outcome: Outcome, code: dict[str, Any]) -> dict[str, Any]:
    """The result of a run that used up its budget; `code`: the state of eqbench's sources."""
    from eqbench.recording import verified

    metrics = outcome.evaluation.metrics
    return {
        **_result_head(spec, run),
        "status": "finished",
        "status_detail": "",
        "main_metric": next(iter(metrics), ""),
        "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        "cost": outcome.cost,
        "environment": {**environment.describe_machine(), **code},
        "data_verified": (verified(spec.data.params.get("root"), spec.data_digest) or {}).get("level"),
        "skipped_steps": outcome.skipped_steps,
        "warnings": outcome.warnings,
    }


def stopped_result(spec: RunSpec, run: RunFolder, detail: str) -> dict[str, Any]:
    """The result of a run that was ended before its budget on purpose: the numbers of its last evaluation."""
    found = evaluations(run, after=0)
    numbers = found[max(found)] if found else {}
    metrics = {name.removeprefix("val/"): value for name, value in numbers.items() if name.startswith("val/")}
    return {
        **unsuccessful_result(spec, run, "stopped", detail),
        "main_metric": next(iter(metrics), ""),
        "metrics": metrics,
    }


def unsuccessful_result(spec: RunSpec, run: RunFolder, status: str, detail: str) -> dict[str, Any]:
    """The result of a run that failed or was killed."""
    return {**_result_head(spec, run), "status": status, "status_detail": detail, "metrics": {}, "cost": {}}


def _result_head(spec: RunSpec, run: RunFolder) -> dict[str, Any]:
    return {
        "run_id": spec.run_id,
        "name": spec.name,
        "suite": spec.suite,
        "task": spec.task_label,
        "loss": spec.loss_label,
        "seed": spec.seed,
        "task_version": spec.task_version,
        "data_digest": spec.data_digest,
        "protocol": spec.protocol,
        "budget": {"iterations": spec.budget.iterations, "samples": spec.budget.samples},
        "attempts": run.attempts,
        "finished_at": time.time(),
        "spec": spec.model_dump(mode="json"),
    }


def evaluations(run: RunFolder, after: int) -> dict[int, dict[str, float]]:
    """All metrics of each iteration after `after` at which there was an evaluation."""
    metrics: dict[int, dict[str, float]] = {}
    evaluated = []
    for event in run.read_events(newest_bytes=65536):
        if event["iteration"] > after:
            metrics.setdefault(event["iteration"], {}).update(event["metrics"])
            evaluated += [event["iteration"]] if is_evaluation(event) else []
    return {iteration: metrics[iteration] for iteration in evaluated}
