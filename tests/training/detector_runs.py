"""Detectors of seconds, on a miniature of LVIS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eqbench import plugins
from eqbench.losses.sigmoid_eql import SigmoidEQL
from eqbench.recipe import Train
from eqbench.run_spec import Budget, Plugin, Resources, RunSpec
from eqbench.tasks.detection import Detection

from .tiny_runs import at_step

MINIATURE = {"images": 20, "classes": 5, "seed": 0, "size": 64}
TWO_STAGE: dict[str, Any] = {
    "config": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "overrides": {
        "model.backbone.depth": 18,
        "model.backbone.base_channels": 4,
        "model.backbone.stem_channels": 4,
        "model.backbone.frozen_stages": -1,
        "model.neck.out_channels": 8,
        "model.neck.num_outs": 4,
        "model.rpn_head.anchor_generator.strides": [4, 8, 16, 32],
        "model.rpn_head.anchor_generator.scales": [4],
        "model.roi_head.bbox_head.fc_out_channels": 8,
        "model.roi_head.mask_head.num_convs": 1,
        "model.roi_head.mask_head.conv_out_channels": 8,
        "model.train_cfg.rpn_proposal.max_per_img": 30,
        "model.test_cfg.rpn.max_per_img": 30,
        "model.train_cfg.rcnn.sampler.num": 16,
        "model.test_cfg.rcnn.score_thr": 0.0,
        "model.test_cfg.rcnn.max_per_img": 20,
        "train_pipeline.2.scale": [64, 64],
        "test_pipeline.1.scale": [64, 64],
    },
}


class FaultySigmoidEQL(SigmoidEQL):
    """Sigmoid-EQL that does what `tiny_runs.at_step` says."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        at_step.get(int(self.statistics.committed_steps), lambda: None)()
        return super().forward(*args, **kwargs)


def detector_spec(root: Path, *, loss: str = "training.detector_runs:FaultySigmoidEQL", **changes: Any) -> RunSpec:
    """A run of a Mask R-CNN on a miniature below `root`; `changes` are those of `Train`, or of `Resources`."""
    resources = {key: changes.pop(key) for key in list(changes) if key in Resources.model_fields}
    config = Train.model_validate(
        {
            "iterations": 4,
            "batch_size": 4,
            "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
            "deterministic": True,
            **changes,
        }
    )
    data = Plugin(name="lvis_miniature", params={**MINIATURE, "root": str(root)})
    found = plugins.construct("dataset", data.name, data.params)
    return RunSpec(
        suite="tiny",
        task_label="tiny",
        loss_label="faulty",
        task=Plugin(name="detection", params={"pictures": 2}),
        task_version=Detection.version,
        protocol=Detection.protocol,
        model=Plugin(name="mmdet_detector", params=TWO_STAGE),
        data=data,
        data_digest=found.digest,
        loss=Plugin(name=loss),
        train=config,
        budget=Budget.of(config, samples_per_epoch=len(found.train)),
        seed=3,
        resources=Resources.model_validate(resources),
    )


def weights(state: dict[str, Any]) -> Tensor:
    """All floating-point weights of a checkpoint in one vector."""
    return torch.cat([value.flatten().double() for value in state["model"].values() if value.is_floating_point()])
