"""NMS within each class, for many classes at once.

Above 10,000 boxes mmcv calls nms once per class: 2,408 calls for two LVIS images. Here each class's boxes are moved
to a place of their own and one call serves all classes. They are moved in float64: the last of 1,203 classes on an
image of 1,333 pixels lies 1.6 million pixels away, where float32 has steps of 1/8 pixel and overlaps would change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from eqbench.models.mmcv_ops.class_wise_soft_nms import class_wise_soft_nms
from eqbench.models.mmcv_ops.nms import nms

__all__ = ["batched_nms"]

# Time and, on a GPU, memory grow with the square of the boxes in a call: 16,384 boxes take 32 MiB. More than that
# (1,203 classes and hardly a score threshold) are dealt to several calls, each with whole classes; on the CPU, where
# a call costs little, to smaller ones: 100,000 boxes take 0.3 s in calls of 2,048, and 6 s in calls of 32,768.
ONE_CALL = 16_384
BOXES_PER_CALL = {"cpu": 2_048}

# mmcv's own function, for rotated boxes and other kinds; `install` puts it here.
other_kinds: Callable[..., tuple[Tensor, Tensor]] | None = None


def batched_nms(
    boxes: Tensor, scores: Tensor, idxs: Tensor, nms_cfg: Mapping[str, Any] | None, class_agnostic: bool = False
) -> tuple[Tensor, Tensor]:
    """NMS among boxes of the same class, in the place of `mmcv.ops.batched_nms`.

    Where mmcv's results differ, it is because mmcv moves boxes in float32, moves them onto each other when
    coordinates are negative, and forgets `class_agnostic` above `split_thr` boxes.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels; may be empty.
        scores: (N,).
        idxs: (N,), integers; boxes of different ones do not suppress each other.
        nms_cfg: `iou_threshold`, and optionally `type`, `offset` (0 or 1), `score_threshold`, `max_num`,
            `class_agnostic`; `split_thr` is ignored. Those of type soft_nms are `class_wise_soft_nms`'s; other types
            go to mmcv. None sorts, no more.
        class_agnostic: all boxes count as one class.

    Returns:
        Boxes with scores (K, 5), best first, and their positions (K,) in the input.
    """
    if nms_cfg is None:
        scores, keep = scores.sort(descending=True, stable=True)
        return torch.cat((boxes[keep], scores[:, None]), 1), keep
    options = dict(nms_cfg)
    kind = options.pop("type", "nms")
    if kind not in ("nms", "soft_nms") or boxes.size(-1) != 4:
        assert other_kinds is not None, "install() comes first"
        return other_kinds(boxes, scores, idxs, dict(nms_cfg), class_agnostic)
    if "iou_thr" in options:  # the name in mmdet's older configs
        options["iou_threshold"] = options.pop("iou_thr")
    options.pop("split_thr", None)
    if options.pop("class_agnostic", class_agnostic):
        idxs = torch.zeros_like(idxs)
    if kind == "soft_nms":
        return class_wise_soft_nms(boxes, scores, idxs, **options)
    keep = _keep(boxes, scores, idxs, **options)
    return torch.cat((boxes[keep], scores[keep, None]), 1), keep


def _keep(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    *,
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0.0,
    max_num: int = -1,
) -> Tensor:
    """Positions (K,) of the boxes kept, best first; as `mmcv.ops.nms` does, a score threshold of 0 keeps all."""
    candidates = torch.arange(len(scores), device=scores.device)
    if score_threshold > 0:
        candidates = candidates[scores > score_threshold]
    if candidates.numel():
        _, classes, counts = torch.unique(idxs[candidates], return_inverse=True, return_counts=True)
        moved = _apart(boxes[candidates], classes)
        kept = [
            members[nms(moved[members], scores[candidates[members]], iou_threshold=iou_threshold, offset=offset)]
            for members in _calls(classes, counts)
        ]
        candidates = candidates[torch.cat(kept).sort().values] if len(kept) > 1 else candidates[kept[0]]
        candidates = candidates[scores[candidates].argsort(descending=True, stable=True)]
    return candidates[:max_num] if max_num > 0 else candidates


def _apart(boxes: Tensor, classes: Tensor) -> Tensor:
    """Boxes (N, 4) in float64, those of class c moved by c times more than the width of all; not finite: as 0."""
    boxes = boxes.double()
    low, high = boxes.nan_to_num(0, 0, 0).aminmax()
    # A whole number of pixels, which keeps coordinates exact; 2 pixels between them, for an `offset` of 1.
    return boxes + (classes * ((high - low).ceil() + 2))[:, None]


def _calls(classes: Tensor, counts: Tensor) -> list[Tensor]:
    """Positions of the boxes of each call: all, or of the classes that begin among the same so many boxes."""
    if len(classes) <= ONE_CALL:
        return [torch.arange(len(classes), device=classes.device)]
    call = ((counts.cumsum(0) - counts) // BOXES_PER_CALL.get(classes.device.type, ONE_CALL))[classes]
    return [(call == number).nonzero()[:, 0] for number in range(int(call.max()) + 1)]
