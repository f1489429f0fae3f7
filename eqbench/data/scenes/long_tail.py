"""How many images show each class: a Zipf-Mandelbrot law whose groups r, c and f are LVIS's where they can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_SHARE = 0.6  # of the training images that show the most frequent class
CLASSES_PER_IMAGE = 4  # at most, on average
COMMON_ABOVE, FREQUENT_ABOVE = 10, 100  # images, LVIS v1
IMAGES_FOR_LVIS_GROUPS = 150  # of the most frequent class; with fewer, the thresholds shrink in proportion
EVAL_CLASSES_PER_IMAGE = 3
EVAL_IMAGES_PER_CLASS = 3  # at least
FEWEST_EVAL_IMAGES = 8


@dataclass(frozen=True, slots=True)
class LongTail:
    """Training images per class, most frequent class first, and the thresholds of the groups."""

    counts: NDArray[np.int64]
    common_above: int
    frequent_above: int

    def group(self, images: int) -> str:
        """`f` above `frequent_above` images, else `c` above `common_above`, else `r`."""
        return "f" if images > self.frequent_above else "c" if images > self.common_above else "r"


def long_tail(images: int, classes: int) -> LongTail:
    """The counts that `images` training images leave to `classes` classes.

    The most frequent class is in 60 % of the images, or in fewer where the images would have more than four classes
    on average.

    >>> tail = long_tail(400, 60)
    >>> tail.counts[:4].tolist(), tail.counts[-1].item(), tail.common_above, tail.frequent_above
    ([192, 161, 136, 116], 2, 10, 100)
    """
    low, high = 1, round(LARGEST_SHARE * images)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _mandelbrot(middle, classes).sum() <= CLASSES_PER_IMAGE * images
        low, high = (middle, high) if fits else (low, middle - 1)
    scale = _scale(low)
    return LongTail(_mandelbrot(low, classes), max(1, round(COMMON_ABOVE * scale)), round(FREQUENT_ABOVE * scale))


def eval_images(images: int, classes: int) -> int:
    """Evaluation images for `images` training images: a quarter as many, or enough for every class."""
    for_every_class = classes * EVAL_IMAGES_PER_CLASS // EVAL_CLASSES_PER_IMAGE
    return max(-(-images // 4), for_every_class, FEWEST_EVAL_IMAGES)


def eval_counts(counts: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Evaluation images per class, flatter than `counts`: in proportion to its square root, at least three."""
    shares = np.sqrt(counts)
    wanted = np.round(shares * (EVAL_CLASSES_PER_IMAGE * images / shares.sum()))
    return np.asarray(np.clip(wanted, EVAL_IMAGES_PER_CLASS, images // 2), np.int64)


def _scale(largest: int) -> float:
    return min(1.0, largest / IMAGES_FOR_LVIS_GROUPS)


def _mandelbrot(largest: int, classes: int) -> NDArray[np.int64]:
    """`largest * ((1 + q) / (k + q)) ** s` for k = 1..C, with q = C / 4 and s such that the last is of group r."""
    smallest = max(1, round(COMMON_ABOVE * _scale(largest)) // 4)
    offset = classes / 4
    exponent = np.log(largest / smallest) / np.log((classes + offset) / (1 + offset))
    ranks = np.arange(1, classes + 1)
    return np.asarray(np.maximum(1, np.round(largest * ((1 + offset) / (ranks + offset)) ** exponent)), np.int64)


def spread(counts: NDArray[np.int64], images: int, empty: int, rng: np.random.Generator) -> list[list[int]]:
    """Which classes each image shows: class k in `counts[k]` images, about equally many classes in each image.

    `empty` images, drawn at random, show none.
    """
    load = rng.random(images)
    load[rng.permutation(images)[:empty]] = np.inf
    shown: list[list[int]] = [[] for _ in range(images)]
    for rank, count in enumerate(counts.tolist()):
        order = np.argsort(load + rng.uniform(0, 3, images), kind="stable")
        for image in order[:count].tolist():
            shown[image].append(rank)
        load[order[:count]] += 1
    return shown
