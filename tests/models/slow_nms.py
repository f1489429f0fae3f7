"""Non-maximum suppression in plain loops, and boxes to try it on."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def random_boxes(count: int, size: float = 60.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) on whole pixels, so that overlaps are often equal; scores (N,) of 20 values, so that they tie."""
    generator = torch.Generator().manual_seed(seed)
    corner = (torch.rand(count, 2, generator=generator) * size).round()
    extent = (torch.rand(count, 2, generator=generator) * 30).round()
    scores = torch.randint(1, 21, (count,), generator=generator) / 20
    return torch.cat((corner, corner + extent), 1), scores


def overlap(a: list[float], b: list[float], offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else math.nan


def slow_nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    rows, kept = boxes.tolist(), list[int]()
    for index in sorted(range(len(rows)), key=lambda index: -float(scores[index])):
        if not any(overlap(rows[index], rows[other], offset) > threshold for other in kept):
            kept.append(index)
    return kept


def slow_soft_nms(
    boxes: Tensor, scores: Tensor, threshold: float, sigma: float, least: float, method: str, offset: int
) -> list[tuple[int, float]]:
    rows, rest, chosen = boxes.tolist(), dict(enumerate(scores.tolist())), list[tuple[int, float]]()
    while rest:
        best = max(rest, key=lambda index: (rest[index], -index))
        chosen.append((best, rest.pop(best)))
        for index in list(rest):
            iou = overlap(rows[best], rows[index], offset)
            if method == "gaussian":
                rest[index] *= math.exp(-(iou**2) / sigma)
            elif iou >= threshold:
                rest[index] *= 1 - iou if method == "linear" else 0
            if rest[index] < least:
                del rest[index]
    return chosen


def slow_nms_match(boxes: Tensor, scores: Tensor, threshold: float) -> list[list[int]]:
    rows, groups = boxes.tolist(), list[list[int]]()
    for index in sorted(range(len(rows)), key=lambda index: -float(scores[index])):
        # The group's first box is the best of those that suppress this one.
        suppressors = (group for group in groups if overlap(rows[group[0]], rows[index], 0) >= threshold)
        group = next(suppressors, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups
