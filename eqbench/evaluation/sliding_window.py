"""Logits of images that are larger than what a network was trained on, from overlapping windows.

Legend: n images of one size, K columns of logits, S the side of a window.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride` pixels, the last one where it ends with the image.

    >>> starts(10, window=4, stride=4), starts(3, window=4, stride=4)
    ([0, 4, 6], [0])
    """
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def slide(predict: Callable[[Tensor], Tensor], images: Tensor, window: int, stride: int) -> Tensor:
    """(n, K, h, w) logits, each pixel the mean over the windows that it is in.

    Args:
        predict: images (n, 3, S, S) to logits (n, K, S, S).
        images: (n, 3, h, w) normalised. Those smaller than a window are padded at the right and at the bottom with 0,
            the mean colour.
        window: S.
        stride: from one window to the next, at most S.
    """
    height, width = images.shape[-2:]
    padded = pad(images, (0, max(window - width, 0), 0, max(window - height, 0)))
    total: Tensor | None = None
    times = images.new_zeros(padded.shape[-2:])
    for top in starts(height, window, stride):
        for left in starts(width, window, stride):
            place = (..., slice(top, top + window), slice(left, left + window))
            logits = predict(padded[place])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], *padded.shape[-2:])
            total[place] += logits
            times[place] += 1
    assert total is not None
    return torch.div(total, times)[..., :height, :width]
