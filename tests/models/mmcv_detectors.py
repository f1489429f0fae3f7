"""mmdet's detectors on the operators that torchvision serves: a training step, a gradient check, predictions.

Run by test_mmcv_ops_detectors.py in a process of its own, since modules put into `sys.modules` would reach other tests.
The argument is the device. Prints one JSON object: what was seen of each detector, or its traceback.
"""

from __future__ import annotations

import json
import math
import pathlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eqbench.models import mmcv_ops

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cpu"
CLASSES, MOST = 5, 12
CHANNELS = 16
GROUPS = {"type": "GN", "num_groups": 4, "requires_grad": True}
BACKBONE = {
    "backbone.depth": 18,
    "backbone.base_channels": 8,
    "backbone.init_cfg": None,
    "neck.in_channels": [8, 16, 32, 64],
    "neck.out_channels": CHANNELS,
}
DENSE = {f"bbox_head.{key}": CHANNELS for key in ("in_channels", "feat_channels")}
DENSE |= {"bbox_head.num_classes": CLASSES, "bbox_head.stacked_convs": 1, "test_cfg.max_per_img": MOST}
GROUPED = {**BACKBONE, **DENSE, "bbox_head.norm_cfg": GROUPS}
TWO_STAGE = {
    **BACKBONE,
    "rpn_head.in_channels": CHANNELS,
    "rpn_head.feat_channels": CHANNELS,
    "roi_head.bbox_roi_extractor.out_channels": CHANNELS,
    "train_cfg.rpn_proposal.max_per_img": 60,
    "test_cfg.rpn.max_per_img": 60,
    "test_cfg.rcnn.max_per_img": MOST,
}
MASK = {
    "roi_head.mask_roi_extractor.out_channels": CHANNELS,
    "roi_head.mask_head.in_channels": CHANNELS,
    "roi_head.mask_head.conv_out_channels": CHANNELS,
    "roi_head.mask_head.num_convs": 1,
    "roi_head.mask_head.num_classes": CLASSES,
}


def region_head(at: str) -> dict[str, Any]:
    return {f"{at}.in_channels": CHANNELS, f"{at}.fc_out_channels": 32, f"{at}.num_classes": CLASSES}


# Running statistics are those of the last batch, so that predictions after one step are finite.
YOLOX = {f"{part}.norm_cfg.momentum": 1.0 for part in ("backbone", "neck", "bbox_head")}
YOLOX |= {
    **DENSE,
    "backbone.widen_factor": 0.125,
    "neck.in_channels": [32, 64, 128],
    "neck.out_channels": CHANNELS,
    "data_preprocessor.batch_augments.0.random_size_range": (96, 96),  # the size of the batch
}
CASCADE = {key: value for stage in range(3) for key, value in region_head(f"roi_head.bbox_head.{stage}").items()}
DETECTORS: dict[str, dict[str, Any]] = {
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco": TWO_STAGE | region_head("roi_head.bbox_head"),
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco": TWO_STAGE | MASK | region_head("roi_head.bbox_head"),
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco": TWO_STAGE | MASK | CASCADE,
    "retinanet/retinanet_r50_fpn_1x_coco": BACKBONE | DENSE,
    "atss/atss_r50_fpn_1x_coco": GROUPED,
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco": GROUPED,
    "paa/paa_r50_fpn_1x_coco": GROUPED,
    "gfl/gfl_r50_fpn_1x_coco": GROUPED,
    "yolox/yolox_s_8xb8-300e_coco": YOLOX,
    "tood/tood_r50_fpn_1x_coco": GROUPED | {"bbox_head.stacked_convs": 2},
}


def built(name: str) -> Any:
    """The detector of one of mmdet's configs, made small, its weights no longer as initialised."""
    import mmdet
    from mmdet.registry import MODELS
    from mmengine.config import Config

    config = Config.fromfile(pathlib.Path(mmdet.__file__).parent / ".mim" / "configs" / f"{name}.py")
    config.merge_from_dict({f"model.{key}": value for key, value in DETECTORS[name].items()})
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with torch.no_grad():
        for parameter in trained(model).values():
            # A bias of 0 leaves ReLUs at their kink, where a difference quotient is not the derivative.
            parameter += 0.03 * torch.randn_like(parameter)
    return model.to(DEVICE)


def batch(objects: bool = True) -> dict[str, list[Any]]:
    """Two images of different sizes, shown at twice their size; two objects, three objects, or none."""
    generator = torch.Generator().manual_seed(1)
    boxes = [[[8, 8, 60, 70], [40, 30, 76, 60]], [[4, 10, 50, 90], [10, 20, 30, 40], [20, 50, 60, 94]]]
    images = [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in ((72, 80), (96, 64))
    ]
    samples = [sample(image.shape[1:], each if objects else []) for image, each in zip(images, boxes, strict=True)]
    return {"inputs": images, "data_samples": samples}


