"""Batches resized during training (YOLOX), the same on all processes and again after a resume."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class BatchResize(nn.Module):
    """Resizes batches to a side that changes every `interval` batches; takes the place of BatchSyncRandomResize.

    mmdet's draws a size on one process, sends it to the others, and forgets it when training stops. Here the size
    follows from the number of batches so far, which is in the state. As there, the first `interval` batches keep
    their size.

    Args:
        random_size_range: smallest and largest height in pixels.
        interval: batches between two changes.
        size_divisor: heights and widths are multiples of it.
    """

    batches: Tensor

    def __init__(self, random_size_range: tuple[int, int], interval: int = 10, size_divisor: int = 32) -> None:
        super().__init__()
        self._range = tuple(round(size / size_divisor) for size in random_size_range)
        self._interval = interval
        self._divisor = size_divisor
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def count(self) -> int:
        """The batches before this one, which is counted; also called for a batch without images."""
        before = int(self.batches)
        self.batches += 1
        return before

    def size(self, period: int, height: int, width: int) -> tuple[int, int]:
        """Height and width of batches in a period."""
        if period == 0:
            return height, width
        blocks = random.Random(period).randint(*self._range)
        return self._divisor * blocks, self._divisor * max(int(width / height * blocks), 1)

    def forward(self, inputs: Tensor, data_samples: list[Any]) -> tuple[Tensor, list[Any]]:
        """Images (N, 3, H, W) and their boxes at the size of the batch's period."""
        height, width = inputs.shape[-2:]
        size = self.size(self.count() // self._interval, height, width)
        if size == (height, width):
            return inputs, data_samples
        factors = size[0] / height, size[1] / width
        for sample in data_samples:
            shapes = {key: scaled(sample.metainfo[key], factors) for key in ("img_shape", "pad_shape")}
            sample.set_metainfo({**shapes, "batch_input_shape": size})
            for key in ("gt_instances", "ignored_instances"):
                if key in sample:
                    boxes = sample.get(key).bboxes
                    sample.get(key).bboxes = boxes * boxes.new_tensor([factors[1], factors[0]] * 2)
        return interpolate(inputs, size=size, mode="bilinear", align_corners=False), data_samples


def scaled(shape: tuple[int, ...], factors: tuple[float, float]) -> tuple[int, int]:
    return int(shape[0] * factors[0]), int(shape[1] * factors[1])
