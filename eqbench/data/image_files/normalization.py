"""Pixels from 0 to 255 to what networks expect, on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor) -> Tensor:
        """`(x / 255 - mean) / std` of uint8 (n, channels, H, W), as float32 on their device; float images as they are.

        Batches travel as bytes from the loader's processes to the device: a quarter of what floats would be. The
        result is contiguous, whatever the order in memory of `images`.
        """
        if images.is_floating_point():
            return images
        scale, shift = _factors(self, images.device)
        floats = images.to(torch.float32, memory_format=torch.contiguous_format)
        return floats.mul_(scale).add_(shift)  # on a CPU faster than what is one pass


@lru_cache(maxsize=64)
def _factors(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    """Such that `x * scale + shift` is `(x / 255 - mean) / std`; both (channels, 1, 1) float32."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (normalization.mean, normalization.std)
    )
    scale, shift = 1 / (255 * std), -mean / std
    return scale.float().to(device), shift.float().to(device)


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
