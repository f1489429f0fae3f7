"""Whole runs, of seconds, on a miniature of each data set: they learn, and can be resumed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqbench import plugins
from eqbench.data import miniatures
from eqbench.recipe import Train
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Budget, Plugin, Resources, RunSpec
from eqbench.trial import train_and_record

from .same_runs import assert_same_run
from .tiny_runs import CODE, CPU, attempt, planned

KILLED = -9

MODELS: dict[str, dict[str, Any]] = {
    "classification": {"name": "classifier", "params": {"backbone": "resnet8", "width": 8}},
    "segmentation": {
        "name": "segmentor",
        "params": {"architecture": "fcn", "backbone": "resnet8", "norm": "group", "width": 8},
    },
}
IMAGES = {"image_size": 32, "resize": 36, "scale": [0.5, 1.0]}
SMALL: dict[str, dict[str, Any]] = {
    "imagenet_lt": {"images": 60, "classes": 6, "size": 48},
    "places_lt": {"images": 60, "classes": 6, "size": 48},
    "inaturalist2018": {"images": 60, "classes": 9, "size": 48},
    "cifar_lt": {"images": 200, "classes": 10},
    "ade20k": {"images": 24, "classes": 5, "size": 64},
}
OPTIONS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("imagenet_lt", "places_lt", "inaturalist2018"), IMAGES),
    "cifar_lt": {"classes": 10, "imbalance_factor": 10},
    "ade20k": {"crop_size": 32, "scale": [64, 64], "eval_scale": [64, 64]},
}
"""Of the data sets."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


def miniature_spec(root: Path, name: str, **changes: Any) -> RunSpec:
    """A run on the miniature of `name` below `root`, which is made if it is not there."""
    folder = root / name
    if not folder.exists():
        miniatures.make(name, folder, **SMALL[name], seed=4)
    segmentation = name == "ade20k"
    config = Train.model_validate(
        {
            "iterations": 30,
            "evaluate_every_epochs": 100,
            "batch_size": 8 if segmentation else 32,
            "optimizer": {"name": "adamw", "lr": 0.01} if segmentation else {"name": "sgd", "lr": 0.1},
            "deterministic": True,
            **changes,
        }
    )
    task = Plugin(name="segmentation" if segmentation else "classification", params={})
    data = Plugin(name=name, params={"root": str(folder), **OPTIONS[name]})
    found = plugins.construct("dataset", data.name, data.params)
    task_class = plugins.load("task", task.name)
    return RunSpec(
        suite="tiny",
        task_label=name,
        loss_label="softmax_eql",
        task=task,
        task_version=task_class.version,
        protocol=task_class.protocol,
        model=Plugin(**MODELS[task.name]),
        data=data,
        data_digest=found.digest,
        loss=Plugin(name="softmax_eql"),
        train=config,
        budget=Budget.of(config, samples_per_epoch=len(found.train)),
        seed=1,
    )


def result_of(run: RunFolder) -> dict[str, Any]:
    result = run.read_result()
    assert result is not None
    return result


@pytest.mark.parametrize("name", [name for name in SMALL if name != "ade20k"])
def test_a_miniature_is_learned(name: str, root: Path, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", miniature_spec(root, name))
    assert train_and_record(run, CPU, code=CODE) is None
    result = result_of(run)
    classes = SMALL[name]["classes"]
    assert result["metrics"]["top1"] > 2 * 100 / classes
    losses = [event["metrics"]["train/loss"] for event in run.read_events() if "train/loss" in event["metrics"]]
    assert losses[-1] < losses[0]
    description = json.loads((run.path / "dataset.json").read_text())
    assert description["num_classes"] == classes
    assert len(description["class_counts"]) == classes


@pytest.mark.parametrize("name", ["imagenet_lt", "ade20k"])
def test_killed_and_resumed_equals_never_killed(
    name: str, root: Path, tmp_path: Path, uninterrupted: Callable[[RunSpec], RunFolder]
) -> None:
    """Killed after some checkpoints; images are read by another process in one of the attempts."""
    spec = miniature_spec(root, name, iterations=6, batch_size=8)
    often = {"record_every": 1, "checkpoint_minutes": 0}
    spec = spec.model_copy(update={"resources": Resources(**often)})
    run = planned(tmp_path / "run", spec.model_copy(update={"resources": Resources(**often, loader_processes=1)}))
    assert attempt(run, die_at_operation=40) == KILLED
    assert 0 < run.newest_checkpoint < 6
    run.write_spec(spec)
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))


def test_mixed_images_are_learned_from(root: Path, tmp_path: Path) -> None:
    spec = miniature_spec(root, "cifar_lt", iterations=8)
    params = {**spec.data.params, "mixup": 0.2, "cutmix": 1.0}
    run = planned(tmp_path / "run", spec.model_copy(update={"data": Plugin(name="cifar_lt", params=params)}))
    assert train_and_record(run, CPU, code=CODE) is None
    result = result_of(run)
    assert result["status"] == "finished"
    assert result["skipped_steps"] == 0


@pytest.mark.parametrize("loader_processes", [0, 1])
def test_a_damaged_image_ends_the_run_and_is_named(loader_processes: int, root: Path, tmp_path: Path) -> None:
    spec = miniature_spec(root, "places_lt", iterations=8)
    spec = spec.model_copy(update={"resources": Resources(loader_processes=loader_processes)})
    copy = shutil.copytree(root / "places_lt", tmp_path / "places_lt")
    for image in copy.glob("train/*/*.jpg"):
        image.write_bytes(image.read_bytes()[:200])
    params = {**spec.data.params, "root": str(copy)}
    run = planned(tmp_path / "run", spec.model_copy(update={"data": Plugin(name="places_lt", params=params)}))
    failure = (train_and_record(run, CPU, code=CODE) or {})["failure"]
    assert re.fullmatch(rf"InputError: {copy}/train/\S+\.jpg: the image is cut off .*", failure)
