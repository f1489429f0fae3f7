"""What data sets of images with label masks offer to semantic segmentation, beyond what every data set offers.

Legend: N training images, n samples of a batch, C classes, S the side of a training crop, H x W an image as it lies on
disk, h x w as the model sees it in evaluation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from eqbench.data.base import Dataset, Draw
from eqbench.data.image_files.normalization import IMAGENET, Normalization

GROUPS = ("head", "body", "tail")
IGNORED = 255
"""The label of pixels that count nowhere."""
PUBLISHED = (20, 55, 75)
"""Classes of head, body and tail among ADE20K's 150. Zhang et al., "Distribution Alignment", CVPR 2021."""

Sample = tuple[Tensor, Tensor]
"""An image (3, rows, columns) uint8 and its labels (rows, columns) uint8."""


class TrainSamples(Protocol):
    """Random crops: images (3, S, S) with labels (S, S)."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> Sample: ...

    def collate(self, samples: list[Sample]) -> tuple[Tensor, Tensor]:
        """Images (n, 3, S, S) and labels (n, S, S), both uint8; n may be 0."""


class EvalSamples(Protocol):
    """Whole images: resized for the model (3, h, w), with labels (H, W) as they lie on disk."""

    @property
    def names(self) -> Sequence[str]:
        """Of the images: their file names without ending."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> Sample: ...

    def collate(self, samples: list[Sample]) -> tuple[list[Tensor], list[Tensor]]:
        """Images (3, h, w) uint8 and labels (H, W) uint8, each of its own size; the lists may be empty."""


class SegmentationDataset(Dataset):
    """A long-tailed data set of images with one label per pixel: a class from 0 to C - 1, or `ignore_index`.

    Images are bytes; `normalization.apply(images)` makes them what networks expect, on the device that trains.

    Attributes:
        crop_size: side S of a training crop in pixels.
        normalization: mean and standard deviation of the images' channels.
        published_groups: (C,) groups by class index as they were published, None where there are none.
    """

    group_names = GROUPS
    ignore_index: int = IGNORED
    normalization: Normalization = IMAGENET
    crop_size: int
    published_groups: Sequence[str] | None = None

    @property
    @abstractmethod
    def train(self) -> TrainSamples:
        """Training images, augmented."""

    @property
    @abstractmethod
    def eval(self) -> EvalSamples:
        """Evaluation images, not augmented."""

    @property
    @abstractmethod
    def class_counts(self) -> Tensor:
        """(C,) int64: training pixels of each class, before augmentation."""

    @property
    @abstractmethod
    def image_counts(self) -> Tensor:
        """(C,) int64: training images that show the class."""

    @abstractmethod
    def sample_classes(self) -> tuple[Tensor, Tensor]:
        """The distinct classes that each training image shows, as `Dataset.sample_classes`."""

    @property
    def class_frequency(self) -> Tensor:
        """(C,) float32: share of the training images that show the class."""
        return (self.image_counts.double() / max(len(self.train), 1)).float()

    @property
    def groups(self) -> Sequence[str]:
        """(C,) by training pixels: see `groups_by_pixels`."""
        return groups_by_pixels(self.class_counts)


def groups_by_pixels(counts: Tensor) -> list[str]:
    """(C,) groups of the classes by descending pixels: the first 20/150 are head, the next 55/150 body, the rest tail.

    Shares are rounded; of three classes or more each group has at least one. Of equal counts the lower class is first.

    >>> groups_by_pixels(torch.tensor([5, 900, 80, 70]))
    ['tail', 'head', 'body', 'tail']
    """
    order = torch.argsort(counts, descending=True, stable=True).tolist()
    groups = [""] * len(order)
    for group, class_id in zip(groups_in_order(len(order)), order, strict=True):
        groups[class_id] = group
    return groups


def groups_in_order(num_classes: int) -> list[str]:
    """(C,) groups of classes that are in order already, head first.

    >>> [groups_in_order(150).count(group) for group in GROUPS]
    [20, 55, 75]
    """
    total = sum(PUBLISHED)
    head = max(1, round(num_classes * PUBLISHED[0] / total))
    body = max(1, round(num_classes * (PUBLISHED[0] + PUBLISHED[1]) / total) - head) if num_classes > 2 else 0
    tail = num_classes - head - body
    return [group for group, number in zip(GROUPS, (head, body, tail), strict=True) for _ in range(number)]