def sample(size: torch.Size, boxes: list[list[int]]) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import PolygonMasks
    from mmengine.structures import InstanceData

    height, width = size
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.get_default_dtype()).reshape(-1, 4),
        labels=torch.arange(len(boxes)) * 2,
        masks=PolygonMasks([[np.array([x, y, z, y, z, w], float)] for x, y, z, w in boxes], height, width),
    )
    shape = {"img_shape": (height, width), "ori_shape": (height // 2, width // 2), "scale_factor": (2.0, 2.0)}
    return DetDataSample(metainfo=shape, gt_instances=instances)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def total(model: Any, data: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    """The sum of the losses, and each; whatever is sampled is the same every time."""
    torch.manual_seed(0)
    loss, values = model.parse_losses(model(**data, mode="loss"))
    return loss, {name: float(value) for name, value in values.items()}


def training_step(model: Any) -> dict[str, Any]:
    """One step of SGD: losses, norms of the gradients of trained parameters, which of these moved."""
    model.train()
    parameters = trained(model)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    loss, losses = total(model, model.data_preprocessor(batch(), True))
    loss.backward()
    torch.optim.SGD(parameters.values(), lr=1e-3).step()
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    return {
        "losses": losses,
        "gradients": {name: None if grad is None else float(grad.norm()) for name, grad in gradients.items()},
        "moved": [name for name, parameter in parameters.items() if not torch.equal(parameter, before[name])],
    }


class Constants(TorchFunctionMode):
    """Computes in float64, and what leaves the graph stays what it was in the first pass: detached, or under no_grad.

    Several heads make targets of predictions. To autograd these are constants, so in a difference quotient they have
    to be constants too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.known: Iterator[Tensor] | None = None
        self.blocks = 0  # of torch.no_grad that are open; autograd itself, in a Function's forward, opens none

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = Tensor.double if func is Tensor.float else func
        args = [torch.float64 if value is torch.float32 else value for value in args]
        kwargs = {key: torch.float64 if value is torch.float32 else value for key, value in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        leaves = func is Tensor.detach or self.blocks > 0
        if not (leaves and torch.is_tensor(result) and result.is_floating_point()):
            return result
        if self.known is not None:
            return next(self.known).clone()
        self.seen.append(result.detach().clone())
        return result

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """The first one keeps the constants that the next ones use, all of them."""
        enter, leave = torch.no_grad.__enter__, torch.no_grad.__exit__

        def entering(block: torch.no_grad) -> None:
            self.blocks += 1
            enter(block)

        def leaving(block: torch.no_grad, *error: Any) -> None:
            self.blocks -= 1
            leave(block, *error)

        with pytest.MonkeyPatch.context() as patch, self:
            patch.setattr(torch.no_grad, "__enter__", entering)
            patch.setattr(torch.no_grad, "__exit__", leaving)
            yield
        assert self.known is None or next(self.known, None) is None
        self.known = iter(self.seen)


def derivatives(model: Any) -> dict[str, tuple[float, float, float]]:
    """For each part of a model, along a random direction: autograd's derivative, the difference quotient, |gradient|.

    Steps of 1e-7, so that hardly a ReLU crosses its kink, and no choice of a target changes.
    """
    model.double().train()
    data = model.data_preprocessor(batch(), True)
    data["inputs"] = data["inputs"].double()
    constants, parameters = Constants(), trained(model)

    def value() -> Tensor:
        with constants.one_pass():
            return total(model, data)[0]

    def shift(names: list[str], step: float) -> None:
        for name in names:
            parameters[name].data.add_(directions[name], alpha=step)

    gradients = dict(zip(parameters, torch.autograd.grad(value(), list(parameters.values())), strict=True))
    directions = {name: torch.randn_like(parameter) for name, parameter in parameters.items()}
    seen = {}
    for part in dict.fromkeys(name.split(".")[0] for name in parameters):
        names = [name for name in parameters if name.split(".")[0] == part]
        shift(names, 1e-7)
        ahead = float(value())
        shift(names, -2e-7)
        quotient = (ahead - float(value())) / 2e-7
        shift(names, 1e-7)
        derivative = sum(float((gradients[name] * directions[name]).sum()) for name in names)
        seen[part] = (derivative, quotient, math.sqrt(sum(float(gradients[name].square().sum()) for name in names)))
    return seen


def predictions(model: Any, score_threshold: float) -> list[dict[str, Any]]:
    """For each image: its height and width, scores, labels, boxes, and the shape of the masks or None."""
    head = model.roi_head if hasattr(model, "roi_head") else model.bbox_head
    head.test_cfg.score_thr = score_threshold
    model.eval()
    with torch.no_grad():
        found = model.test_step(batch(objects=False))
    return [
        {
            "size": each.ori_shape,
            "scores": each.pred_instances.scores.tolist(),
            "labels": each.pred_instances.labels.tolist(),
            "boxes": each.pred_instances.bboxes.tolist(),
            "masks": list(each.pred_instances.masks.shape) if "masks" in each.pred_instances else None,
        }
        for each in found
    ]


def seen(name: str) -> dict[str, Any]:
    from mmengine.logging import MessageHub

    hub = MessageHub.get_current_instance()
    hub.update_info("epoch", 0)
    hub.update_info("iter", 9)  # when YOLOX draws a size
    model = built(name)
    facts: dict[str, Any] = {"step": training_step(model)}
    facts["without_objects"] = total(model, model.data_preprocessor(batch(objects=False), True))[1]
    facts["many"], facts["none"] = predictions(model, 0.0), predictions(model, 1.01)
    hub.update_info("epoch", 5)  # when TOOD begins to assign by alignment
    torch.set_default_dtype(torch.float64)
    try:
        facts["derivatives"] = derivatives(built(name))
    finally:
        torch.set_default_dtype(torch.float32)
    return facts


def main() -> None:
    mmcv_ops.install()
    from mmdet.utils import register_all_modules

    register_all_modules()
    answers = {}
    for name in DETECTORS:
        try:
            answers[name.split("/")[0]] = seen(name)
        except Exception:
            answers[name.split("/")[0]] = {"error": traceback.format_exc()}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
