"""Mixup and CutMix of the samples of a batch.

Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018; Yun et al., CutMix, ICCV 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eqbench.data.image_files.normalization import Normalization
from eqbench.data.labelled_images.random_state import torch_random_state
from eqbench.data.sampling.order import hashed


@dataclass(frozen=True, slots=True)
class Mixing:
    """Parameters alpha of the two Beta distributions; 0 switches one off. With both, each batch has one at random.

    Raises:
        ValueError: an alpha is negative or not finite.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not 0 <= alpha < math.inf:
                raise ValueError(f"{name} {alpha}: expected a number of at least 0")

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def apply(
        self, images: Tensor, labels: Tensor, normalization: Normalization, num_classes: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """(n, 3, S, S) uint8 and (n,) int64 to float32 normalised images and (n, C) float32 shares of the classes.

        Every image is mixed with its neighbour in the batch, all by the same share; the partners of a worker's images
        are of the same worker.
        """
        images = normalization.apply(images)
        if not len(labels):
            return images, torch.zeros(0, num_classes)
        with torch_random_state(hashed(seed, 1)):  # not the numbers that the first image was cropped by
            mixed: tuple[Tensor, Tensor] = self._transform(num_classes)(images, labels)
        return mixed

    def _transform(self, num_classes: int) -> Any:
        from torchvision.transforms import v2

        steps = [
            kind(alpha=alpha, num_classes=num_classes)
            for kind, alpha in ((v2.MixUp, self.mixup), (v2.CutMix, self.cutmix))
            if alpha > 0
        ]
        return steps[0] if len(steps) == 1 else v2.RandomChoice(steps)
