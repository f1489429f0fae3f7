"""How many training images each class of a classification miniature has: exactly so many in all, a long tail."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def long_tail(images: int, classes: int, imbalance_factor: float) -> NDArray[np.int64]:
    """Training images per class, most frequent first, falling exponentially to about 1 / `imbalance_factor`.

    Where there are too few images for that factor, the rarest class has one. The rounding is made up for by the most
    frequent class.

    >>> long_tail(800, 20, 64).tolist()
    [170, 133, 105, 83, 66, 52, 41, 33, 26, 21, 16, 13, 10, 8, 6, 5, 4, 3, 3, 2]
    """
    low, high = 1, images
    while low < high:
        middle = (low + high + 1) // 2
        fits = _counts(middle, classes, imbalance_factor).sum() <= images
        low, high = (middle, high) if fits else (low, middle - 1)
    counts = _counts(low, classes, imbalance_factor)
    counts[0] += images - counts.sum()
    return counts


def _counts(largest: int, classes: int, imbalance_factor: float) -> NDArray[np.int64]:
    smallest = max(1.0, np.floor(largest / imbalance_factor))
    decay = (smallest / largest) ** (np.arange(classes) / (classes - 1))
    return np.asarray(np.maximum(1, np.round(largest * decay)), np.int64)
