"""Runs written as eqbench writes them, with everything that figures are drawn from, made of formulas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eqbench.recipe import Train
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import Budget, RunSpec

COUNTS = (100, 40, 15, 4)
GROUPS = ("many", "medium", "medium", "few")


def make_spec(
    loss: str = "cross_entropy", seed: int = 0, task: str = "digits", loss_params: Any = None, **changes: Any
) -> RunSpec:
    train = Train(iterations=40, batch_size=16)
    fields = {
        "suite": "drawn",
        "task_label": task,
        "loss_label": loss,
        "task": {"name": "classification"},
        "task_version": 1,
        "protocol": "accuracy:last",
        "model": {"name": "classifier", "params": {"backbone": "resnet8"}},
        "data": {"name": "digits", "params": {}},
        "data_digest": f"d{task}",
        "loss": {"name": loss, "params": loss_params or {}},
        "train": train,
        "budget": Budget.of(train, samples_per_epoch=160),
        "seed": seed,
    }
    return RunSpec.model_validate({**fields, **changes})


def write_run(
    storage: Path,
    spec: RunSpec,
    *,
    counts: Sequence[int] = COUNTS,
    groups: Sequence[str] = GROUPS,
    names: Sequence[str] = (),
) -> RunFolder:
    """A finished run of 4 epochs; ratios grow with the count of a class, and shrink over training."""
    run = SuiteFolder(storage, spec.suite).run(spec.run_id)
    run.write_spec(spec)
    number = len(counts)
    classes = list(names) or [f"class {place}" for place in range(number)]
    described = {"class_names": classes, "groups": list(groups), "class_counts": list(counts)}
    (run.path / "dataset.json").write_text(json.dumps(described))
    run.gradients.mkdir()
    for iteration in (10, 20, 30, 40):
        write_snapshot(run, iteration, np.array(counts) / 50 * iteration, np.full(number, float(iteration)))
        run.append_event(iteration, iteration * 16, {"train/loss": 10 / iteration})
        numbers = {"val/top1": iteration + spec.seed, "val/many": 90.0, "val/medium": 50.0, "val/few": iteration / 2}
        run.append_event(iteration, iteration * 16, numbers)
    run.evaluation.mkdir()
    accuracy = [min(100.0, 10.0 * count**0.5 + spec.seed + len(spec.loss_label)) for count in counts]
    table = {"class_id": list(range(number)), "class_name": classes, "group": list(groups), "count": list(counts)}
    columns = {**table, "accuracy": accuracy, "weight_norm": [1 + count / 100 for count in counts]}
    pq.write_table(pa.table(columns), run.evaluation / "per_class.parquet")
    found = {"label": [0, 0, 1, 2, 3, 3, 3, 3], "prediction": [0, 0, 2, 2, 0, 1, 3, 0]}
    pq.write_table(pa.table(found), run.evaluation / "predictions.parquet")
    metrics = {"top1": 40.0 + spec.seed, "many": 90.0 - spec.seed, "few": 20.0 + spec.seed + len(spec.loss_label)}
    run.write_result({"status": "finished", "status_detail": "", "main_metric": "top1", "metrics": metrics, "cost": {}})
    return run


def write_snapshot(run: RunFolder, iteration: int, positive: Any, negative: Any, modules: int = 1) -> None:
    """Totals of `modules` losses that add up to these."""
    number = len(positive)
    columns = {
        "class_id": list(range(number)) * modules,
        "positive": np.tile(np.asarray(positive, float) / modules, modules),
        "negative": np.tile(np.asarray(negative, float) / modules, modules),
    }
    pq.write_table(pa.table(columns), run.gradients / f"{iteration:09d}.parquet")


def write_suite(storage: Path, specs: Sequence[RunSpec], **options: Any) -> list[RunFolder]:
    folder = SuiteFolder(storage, "drawn")
    folder.create()
    runs = [write_run(storage, spec, **options) for spec in specs]
    folder.write_plan(list(specs), "name: drawn\n")
    return runs
