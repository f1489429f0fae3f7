"""Non-maximum suppression as mmcv's compiled extension has it: hard, soft, and with the suppressed boxes' names.

Boxes (N, 4) are x1, y1, x2, y2 in pixels; with `offset` 1 a box is x2 - x1 + 1 wide, with 0 it is x2 - x1.
Of equal scores, the box that comes first in the input goes first.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decay", "nms", "nms_match", "paired_iou", "softnms"]

METHODS = ("naive", "linear", "gaussian")


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) of the boxes that no better box overlaps by more than `iou_threshold`, best first.

    The threshold is rounded to the precision in which the IoU is computed: an IoU of exactly 0.6 in float32 lies
    above 0.6 in float64, and would be suppressed or not depending on the precision.

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
    >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), iou_threshold=0.5, offset=0)
    tensor([1, 2])
    """
    from torchvision import ops

    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    if offset:
        # (x2 + 1) - x1 is (x2 - x1) + 1 in float64, for boxes given in float32; in float32 it is not.
        dtype = torch.float64
        boxes = boxes.to(dtype) + boxes.new_tensor([0, 0, offset, offset], dtype=dtype)
    threshold = torch.tensor(iou_threshold, dtype=dtype).item()
    kept: Tensor = ops.nms(boxes.to(dtype), scores.to(dtype), threshold)
    return kept


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017): boxes that a better one overlaps lose score instead of being dropped.

    Args:
        boxes, scores: (N, 4) and (N,), on the CPU.
        dets: (N, 5), written: its first K rows become the boxes and decayed scores, in the order they were chosen.
        iou_threshold: overlap from which `naive` (0) sets the score to 0 and `linear` (1) multiplies it by 1 - IoU.
        sigma: `gaussian` (2) multiplies every score by exp(-IoU^2 / sigma).
        min_score: a box is dropped when its score is below; the best box of all is always kept.
        method: position in `METHODS`.
        offset: 0 or 1.

    Returns:
        Indices (K,) of the boxes of `dets`.
    """
    current = scores.clone()
    rest = torch.arange(len(boxes))
    chosen: list[int] = []
    while rest.numel():
        best = int(current[rest].argmax())
        index = int(rest[best])
        dets[len(chosen), :4], dets[len(chosen), 4] = boxes[index], current[index]
        chosen.append(index)
        rest = torch.cat((rest[:best], rest[best + 1 :]))
        iou = paired_iou(boxes[index], boxes[rest], offset)
        current[rest] *= decay(iou, iou_threshold, sigma, METHODS[method])
        rest = rest[current[rest] >= min_score]
    return torch.tensor(chosen, dtype=torch.int64)


def nms_match(dets: Tensor, *, iou_threshold: float) -> list[list[int]]:
    """For each box that NMS keeps, best first: its index, then those of the boxes it suppresses, best first.

    `dets` (N, 5) are boxes and scores, on the CPU. As in mmcv, an IoU equal to the threshold suppresses here.

    >>> nms_match(torch.tensor([[0.0, 0, 10, 9, 0.5], [0, 0, 10, 10, 0.9], [20, 0, 30, 10, 0.7]]), iou_threshold=0.5)
    [[1, 0], [2]]
    """
    boxes, groups = dets[:, :4], []
    rest = dets[:, 4].argsort(descending=True, stable=True)
    while rest.numel():
        suppressed = paired_iou(boxes[rest[0]], boxes[rest], 0) >= iou_threshold
        suppressed[0] = True  # a box without area overlaps nothing, itself included
        groups.append(rest[suppressed].tolist())
        rest = rest[~suppressed]
    return groups


def decay(iou: Tensor, threshold: float, sigma: float, method: str) -> Tensor:
    """What soft-NMS multiplies scores by, given the overlaps with a better box; see `softnms`."""
    if method == "gaussian":
        return torch.exp(-(iou**2) / sigma)
    reduced = 1 - iou if method == "linear" else torch.zeros_like(iou)
    return torch.where(iou >= threshold, reduced, 1.0)


def paired_iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """IoU (N,) of boxes a (N, 4), or one box (4,), with boxes b (N, 4)."""
    lower, upper = torch.maximum(a[..., :2], b[:, :2]), torch.minimum(a[..., 2:], b[:, 2:])
    intersection = (upper - lower + offset).clamp(min=0).prod(1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2] + offset).prod(-1) for boxes in (a, b))
    return intersection / (area_a + area_b - intersection)
