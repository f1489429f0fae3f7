"""Image files as samples: decoded, augmented or cropped, and put together to batches.

The transforms are torchvision's, on uint8 tensors: a crop is taken before anything is resized, and what is resized
are bytes, three channels side by side, for which torch has a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from eqbench.data.base import Draw, Samples
from eqbench.data.image_files.decoding import decode_image
from eqbench.data.image_files.normalization import Normalization
from eqbench.data.labelled_images.image_list import ImageList
from eqbench.data.labelled_images.mixing import Mixing
from eqbench.data.labelled_images.random_state import torch_random_state

Labelled = tuple[Tensor, int]
Seeded = tuple[Tensor, int, int]
"""An image (3, S, S) uint8, its label, the seed of its draw."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Sizes in pixels, and what is random in training.

    Raises:
        ValueError: a value is out of its range.
    """

    image_size: int
    resize: int
    scale: tuple[float, float]
    flip: float
    color_jitter: tuple[float, float, float, float] | None

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size {self.image_size}: expected at least 1 pixel")
        if self.resize < self.image_size:
            raise ValueError(f"resize {self.resize}: expected at least image_size, {self.image_size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"scale {self.scale}: expected two shares of the image's area, 0 < smallest <= largest <= 1"
            )
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip {self.flip}: expected a probability, 0 to 1")
        if self.color_jitter is not None and not (
            all(0 <= strength <= 1 for strength in self.color_jitter[:3]) and 0 <= self.color_jitter[3] <= 0.5
        ):
            raise ValueError(
                f"color_jitter {self.color_jitter}: expected brightness, contrast and saturation of 0 to 1, "
                "hue of 0 to 0.5"
            )

    def training(self) -> Any:
        """A random crop of `scale` of the area, resized; a flip; jitter of brightness, contrast, saturation, hue."""
        from torchvision.transforms import v2

        from eqbench.data.labelled_images.color_jitter import ColorJitter

        steps: list[Any] = [v2.RandomResizedCrop(self.image_size, scale=self.scale, antialias=True)]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.color_jitter:
            steps.append(ColorJitter(*self.color_jitter))
        return v2.Compose(steps)

    def evaluation(self) -> Any:
        """The shorter side to `resize`, then the middle."""
        from torchvision.transforms import v2

        return v2.Compose([v2.Resize(self.resize, antialias=True), v2.CenterCrop(self.image_size)])


class TrainingImages(Samples):
    """Augmented images. A sample depends on its draw alone, a mixed batch also on the draws of its other samples.

    A batch is `(images (n, 3, S, S) uint8, labels (n,) int64)`; with mixing `(images float32, normalised, shares of
    the classes (n, C) float32)`.
    """

    def __init__(
        self,
        images: ImageList,
        augmentation: Augmentation,
        mixing: Mixing,
        normalization: Normalization,
        num_classes: int,
    ) -> None:
        self.images = images
        self._augmentation = augmentation
        self._mixing = mixing
        self._normalization = normalization
        self._num_classes = num_classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> Seeded:
        image = decode_image(self.images.file(draw.index))
        with torch_random_state(draw.seed):
            image = self._transform(image)
        return image, int(self.images.labels[draw.index]), draw.seed

    def collate(self, samples: list[Seeded]) -> tuple[Tensor, Tensor]:
        size = self._augmentation.image_size
        images, labels = batch_of([(image, label) for image, label, _ in samples], size)
        if not self._mixing:
            return images, labels
        seed = samples[0][2] if samples else 0
        return self._mixing.apply(images, labels, self._normalization, self._num_classes, seed)

    @cached_property
    def _transform(self) -> Any:
        return self._augmentation.training()


class EvaluationImages(Samples):
    """The middle of each image. A batch is `(images (n, 3, S, S) uint8, labels (n,) int64)`."""

    def __init__(self, images: ImageList, augmentation: Augmentation) -> None:
        self.images = images
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> Labelled:
        image = decode_image(self.images.file(draw.index))
        return self._transform(image), int(self.images.labels[draw.index])

    def collate(self, samples: list[Labelled]) -> tuple[Tensor, Tensor]:
        return batch_of(samples, self._augmentation.image_size)

    @cached_property
    def _transform(self) -> Any:
        return self._augmentation.evaluation()


def batch_of(samples: Sequence[Labelled], image_size: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, S, S) and labels (n,) of `samples`, also of none.

    In a loader's process they are written to where the training process reads them.
    """
    batch = torch.empty(len(samples), 3, image_size, image_size, dtype=torch.uint8)
    if torch.utils.data.get_worker_info() is not None:
        batch.share_memory_()  # type: ignore[no-untyped-call]
    if samples:
        torch.stack([image for image, _ in samples], out=batch)
    return batch, torch.tensor([label for _, label in samples], dtype=torch.int64)
