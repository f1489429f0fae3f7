"""Soft-NMS (Bodla et al., ICCV 2017) within each class, for many classes at once.

mmcv moves each class's boxes away from the others' in float32, where 1,203 classes change overlaps and thereby scores.
Here no box moves: each round chooses the best remaining box of every class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.models.mmcv_ops.nms import decay, paired_iou

__all__ = ["class_wise_soft_nms"]


def class_wise_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    *,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    offset: int = 0,
    max_num: int = -1,
) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) with decayed scores (K, 5), best first, and their positions (K,).

    A box loses score to better ones of the same `idxs` only; see `softnms` for the other arguments, of which those
    left out are mmcv's. There are as many rounds as the largest class has boxes.
    """
    _, classes = torch.unique(idxs, return_inverse=True)
    current = scores.to(torch.promote_types(scores.dtype, torch.float32), copy=True)
    rest = (current >= min_score).nonzero()[:, 0]
    if not rest.numel():
        rest = current.argmax()[None] if current.numel() else rest  # softnms keeps the best of all in any case
    chosen = [rest[:0]]
    while rest.numel():
        leaders = rest[_best(current[rest], classes[rest])]
        others = leaders != rest
        chosen.append(rest[~others])
        rest, leaders = rest[others], leaders[others]
        current[rest] *= decay(paired_iou(boxes[leaders], boxes[rest], offset), iou_threshold, sigma, method)
        rest = rest[current[rest] >= min_score]
    keep = torch.cat(chosen).sort().values
    keep = keep[current[keep].argsort(descending=True, stable=True)]
    keep = keep[:max_num] if max_num > 0 else keep
    return torch.cat((boxes[keep], current[keep, None]), 1), keep


def _best(scores: Tensor, classes: Tensor) -> Tensor:
    """For each box (N,), the position of the best of its class, the first one of equals."""
    size, positions = int(classes.max()) + 1, torch.arange(len(scores), device=scores.device)
    top = scores.new_zeros(size).scatter_reduce(0, classes, scores, "amax", include_self=False)
    equal = ~(scores < top[classes])
    first = positions.new_zeros(size).scatter_reduce(0, classes[equal], positions[equal], "amin", include_self=False)
    return first[classes]
