"""The identity of a run, and the limits of its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from eqbench.recipe import Train
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Budget, Plugin, Resources, RunSpec, flatten

TRAIN: dict[str, Any] = {
    "epochs": 100,
    "iterations": None,
    "batch_size": 32,
    "accumulate": 1,
    "sampler": {"name": "random"},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
    "schedule": {"name": "cosine", "final_factor": 0.0, "warmup": {"iterations": 5, "start_factor": 0.001}},
    "clip_norm": None,
    "precision": "float32",
    "ema_decay": None,
    "channels_last": False,
    "compile": False,
    "deterministic": True,
    "sync_batchnorm": False,
    "evaluate_every_epochs": 10,
}


def spec(**changes: Any) -> RunSpec:
    """One run, everything spelled out."""
    fields: dict[str, Any] = {
        "suite": "quickstart",
        "task_label": "digits",
        "loss_label": "softmax_eql",
        "task": Plugin(name="classification"),
        "task_version": 1,
        "protocol": "accuracy:last",
        "model": Plugin(name="classifier", params={"backbone": "resnet8", "norm": "batch"}),
        "data": Plugin(name="digits", params={"imbalance_factor": 50.0, "root": "/data"}),
        "data_digest": "53df0cb8515ad36204343ccf49e9774c",
        "loss": Plugin(name="softmax_eql", params={"tau": 1.0, "eps": 1e-4, "indicator": "positive"}),
        "train": Train.model_validate(TRAIN),
        "budget": Budget.of(Train.model_validate(TRAIN), samples_per_epoch=342),
        "seed": 0,
        "resources": Resources(),
    }
    return RunSpec(**{**fields, **changes})


def train(**changes: Any) -> Train:
    return Train.model_validate({**TRAIN, **changes})


def test_run_id_is_what_it_has_always_been() -> None:
    """If this fails, every stored result stops being found: raise RUN_SPEC_VERSION on purpose, or undo the change."""
    assert spec().run_id == "4ab7c51d4b88"


def test_names_and_placement_are_not_part_of_the_identity() -> None:
    elsewhere = spec(
        suite="paper",
        task_label="a",
        loss_label="b",
        resources=Resources(num_workers=4, gpus_per_worker=1, checkpoint_minutes=1),
        data=Plugin(name="digits", params={"root": "/mnt", "imbalance_factor": 50.0}),
    )
    assert elsewhere.run_id == spec().run_id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"task_version": 2},
        {"protocol": "accuracy:best"},
        {"data_digest": "0"},
        {"task": Plugin(name="other")},
        {"model": Plugin(name="classifier", params={"backbone": "resnet14", "norm": "batch"})},
        {"data": Plugin(name="digits", params={"imbalance_factor": 51.0})},
        {"loss": Plugin(name="softmax_eql", params={"tau": 1.1, "eps": 1e-4, "indicator": "positive"})},
        {"train": train(clip_norm=1.0)},
        {"train": train(optimizer={**TRAIN["optimizer"], "lr": 0.2})},
        {"budget": Budget.of(Train.model_validate(TRAIN), samples_per_epoch=343)},
    ],
)
def test_what_decides_the_result_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert spec(**change).run_id != spec().run_id


def test_order_of_keys_and_spelling_of_numbers_do_not_matter() -> None:
    reordered = Train.model_validate(dict(reversed(TRAIN.items())))
    assert spec(train=reordered).run_id == spec().run_id
    whole = train(optimizer={"name": "sgd", "lr": 1, "momentum": 0})
    point = train(optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.0})
    assert spec(train=whole).run_id == spec(train=point).run_id


def test_written_and_read_back_it_is_the_same_run(tmp_path: Path) -> None:
    original = spec(train=train(optimizer={"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.95]}))
    folder = RunFolder(tmp_path / original.run_id)
    folder.write_spec(original)
    assert folder.read_spec() == original
    assert folder.read_spec().run_id == original.run_id


def test_identity_is_plain_data() -> None:
    assert json.loads(json.dumps(spec().identity, allow_nan=False)) == spec().identity


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": 2**40},
        {"epochs": None},
        {"iterations": 5},
        {"epochs": True},
        {"epochs": "3"},
        {"batch_size": 2.5},
        {"clip_norm": float("inf")},
        {"ema_decay": 1.0},
        {"precision": "fp8"},
        {"optimizer": {"name": "sgd", "lr": -0.1}},
        {"optimizer": {"name": "sgd", "lr": float("nan")}},
        {"optimizer": {"name": "adamw", "betas": [0.9, 1.0]}},
        {"optimizer": {"name": "sdg"}},
        {"schedule": {"name": "multi_step", "milestones": [1.5]}},
        {"schedule": {"name": "cosine", "warmup": {"iterations": -1}}},
        {"unknown": 1},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        train(**change)


@pytest.mark.parametrize(("samples", "batch_size"), [(342, 32), (342, 342), (342, 1000), (1, 1), (64, 32)])
def test_steps_of_an_epoch_consume_its_samples(samples: int, batch_size: int) -> None:
    budget = Budget.of(train(epochs=3, batch_size=batch_size), samples)
    steps = [budget.samples_of(iteration) for iteration in range(budget.iterations)]
    assert sum(steps) == budget.samples == budget.samples_after(budget.iterations) == 3 * samples
    assert all(1 <= step <= batch_size for step in steps)
    assert sum(steps[: budget.iterations_per_epoch]) == samples


def test_a_budget_in_iterations_may_end_within_an_epoch() -> None:
    budget = Budget.of(train(epochs=None, iterations=13, batch_size=32), samples_per_epoch=342)
    assert (budget.iterations, budget.iterations_per_epoch, budget.samples) == (13, 11, 342 + 64)


@pytest.mark.parametrize("warm_up", [66, 1000])
def test_warm_up_must_end_within_the_budget(warm_up: int) -> None:
    settings = train(epochs=6, batch_size=32, schedule={"name": "cosine", "warmup": {"iterations": warm_up}})
    message = f"train.schedule.warmup.iterations: {warm_up} is not below the budget of 66 iterations"
    with pytest.raises(ValidationError, match=message):
        spec(train=settings, budget=Budget.of(settings, samples_per_epoch=342))


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
