"""Images of noise: any number of any size, from memory, so that a benchmark times the loop and not a disk.

Legend: N images, C classes, images (N, 3, size, size).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eqbench.data.base import Dataset, Draw, Samples

__all__ = ["RandomImages"]

DIFFERENT_IMAGES = 512
EVALUATED = 16


class NoiseSamples(Samples):
    """`count` samples out of a smaller number of images; labels go round the classes."""

    def __init__(self, images: Tensor, count: int, num_classes: int) -> None:
        self.images = images
        self.count = count
        self.num_classes = num_classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        return self.images[draw.index % len(self.images)], torch.tensor(draw.index % self.num_classes)

    def collate(self, samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if not samples:
            return self.images[:0], torch.empty(0, dtype=torch.int64)
        images, labels = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(labels)


class RandomImages(Dataset):
    """Normal noise with balanced labels.

    Args:
        num_images: training samples N.
        classes: number of classes C.
        size: height and width.
    """

    group_names = ("many",)

    def __init__(self, *, num_images: int, classes: int = 100, size: int = 32) -> None:
        self.class_names = tuple(map(str, range(classes)))
        self._digest = f"noise-{num_images}-{classes}-{size}"
        images = torch.randn(DIFFERENT_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
        self._train = NoiseSamples(images, num_images, classes)
        self._eval = NoiseSamples(images, EVALUATED, classes)

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def class_counts(self) -> Tensor:
        labels = torch.arange(len(self._train)) % self.num_classes
        return torch.bincount(labels, minlength=self.num_classes)

    @property
    def groups(self) -> Sequence[str]:
        return ("many",) * self.num_classes

    @property
    def train(self) -> Samples:
        return self._train

    @property
    def eval(self) -> Samples:
        return self._eval
