"""A long-tailed set of coloured shapes with label masks, drawn in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from eqbench.data.base import Draw
from eqbench.data.segmentation import SegmentationDataset
from eqbench.losses.base import Loss
from eqbench.models.segmentor import Segmentor
from eqbench.run_spec import Plugin

IGNORED = 255
TINY = Plugin(name="segmentor", params={"architecture": "fcn", "backbone": "resnet8", "norm": "group", "width": 4})


def segmentor(**params: object) -> Plugin:
    """The smallest network, with other parameters."""
    return Plugin(name="segmentor", params={**TINY.params, **params})


def painted(
    class_id: int, size: tuple[int, int], generator: torch.Generator, num_classes: int
) -> tuple[Tensor, Tensor]:
    """A square of the class's colour on background (class 0), a rim of pixels without class around it."""
    height, width = size
    labels = torch.zeros(height, width, dtype=torch.uint8)
    side = min(size) // 2
    top, left = (int(torch.randint(0, room - side + 1, (), generator=generator)) for room in size)
    labels[max(top - 1, 0) : top + side + 1, max(left - 1, 0) : left + side + 1] = IGNORED
    labels[top : top + side, left : left + side] = class_id
    palette = torch.tensor([[40 + 200 * (c >> bit & 1) for bit in range(3)] for c in range(num_classes)])
    colours = palette[labels.where(labels != IGNORED, 0).long()].permute(2, 0, 1)
    noise = torch.randint(-20, 21, colours.shape, generator=generator)
    return (colours + noise).clamp(0, 255).to(torch.uint8), labels


class ShapeSamples:
    """Images with one shape each, decided by class and position; `sizes` are taken in turn."""

    def __init__(
        self, classes: Sequence[int], sizes: Sequence[tuple[int, int]], num_classes: int, *, shown: float = 1.0
    ) -> None:
        self.classes = list(classes)
        self.names = [f"shape_{index}" for index in range(len(classes))]
        self._sizes = list(sizes)
        self._num_classes = num_classes
        self._shown = shown

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(draw.index)
        size = self._sizes[draw.index % len(self._sizes)]
        image, labels = painted(self.classes[draw.index], size, generator, self._num_classes)
        if self._shown != 1:
            scaled = torch.nn.functional.interpolate(image[None].float(), scale_factor=self._shown, mode="bilinear")
            image = scaled[0].round().to(torch.uint8)
        return image, labels


class Crops(ShapeSamples):
    """Training crops, all of one size."""

    def collate(self, samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if not samples:
            height, width = self._sizes[0]
            return torch.empty(0, 3, height, width, dtype=torch.uint8), torch.empty(0, height, width, dtype=torch.int64)
        images, labels = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(labels).long()


class WholeImages(ShapeSamples):
    """Images and masks, each of its own size."""

    def collate(self, samples: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        return [image for image, _ in samples], [labels for _, labels in samples]


class Shapes(SegmentationDataset):
    """Five classes: background, and shapes of four colours, `counts` training images of each.

    Args:
        counts: training images by the shape's class, from 1 on.
        size: side of crops and images.
        sizes: of evaluation images, in turn; those of training where None.
        shown: evaluation images are so many times as large as their labels.
    """

    digest = "shapes"

    def __init__(
        self,
        counts: Sequence[int] = (12, 6, 3, 1),
        *,
        size: int = 32,
        sizes: Sequence[tuple[int, int]] | None = None,
        shown: float = 1.0,
        per_class: int = 2,
        published: bool = False,
    ) -> None:
        self.class_names = ("background", *(f"colour {number}" for number in range(1, len(counts) + 1)))
        self.crop_size = size
        classes = range(1, self.num_classes)
        training = [each for each, count in zip(classes, counts, strict=True) for _ in range(count)]
        self._train = Crops(training, [(size, size)], self.num_classes)
        self._eval = WholeImages(
            [each for each in classes for _ in range(per_class)],
            sizes or [(size, size)],
            self.num_classes,
            shown=shown,
        )
        self.published_groups = ["tail", "body", "body", "head", "head"] if published else None

    @property
    def train(self) -> Crops:
        return self._train

    @property
    def eval(self) -> WholeImages:
        return self._eval

    @cached_property
    def class_counts(self) -> Tensor:  # type: ignore[override]
        labels = torch.stack([self.train[Draw(index, 0)][1] for index in range(len(self.train))])
        return torch.bincount(labels[labels != IGNORED].long(), minlength=self.num_classes)

    @property
    def image_counts(self) -> Tensor:
        return torch.tensor([len(self.train), *(self.train.classes.count(each) for each in range(1, self.num_classes))])

    def sample_classes(self) -> tuple[Tensor, Tensor]:
        classes = torch.tensor([[0, each] for each in self.train.classes])
        return 2 * torch.arange(len(self.train) + 1), classes.flatten()


class PerPixel(nn.Module):
    """A network that looks at single pixels: a 1 x 1 convolution."""

    def __init__(self, *, build_loss: Callable[[], Loss]) -> None:
        super().__init__()
        self.loss = build_loss()
        self.network = nn.Conv2d(3, self.loss.columns, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None, normalizer: float | None = None) -> Any:
        logits = self.network(images)
        return logits if labels is None else {"loss": self.loss(logits, labels, normalizer=normalizer)}


class WithoutDropout(Segmentor):
    """The smallest network, whose training does not depend on how a batch is shared."""

    def __init__(self, *, build_loss: Callable[[], Loss], auxiliary_weight: float = 0.4) -> None:
        super().__init__(
            build_loss=build_loss,
            architecture="fcn",
            backbone="resnet8",
            norm="group",
            width=4,
            auxiliary_weight=auxiliary_weight,
        )
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
