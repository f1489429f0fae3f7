"""Handwritten digits, subsampled to a long tail: 1,797 real images that scikit-learn ships, no download.

Legend: N samples, C = 10 classes, images (N, 1, 8, 8).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from eqbench.data.base import Dataset, Draw, Samples

__all__ = ["Digits"]

MEAN, STD = 0.3053, 0.3760  # of all 1,797 images, with pixels from 0 to 1


def long_tail_counts(largest: int, num_classes: int, imbalance_factor: float) -> list[int]:
    """Training samples per class, falling exponentially from `largest` to `largest / imbalance_factor`.

    `n_c = largest * imbalance_factor ** (-c / (C - 1))`, rounded down, as in CIFAR-LT: Cui et al.,
    Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019.

    >>> long_tail_counts(100, num_classes=3, imbalance_factor=100)
    [100, 10, 1]
    """
    decay = [imbalance_factor ** (-c / (num_classes - 1)) for c in range(num_classes)]
    return [math.floor(largest * factor + 1e-9) for factor in decay]  # 1e-9: 0.999... is a rounded 1


class DigitSamples(Samples):
    """Digits in memory; `augment` shifts each by up to one pixel in both directions, decided by `Draw.seed`.

    A batch is `(images (n, 1, 8, 8) float32, labels (n,) int64)`.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, augment: bool) -> None:
        self.images = images
        self.labels = labels
        self._augment = augment
        padded = (pad(images, (1, 1, 1, 1)) - MEAN) / STD
        self._windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # (N, 1, 3, 3, 8, 8): each image's nine shifts

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        row, column = divmod(draw.seed % 9, 3) if self._augment else (1, 1)
        return self._windows[draw.index, :, row, column], self.labels[draw.index]

    def collate(self, samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if not samples:
            return self.images.new_empty(0, *self.images.shape[1:]), self.labels.new_empty(0)
        images, labels = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(labels)


class Digits(Dataset):
    """The 8 x 8 handwritten digits of scikit-learn with an exponential long tail from class 0 to class 9.

    The test set holds `test_per_class` images of each class. Of the rest, the smallest class has as many as
    the largest class of the long tail, so that every class could take any place in it.

    Args:
        imbalance_factor: training images of the most frequent class over those of the rarest, at least 1.
        test_per_class: test images of each class.
        many_above, few_below: a class with more than `many_above` training images is of the group `many`,
            with fewer than `few_below` of `few`, and `medium` otherwise.
        split_seed: decides which images are used for what.
        augment: shift training images by up to one pixel.

    Raises:
        ValueError: an argument is out of range, or too few images are left for the imbalance factor.

    >>> Digits(imbalance_factor=50).class_counts.tolist()
    [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    """

    class_names = tuple(str(digit) for digit in range(10))
    group_names = ("many", "medium", "few")

    def __init__(
        self,
        *,
        imbalance_factor: float = 50.0,
        test_per_class: int = 50,
        many_above: int = 50,
        few_below: int = 10,
        split_seed: int = 0,
        augment: bool = True,
    ) -> None:
        if not 1 <= imbalance_factor < math.inf:
            raise ValueError(f"imbalance_factor {imbalance_factor}: expected a number of at least 1")
        if not 0 <= few_below <= many_above + 1:
            raise ValueError(
                f"few_below {few_below}, many_above {many_above}: expected 0 <= few_below <= many_above + 1, "
                "so that no class is in two groups"
            )
        if not 0 <= split_seed < 2**32:
            raise ValueError(f"split_seed {split_seed}: expected 0 to 2**32 - 1")
        self._thresholds = many_above, few_below
        images, labels = _load()
        train, test = self._split(labels, imbalance_factor, test_per_class, split_seed)
        self._train = DigitSamples(images[train], labels[train], augment=augment)
        self._eval = DigitSamples(images[test], labels[test], augment=False)

    def _split(
        self, labels: Tensor, imbalance_factor: float, test_per_class: int, split_seed: int
    ) -> tuple[Tensor, Tensor]:
        """Rows of the training and of the test images, class by class."""
        generator = torch.Generator().manual_seed(split_seed)
        shuffled = torch.randperm(len(labels), generator=generator)
        members = [shuffled[labels[shuffled] == digit] for digit in range(self.num_classes)]
        smallest = min(map(len, members))
        if not 1 <= test_per_class < smallest:
            raise ValueError(
                f"test_per_class {test_per_class}: expected 1 to {smallest - 1}, "
                f"the smallest class has {smallest} images"
            )
        counts = long_tail_counts(smallest - test_per_class, self.num_classes, imbalance_factor)
        if min(counts) < 1:
            raise ValueError(
                f"imbalance_factor {imbalance_factor}: expected at most {max(counts)}, the training images "
                f"that test_per_class {test_per_class} leaves to a class; the rarest class would have none"
            )
        train = [rows[test_per_class:][:count] for rows, count in zip(members, counts, strict=True)]
        test = [rows[:test_per_class] for rows in members]
        return torch.cat(train), torch.cat(test)

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256(repr(self._thresholds).encode())
        for samples in (self._train, self._eval):
            digest.update(samples.labels.numpy().tobytes())
            digest.update(samples.images.mul(16).to(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:32]

    @property
    def class_counts(self) -> Tensor:
        return torch.bincount(self._train.labels, minlength=self.num_classes)

    def sample_classes(self) -> tuple[Tensor, Tensor]:
        return torch.arange(len(self._train) + 1), self._train.labels

    @property
    def groups(self) -> Sequence[str]:
        many_above, few_below = self._thresholds
        return [
            "many" if count > many_above else "few" if count < few_below else "medium"
            for count in self.class_counts.tolist()
        ]

    @property
    def train(self) -> DigitSamples:
        return self._train

    @property
    def eval(self) -> DigitSamples:
        return self._eval


def _load() -> tuple[Tensor, Tensor]:
    """All images (1797, 1, 8, 8) float32 from 0 to 1, and labels (1797,) int64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).to(torch.float32).unsqueeze(1) / 16
    return images, torch.from_numpy(digits.target).to(torch.int64)
