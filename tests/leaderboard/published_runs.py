"""Runs of the recipes that are published, as the suites of the tree describe them, without their data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from written_suites import make_spec

from eqbench.recipe import Train
from eqbench.run_spec import Budget, Plugin, RunSpec

STEPS = {"name": "multi_step", "milestones": [0.6666666667, 0.9166666667], "factor": 0.1}
MASK_RCNN = "lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1"
EQLV2 = {"gamma": 12.0, "mu": 0.8, "alpha": 4.0, "objectness": True}


def lvis_spec(loss: str = "sigmoid_eql", seed: int = 0, *, images: int = 99_388, **changes: Any) -> RunSpec:
    """Mask R-CNN as in suites/lvis_two_stage.yaml; any field of `train` by its name."""
    values = {
        "epochs": 12,
        "batch_size": 16,
        "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": {**STEPS, "warmup": {"iterations": 500, "start_factor": 0.001}},
    }
    return _spec(
        "lvis_mask_rcnn",
        loss,
        seed,
        images,
        {**values, **changes},
        task={"name": "detection", "params": {"plain_from": 1.0}},
        protocol="lvis_ap:maxdets300:last",
        model={
            "name": "mmdet_detector",
            "params": {
                "config": MASK_RCNN,
                "overrides": {},
                "backbone_weights": "torchvision:ResNet50_Weights.IMAGENET1K_V1",
                "bias_prior": 0.001,
            },
        },
        data={"name": "lvis", "params": {"root": "data/lvis", "version": "v1", "masks": True}},
        loss_params={"sigmoid_eql": EQLV2, "eql": {"lambda_": 1.1e-3}},
    )


def imagenet_spec(loss: str = "cross_entropy", seed: int = 0, *, images: int = 115_846, **changes: Any) -> RunSpec:
    """ResNeXt-50 as in suites/imagenet_lt.yaml; any field of `train` by its name, `data` and `model` parameters too."""
    data = {
        "root": "data/imagenet_lt",
        "eval_split": "test",
        "color_jitter": [0.4, 0.4, 0.4, 0.0],
        "image_size": 224,
        "resize": 256,
        "scale": [0.08, 1.0],
        "flip": 0.5,
        "mixup": 0.0,
        "cutmix": 0.0,
        "many_above": 100,
        "few_below": 20,
        **changes.pop("data", {}),
    }
    model = {
        "backbone": "resnext50_32x4d",
        "classifier": "linear",
        "norm": "batch",
        "backbone_weights": None,
        "trained": "all",
        **changes.pop("model", {}),
    }
    values = {
        "epochs": 90,
        "batch_size": 512,
        "optimizer": {"name": "sgd", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "cosine"},
    }
    return _spec(
        "imagenet_lt_resnext50",
        loss,
        seed,
        images,
        {**values, **changes},
        model={"name": "classifier", "params": model},
        data={"name": "imagenet_lt", "params": data},
    )


def cifar_spec(loss: str = "cross_entropy", seed: int = 0, factor: float = 100.0, images: int = 10_847) -> RunSpec:
    """ResNet-32 as in suites/cifar_lt.yaml."""
    values = {
        "epochs": 200,
        "batch_size": 128,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 2e-4},
        "schedule": {
            "name": "multi_step",
            "milestones": [0.8, 0.9],
            "factor": 0.01,
            "warmup": {"iterations": 5 * -(-images // 128)},
        },
    }
    model = {
        "backbone": "resnet32",
        "classifier": "linear",
        "norm": "batch",
        "backbone_weights": None,
        "trained": "all",
    }
    data = {
        "classes": 100,
        "imbalance_factor": factor,
        "imbalance": "exponential",
        "padding": 4,
        "flip": 0.5,
        "mixup": 0.0,
        "cutmix": 0.0,
        "many_above": 100,
        "few_below": 20,
    }
    return _spec(
        "cifar100_lt",
        loss,
        seed,
        images,
        values,
        model={"name": "classifier", "params": model},
        data={"name": "cifar_lt", "params": data},
        loss_params={"eql_softmax": {"lambda_": 0.005, "keep_probability": 0.9}},
    )


def _spec(label: str, loss: str, seed: int, images: int, train: Mapping[str, Any], **fields: Any) -> RunSpec:
    recipe = Train.model_validate(train)
    budget = Budget.of(recipe, samples_per_epoch=images)
    task = Plugin.model_validate(fields.pop("task", {"name": "classification"}))
    spec = make_spec(label, loss, seed, suite="published", **fields, train=recipe, budget=budget)
    return spec.model_copy(update={"task": task})
