"""mmdet's detectors with few channels, and images for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from eqbench import losses
from eqbench.losses.base import Loss
from eqbench.models.mmdet_detector import MMDetDetector

CLASSES = 5
COUNTS = [1000, 300, 80, 20, 3]
GROUPS = {"type": "GN", "num_groups": 4, "requires_grad": True}
BODY = {"model.backbone.depth": 18, "model.backbone.base_channels": 8, "model.neck.out_channels": 16}
DENSE = {"model.bbox_head.feat_channels": 16, "model.bbox_head.stacked_convs": 1}
GROUPED = {**BODY, **DENSE, "model.bbox_head.norm_cfg": GROUPS}
TWO_STAGE = {
    **BODY,
    "model.rpn_head.feat_channels": 16,
    "model.train_cfg.rpn_proposal.max_per_img": 60,
    "model.test_cfg.rpn.max_per_img": 60,
}
MASK = {"model.roi_head.mask_head.conv_out_channels": 16, "model.roi_head.mask_head.num_convs": 1}
FASTER, MASKED = "faster_rcnn/faster-rcnn_r50_fpn_1x_coco", "lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1"
CASCADE, RETINA = "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco", "retinanet/retinanet_r50_fpn_1x_coco"
ATSS, FCOS = "atss/atss_r50_fpn_1x_coco", "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco"
PAA, GFL, TOOD = "paa/paa_r50_fpn_1x_coco", "gfl/gfl_r50_fpn_1x_coco", "tood/tood_r50_fpn_1x_coco"
YOLOX, DOUBLE = "yolox/yolox_s_8xb8-300e_coco", "double_heads/dh-faster-rcnn_r50_fpn_1x_coco"
WIDTH = "model.roi_head.bbox_head.fc_out_channels"
OVERRIDES: dict[str, dict[str, Any]] = {
    FASTER: {**TWO_STAGE, WIDTH: 32},
    MASKED: {**TWO_STAGE, **MASK, WIDTH: 32},
    DOUBLE: {**TWO_STAGE, WIDTH: 32, "model.roi_head.bbox_head.conv_out_channels": 32},
    CASCADE: {
        **TWO_STAGE,
        **MASK,
        **{f"model.roi_head.bbox_head.{stage}.fc_out_channels": 32 for stage in range(3)},
    },
    RETINA: {**BODY, **DENSE},
    ATSS: GROUPED,
    FCOS: GROUPED,
    PAA: GROUPED,
    GFL: GROUPED,
    TOOD: {**GROUPED, "model.bbox_head.stacked_convs": 2, "model.train_cfg.initial_epoch": 0},
    YOLOX: {
        **DENSE,
        "model.bbox_head.in_channels": 16,
        "model.neck.out_channels": 16,
        "model.neck.in_channels": [32, 64, 128],
        "model.backbone.widen_factor": 0.125,
    },
}


def build_loss(name: str, classes: int = CLASSES, **params: Any) -> Loss:
    """A loss, given what it needs of the data."""
    from eqbench import plugins

    counts = torch.tensor((COUNTS * classes)[:classes], dtype=torch.float64)
    supplied = {"class_counts": counts, "class_frequency": counts / 2000, "background": True}
    taken = plugins.parameters(plugins.load("loss", name))
    given = {key: value for key, value in supplied.items() if key in taken} | params
    return losses.build(name, num_classes=classes, **given)


def detector(config: str, loss: str | Callable[[], Loss] = "bce", **options: Any) -> MMDetDetector:
    """A small detector with a loss by name, or with what a function makes."""
    classes = options.pop("classes", CLASSES)
    make = loss if callable(loss) else lambda: build_loss(loss, classes)
    torch.manual_seed(0)
    overrides = OVERRIDES[config] | options.pop("overrides", {})
    return MMDetDetector(num_classes=classes, build_loss=make, config=config, overrides=overrides, **options)


def sample(seed: int, size: tuple[int, int] = (96, 80), objects: int = 3, classes: int = CLASSES) -> dict[str, Any]:
    """An image of noise at half its original size, with bright rectangles as objects."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    random = np.random.RandomState(seed)
    corners = random.randint(0, 40, (objects, 2))
    boxes = np.concatenate((corners, corners + random.randint(12, 38, (objects, 2))), 1)
    image, masks = random.randint(0, 60, (3, *size)), np.zeros((objects, *size), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
        image[:, y0:y1, x0:x1] += 150
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(random.randint(0, classes, objects)),
        masks=BitmapMasks(masks, *size),
    )
    meta = {"img_id": seed, "img_path": "", "img_shape": size, "scale_factor": (0.5, 0.5)}
    meta["ori_shape"] = (size[0] * 2, size[1] * 2)
    data_samples = DetDataSample(metainfo=meta, gt_instances=instances)
    return {"inputs": torch.tensor(image, dtype=torch.uint8), "data_samples": data_samples}


def batch(**options: Any) -> list[dict[str, Any]]:
    return [sample(1, (96, 80), **options), sample(2, (80, 96), **options)]
