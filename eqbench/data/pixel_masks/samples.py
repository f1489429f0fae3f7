"""Samples of images with masks, read on access.

Legend: S side of a training crop, H x W the image as it lies on disk, h x w as the model sees it in evaluation.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from eqbench.data.base import Draw
from eqbench.data.image_files.decoding import decode_image, decode_mask, properties
from eqbench.data.pixel_masks.augmentation import Augmentation, fitting, resize_image
from eqbench.data.pixel_masks.index import MaskIndex
from eqbench.data.pixel_masks.labels import LabelMap
from eqbench.data.pixel_masks.scanning import different_sizes
from eqbench.data.segmentation import Sample
from eqbench.errors import InputError


class Crops:
    """Random crops for training: images (3, S, S) and labels (S, S), both uint8."""

    def __init__(self, index: MaskIndex, labels: LabelMap, augmentation: Augmentation) -> None:
        self.index = index
        self.labels = labels
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, draw: Draw) -> Sample:
        return self.augmentation.apply(*read(self.index, self.labels, draw.index), draw.seed)

    def collate(self, samples: list[Sample]) -> tuple[Tensor, Tensor]:
        """Images (n, 3, S, S) and labels (n, S, S), both uint8: eight times less to move than int64."""
        side = self.augmentation.crop_size
        images = torch.empty(len(samples), 3, side, side, dtype=torch.uint8)
        labels = torch.empty(len(samples), side, side, dtype=torch.uint8)
        for row, (image, mask) in enumerate(samples):
            images[row], labels[row] = image, mask
        return images, labels


class Images:
    """Whole images for evaluation: fit into `scale` (3, h, w), with labels (H, W), both uint8."""

    def __init__(self, index: MaskIndex, labels: LabelMap, scale: tuple[int, int]) -> None:
        self.index = index
        self.labels = labels
        self.scale = scale

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the images: their file names without ending."""
        return tuple(name.rpartition(".")[0] for name in self.index.image_names)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, draw: Draw) -> Sample:
        image, labels = read(self.index, self.labels, draw.index)
        factor = fitting(labels.shape, self.scale)
        height, width = (max(1, round(side * factor)) for side in labels.shape)
        return resize_image(image, (height, width)), labels

    def collate(self, samples: list[Sample]) -> tuple[list[Tensor], list[Tensor]]:
        """Images (3, h, w) and labels (H, W), each of its own size."""
        return [image for image, _ in samples], [labels for _, labels in samples]


def read(index: MaskIndex, labels: LabelMap, number: int) -> Sample:
    """An image (3, H, W) and its labels (H, W), both uint8, as they lie on disk.

    Raises:
        InputError: a file is missing or damaged, the mask is of another size than the image, or has a wrong label.
    """
    image_file, mask_file = index.image_file(number), index.mask_file(number)
    image, mask = decode_image(image_file), decode_mask(mask_file)
    height, width = mask.shape
    if image.shape[1:] != mask.shape:
        raise InputError(different_sizes(mask_file, (height, width), properties(image_file)))
    return image, labels.apply(mask, mask_file)
