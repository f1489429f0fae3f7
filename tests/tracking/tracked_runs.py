"""Runs written by hand into a suite folder, as the training loop writes them, and a reader of what MLflow has."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Dataset, Run

from eqbench.recipe import Train
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Budget, Plugin, RunSpec

CLASSES = ["zero", "one", "two"]
TRAIN = Train(epochs=2)
ARTIFACTS = [
    "config/run.yaml",
    "environment/environment.json",
    "evaluation/per_class.parquet",
    "gradients.parquet",
    "plots/ratio.png",
    "samples/0.png",
]


def make_spec(seed: int = 0, *, loss: str = "softmax_eql", **loss_params: Any) -> RunSpec:
    return RunSpec(
        suite="toy",
        task_label="digits",
        loss_label=loss,
        task=Plugin(name="classification"),
        task_version=1,
        protocol="accuracy:last",
        model=Plugin(name="classifier", params={"backbone": "resnet8", "widths": [16, 32]}),
        data=Plugin(name="digits", params={"imbalance_factor": 50, "root": "/data/digits"}),
        data_digest="d1d1",
        loss=Plugin(name=loss, params={"tau": 1.0, **loss_params}),
        train=TRAIN,
        budget=Budget.of(TRAIN, samples_per_epoch=1280),
        seed=seed,
    )


def record(run: RunFolder, *iterations: int, **more: float) -> None:
    """Append events; the values are a function of the iteration."""
    for iteration in iterations:
        metrics = {"train/loss": 1 / (1 + iteration), "train/lr": 0.1, **more}
        if iteration % 20 == 0:
            metrics |= {"val/top1": float(iteration), "gradient/ratio_few": 0.5}
        run.append_event(iteration, iteration * 64, metrics)


def write_result(run: RunFolder, status: str = "finished", detail: str = "", **more: Any) -> None:
    spec = run.read_spec()
    run.write_result(
        {
            "run_id": run.run_id,
            "name": spec.name,
            "status": status,
            "status_detail": detail,
            "budget": {"iterations": 40, "samples": 2560},
            "main_metric": "top1",
            "metrics": {"top1": 40.0},
            "cost": {"train_seconds": 2.5, "seconds_per_step": 0.06, "num_workers": 1, "device": "cpu"},
            "environment": {"eqbench": "0.1", "git_sha": "abc123", "dirty": False},
            "attempts": run.attempts,
            "finished_at": time.time(),
            **more,
        }
    )


def write_files(run: RunFolder) -> None:
    """The files a run leaves beside its events."""
    for folder in (run.gradients, run.evaluation, run.plots, run.path / "samples"):
        folder.mkdir(exist_ok=True)
    for step in (20, 100, 40):
        table = pa.table({"step": [step] * 3, "class_id": [2, 0, 1], "ratio": [0.1, 0.2, 0.3]})
        pq.write_table(table, run.gradients / f"{step}.parquet")
    pq.write_table(pa.table({"class_id": [0, 1, 2]}), run.evaluation / "per_class.parquet")
    (run.plots / "ratio.png").write_bytes(b"\x89PNG")
    (run.path / "samples" / "0.png").write_bytes(b"\x89PNG")
    description = {"name": "digits", "digest": "d1d1", "num_classes": 3, "class_counts": [50, 7, 1]}
    (run.path / "dataset.json").write_text(json.dumps({**description, "class_names": CLASSES}))


def begin(run: RunFolder, *iterations: int) -> None:
    """Start an attempt and record events."""
    run.start_attempt()
    record(run, *iterations)


def complete(run: RunFolder) -> None:
    """A whole run on disk."""
    begin(run, 0, 10, 20, 30, 40)
    write_files(run)
    write_result(run)


def assert_complete(run: RunFolder, seen: Seen) -> None:
    """MLflow has the run of `complete`, once."""
    found = seen.run(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.read_spec().name
    assert seen.steps(run) == [0, 10, 20, 30, 40]
    assert seen.steps(run, "val/top1") == [0, 20, 40]
    assert seen.steps(run, "cost/train_seconds") == [40]
    assert found.data.tags["eqbench.valid"] == "true"
    assert len(found.data.params) > 30
    assert len(seen.data(run)) == 1
    assert seen.artifacts(found) == ARTIFACTS


class Seen:
    """What MLflow has of the suite `toy`."""

    def __init__(self, uri: str) -> None:
        self.client = MlflowClient(tracking_uri=uri)

    def runs(self, kind: str, run_id: str = "") -> list[Run]:
        experiment = self.client.get_experiment_by_name("toy")
        if experiment is None:
            return []
        wanted = f"tags.`eqbench.kind` = '{kind}'" + (f" AND tags.`eqbench.run_id` = '{run_id}'" if run_id else "")
        ids, order = [experiment.experiment_id], ["attributes.start_time ASC"]
        return list(self.client.search_runs(ids, wanted, order_by=order))

    def run(self, folder: RunFolder) -> Run:
        (run,) = self.runs("run", folder.run_id)
        return run

    def steps(self, folder: RunFolder, key: str = "train/loss") -> list[int]:
        history = self.client.get_metric_history(self.run(folder).info.run_id, key)
        return sorted(metric.step for metric in history)

    def data(self, folder: RunFolder) -> list[Dataset]:
        inputs = self.run(folder).inputs
        return [item.dataset for item in inputs.dataset_inputs] if inputs else []

    def artifacts(self, run: Run, folder: str | None = None) -> list[str]:
        found = []
        for file in self.client.list_artifacts(run.info.run_id, folder):
            found += self.artifacts(run, file.path) if file.is_dir else [file.path]
        return sorted(found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
