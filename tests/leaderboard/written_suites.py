"""Suites of finished, failed and missing runs, written with the folders that eqbench itself writes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eqbench.recipe import Train
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import Budget, RunSpec

Outcome = Mapping[str, float | None] | str | None
"""The metrics of a finished run; the reason of a failed one; None for one that has not ended."""

Outcomes = Mapping[tuple[str, str], Sequence[Outcome]]
"""Those of seeds 0, 1, … for each task and loss."""

COST = {"seconds_per_step": 0.02, "peak_memory_mb": 512.0}


def make_spec(
    task: str = "digits",
    loss: str = "cross_entropy",
    seed: int = 0,
    suite: str = "quickstart",
    iterations: int = 400,
    loss_params: Mapping[str, Mapping[str, Any]] | None = None,
    **changes: Any,
) -> RunSpec:
    """A run; `loss_params` by label, any other field by its name."""
    train = Train(iterations=iterations, batch_size=64)
    fields = {
        "suite": suite,
        "task_label": task,
        "loss_label": loss,
        "task": {"name": "classification"},
        "task_version": 1,
        "protocol": "accuracy:last",
        "model": {"name": "classifier", "params": {"backbone": "resnet8"}},
        "data": {"name": "digits", "params": {"imbalance_factor": 50}},
        "data_digest": f"0123456789ab{task}",
        "loss": {"name": loss, "params": dict((loss_params or {}).get(loss, {}))},
        "train": train,
        "budget": Budget.of(train, samples_per_epoch=640),
        "seed": seed,
    }
    return RunSpec.model_validate({**fields, **changes})


def write_run(folder: SuiteFolder, spec: RunSpec, outcome: Outcome) -> RunFolder:
    run = folder.run(spec.run_id)
    run.write_spec(spec)
    fields = spec.model_dump(mode="json")
    if isinstance(outcome, str):
        run.write_result({"status": "failed", "status_detail": outcome, "metrics": {}, "cost": {}, "spec": fields})
    elif outcome is not None:
        ending = {"status": "finished", "status_detail": "", "main_metric": "top1"}
        run.write_result({**ending, "metrics": dict(outcome), "cost": COST, "spec": fields})
    return run


def write_suite(storage: Path, outcomes: Outcomes, suite: str = "quickstart", **changes: Any) -> SuiteFolder:
    """A suite whose plan has, for each task and loss, as many seeds as outcomes are given; earlier runs stay."""
    folder = SuiteFolder(storage, suite)
    folder.create()
    specs = []
    for (task, loss), by_seed in outcomes.items():
        for seed, outcome in enumerate(by_seed):
            specs.append(make_spec(task, loss, seed, suite, **changes))
            write_run(folder, specs[-1], outcome)
    folder.write_plan(specs, f"name: {suite}\n")
    return folder


def top1(*values: float | None) -> list[Outcome]:
    """Finished runs with a main metric only, seeds 0, 1, …"""
    return [{"top1": value} for value in values]
