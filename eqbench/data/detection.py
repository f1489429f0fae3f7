"""What data sets of annotated images offer to object detection, beyond what every data set offers."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqbench.data.base import Dataset, Draw

GROUPS = ("f", "c", "r")
"""LVIS's own labels of frequent, common and rare categories."""


class AnnotatedImages(Protocol):
    """Images with their annotations, read on access; a sample is its record."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> dict[str, Any]: ...

    def collate(self, samples: list[Any]) -> list[Any]: ...

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """(I,) ids of the images in their annotation file."""

    def record(self, index: int) -> dict[str, Any]:
        """One image as mmdet's transforms take it: `img_path`, `img_id`, `height`, `width`, `instances`."""

    def classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(I + 1,) offsets and the distinct classes of each image one after the other."""


class DetectionDataset(Dataset):
    """A long-tailed data set of images with boxes, and maybe masks, in LVIS or COCO format.

    Attributes:
        eval_annotations: the json file that predictions are judged with.
        category_ids: (C,) the file's id of each class; classes are numbered by ascending id.
        exhaustive: every category that is not annotated in an image is absent from it. LVIS says for each image
            which are; COCO-format files have nothing to say it with.
        masks: instances have polygons.
    """

    group_names = GROUPS
    eval_annotations: Path
    category_ids: Sequence[int]
    exhaustive: bool
    masks: bool

    @property
    @abstractmethod
    def train(self) -> AnnotatedImages:
        """Images with at least one annotation to learn from."""

    @property
    @abstractmethod
    def eval(self) -> AnnotatedImages:
        """All images to predict on."""

    @property
    @abstractmethod
    def image_counts(self) -> Tensor:
        """(C,) int64: training images with the class; `class_counts` are its instances."""

    @property
    def class_frequency(self) -> Tensor:
        """(C,) float32: share of the training images that show the class."""
        return (self.image_counts.double() / max(len(self.train), 1)).float()

    def sample_classes(self) -> tuple[Tensor, Tensor]:
        offsets, classes = self.train.classes()
        return torch.as_tensor(np.array(offsets, np.int64)), torch.as_tensor(np.array(classes, np.int64))


def combined_digest(*parts: object) -> str:
    """32 hexadecimal digits of the SHA-256 of the texts of `parts`, in order."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]
