"""What the data sets of images with masks have in common: two indexes and one map from values to classes."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from eqbench.data.detection import combined_digest
from eqbench.data.pixel_masks import storage
from eqbench.data.pixel_masks.augmentation import Augmentation, check_scale
from eqbench.data.pixel_masks.index import MaskIndex
from eqbench.data.pixel_masks.layout import Layout
from eqbench.data.pixel_masks.samples import Crops, Images
from eqbench.data.segmentation import SegmentationDataset
from eqbench.errors import InputError


class MaskDataset(SegmentationDataset):
    """Images with masks in folders; a plugin's constructor calls this one and then `open`.

    Args:
        crop_size: side of a training crop in pixels.
        scale: the longer and shorter side that a training image is fit into before it is scaled at random.
        ratio_range: by how much a training image is scaled at random, on top of that.
        cat_max_ratio: a crop is drawn again, up to ten times, while one class fills at least this share of it.
        flip: how often a crop is mirrored.
        distort: change brightness, contrast, saturation and hue at random.
        eval_scale: the longer and shorter side that an image is fit into for evaluation.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        crop_size: int = 512,
        scale: tuple[int, int] = (2048, 512),
        ratio_range: tuple[float, float] = (0.5, 2.0),
        cat_max_ratio: float = 0.75,
        flip: float = 0.5,
        distort: bool = True,
        eval_scale: tuple[int, int] = (2048, 512),
    ) -> None:
        check_scale("eval_scale", eval_scale)
        self.crop_size = crop_size
        self._eval_scale = eval_scale
        self._augmentation = Augmentation(
            crop_size=crop_size,
            scale=scale,
            ratio_range=ratio_range,
            cat_max_ratio=cat_max_ratio,
            flip=flip,
            distort=distort,
        )

    def open(self, layout: Layout) -> None:
        """Open the indexes, and see that there is something to learn.

        Raises:
            InputError: a file or folder is missing or not as it has to be, or there is nothing to learn.
        """
        self.layout = layout
        self.class_names = tuple(layout.class_names)
        self.published_groups = layout.published_groups
        self._train_index, self._eval_index = (storage.open_index(pairs) for pairs in (layout.train, layout.eval))
        for index in (self._train_index, self._eval_index):
            storage.refuse(list(index.wrong_labels(layout.labels)))
        check_learnable(layout, self.class_counts)

    @cached_property
    def digest(self) -> str:
        return digest_of(self.layout, self._train_index, self._eval_index)

    @cached_property
    def class_counts(self) -> Tensor:
        return torch.from_numpy(self._train_index.class_pixels(self.layout.labels))

    @cached_property
    def image_counts(self) -> Tensor:
        return torch.bincount(self.sample_classes()[1], minlength=self.num_classes)

    def sample_classes(self) -> tuple[Tensor, Tensor]:
        offsets, classes = self._train_index.image_classes(self.layout.labels)
        return torch.from_numpy(offsets), torch.from_numpy(classes)

    @cached_property
    def train(self) -> Crops:
        return Crops(self._train_index, self.layout.labels, self._augmentation)

    @cached_property
    def eval(self) -> Images:
        return Images(self._eval_index, self.layout.labels, self._eval_scale)


def check_learnable(layout: Layout, class_counts: Tensor) -> None:
    """Raises InputError unless there are training pixels of some class."""
    if not int(class_counts.sum()):
        raise InputError(f"{layout.train.masks}: every pixel of every mask is ignored; there is nothing to learn")


def digest_of(layout: Layout, train: MaskIndex, evaluation: MaskIndex) -> str:
    """Of names, masks, what their values mean and the classes' names; not of augmentation."""
    labels = layout.labels
    meaning = (labels.num_classes, labels.zero_ignored, labels.ignore)
    return combined_digest("masks", train.digest, evaluation.digest, meaning, *layout.class_names)
