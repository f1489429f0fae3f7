"""Base of the data sets whose images are files with one label each."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from eqbench.data.labelled_images.image_list import ImageList
from eqbench.data.labelled_images.long_tail import LongTailedImages
from eqbench.data.labelled_images.samples import Augmentation, EvaluationImages, TrainingImages


class LabelledImages(LongTailedImages):
    """Image files with one label each. Subclasses say which, and take these options as `**options`.

    In training a random crop is resized to a square, flipped and jittered, by the seed of its draw alone; for
    evaluation the middle of the image is taken. An image that cannot be decoded, or is cut off, ends the run with an
    InputError that names the file. JPEGs that lack a part but are closed with an end marker are decoded, with grey for
    what is missing; only `eqbench data verify --deep` finds them.

    Args:
        image_size: side of the images that a network sees, in pixels.
        resize: length that an image's shorter side gets for evaluation, before its middle is cut out.
        scale: smallest and largest share of an image's area that a training crop has; its sides are 3:4 to 4:3.
        flip: probability of mirroring a training image.
        color_jitter: strengths of brightness, contrast, saturation and hue; none by default.
        options: as of `LongTailedImages`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        resize: int = 256,
        scale: tuple[float, float] = (0.08, 1.0),
        flip: float = 0.5,
        color_jitter: tuple[float, float, float, float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.augmentation = Augmentation(image_size, resize, scale, flip, color_jitter)

    @property
    @abstractmethod
    def train_images(self) -> ImageList:
        """Training images; cheap after the first time."""

    @property
    @abstractmethod
    def eval_images(self) -> ImageList:
        """Evaluation images; cheap after the first time."""

    @property
    def train_labels(self) -> Tensor:
        return self.train_images.labels

    @cached_property
    def digest(self) -> str:
        return digest_of(self.class_names, self.thresholds, (self.train_images, self.eval_images))

    @cached_property
    def train(self) -> TrainingImages:
        return TrainingImages(self.train_images, self.augmentation, self.mixing, self.normalization, self.num_classes)

    @cached_property
    def eval(self) -> EvaluationImages:
        return EvaluationImages(self.eval_images, self.augmentation)


def digest_of(class_names: Sequence[str], thresholds: tuple[int, int], lists: Sequence[ImageList]) -> str:
    """32 hexadecimal digits of which images there are, with which labels and groups.

    Not of the images themselves, which would have to be read, nor of where they are, nor of the augmentation.
    """
    content = hashlib.sha256(repr((tuple(class_names), thresholds)).encode())
    for images in lists:
        content.update(images.digest().encode())
    return content.hexdigest()[:32]
