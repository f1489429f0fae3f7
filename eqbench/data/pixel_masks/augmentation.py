"""Random crops of an image and its mask, and random colours.

Legend: S side of the crop, H x W the image.

The recipe is the usual one for scene parsing: scale at random, crop so that no class fills too much, mirror, change
colours, pad. What is cropped is decided before anything is scaled, so that only the crop is; its edges therefore lie
on whole pixels of the image, and the pixels along its edges are not mixed with those beyond.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from eqbench.data.segmentation import IGNORED

ATTEMPTS = 10
PADDING = (124, 116, 104)  # ImageNet's mean colour
BRIGHTNESS = 32.0  # added, of 255
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = math.pi / 5
CHANCE = 0.5  # of each of the four
AT_ONCE = 2**16

TO_LUMA_CHROMA = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
FROM_LUMA_CHROMA = np.linalg.inv(TO_LUMA_CHROMA)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training crops are made; every choice is a function of the seed alone.

    Args:
        crop_size: S.
        scale: the longer and shorter side that an image is fit into, its shape kept, before it is scaled at random.
        ratio_range: by how much it is scaled at random, on top of that.
        cat_max_ratio: a crop is drawn again, up to ten times, while one class fills at least this share of its
            labelled pixels; at 1 the first one is taken.
        flip: how often a crop is mirrored.
        distort: change brightness, contrast, saturation and hue, each for half of the crops.

    Raises:
        ValueError: an argument is out of range.
    """

    crop_size: int = 512
    scale: tuple[int, int] = (2048, 512)
    ratio_range: tuple[float, float] = (0.5, 2.0)
    cat_max_ratio: float = 0.75
    flip: float = 0.5
    distort: bool = True

    def __post_init__(self) -> None:
        if self.crop_size < 1:
            raise ValueError(f"crop_size {self.crop_size}: expected at least 1")
        check_scale("scale", self.scale)
        low, high = self.ratio_range
        if not 0 < low <= high < math.inf:
            raise ValueError(f"ratio_range {list(self.ratio_range)}: expected two numbers above 0, the smaller first")
        if not 0 < self.cat_max_ratio <= 1:
            raise ValueError(f"cat_max_ratio {self.cat_max_ratio}: expected above 0 and up to 1")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip {self.flip}: expected 0 to 1")

    def apply(self, image: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Image (3, H, W) and labels (H, W), both uint8, to (3, S, S) and (S, S)."""
        rng = random.Random(seed)
        factor = fitting(labels.shape, self.scale, rng.uniform(*self.ratio_range))
        rows, columns, size = self._window(labels, factor, rng)
        image = resize_image(image[:, rows, columns], size)
        labels = resize_labels(labels[rows, columns], size)
        if rng.random() < self.flip:
            image, labels = image.flip(-1), labels.flip(-1)
        if self.distort:
            image = distort(image, rng)
        return pad(image, labels, self.crop_size)

    def _window(self, labels: Tensor, factor: float, rng: random.Random) -> tuple[slice, slice, tuple[int, int]]:
        """Rows and columns of the image that are kept, and the size they are scaled to."""
        source, target = [], []
        for side in labels.shape:
            scaled = min(self.crop_size, max(1, round(side * factor)))
            target.append(scaled)
            source.append(min(side, max(1, round(scaled / factor))))
        for _ in range(ATTEMPTS):
            top, left = (rng.randint(0, side - kept) for side, kept in zip(labels.shape, source, strict=True))
            rows, columns = slice(top, top + source[0]), slice(left, left + source[1])
            if self.cat_max_ratio == 1 or is_varied(labels[rows, columns], self.cat_max_ratio):
                break
        return rows, columns, (target[0], target[1])


def check_scale(name: str, scale: tuple[int, int]) -> None:
    """Raises ValueError unless it is a longer and a shorter side."""
    if not 1 <= scale[1] <= scale[0]:
        raise ValueError(f"{name} {list(scale)}: expected the longer and then the shorter side, in pixels")


def fitting(size: tuple[int, ...], scale: tuple[int, int], ratio: float = 1.0) -> float:
    """What an image is scaled by to fit into `scale` (longer, shorter) times `ratio`.

    >>> fitting((500, 1000), (2048, 512))
    1.024
    """
    return ratio * min(scale[0] / max(size), scale[1] / min(size))


def is_varied(labels: Tensor, most: float) -> bool:
    """Whether some pixels are labelled, and no class is `most` (up to 1) of these or more."""
    counts = torch.bincount(labels.flatten(), minlength=IGNORED + 1)[:IGNORED]
    largest, total = int(counts.max()), int(counts.sum())
    return largest < most * total


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, with antialias; (3, rows, columns) uint8."""
    if image.shape[1:] == size:
        return image.contiguous()
    return interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """To the nearest pixel, measured between centres as for the image; (rows, columns) uint8."""
    if labels.shape == size:
        return labels
    rows, columns = (_nearest(source, target) for source, target in zip(labels.shape, size, strict=True))
    return torch.from_numpy(labels.numpy().take(rows, 0).take(columns, 1))


def _nearest(source: int, target: int) -> NDArray[np.int64]:
    return (2 * np.arange(target) + 1) * source // (2 * target)


def distort(image: Tensor, rng: random.Random) -> Tensor:
    """Other colours: one affine map of red, green and blue for all four changes, clamped once at its end.

    Saturation scales and hue turns what is beside the gray axis, in YIQ, where both leave the luma as it is.
    """
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.random() < CHANCE else 0.0
    contrast = rng.uniform(*CONTRAST) if rng.random() < CHANCE else 1.0
    saturation = rng.uniform(*SATURATION) if rng.random() < CHANCE else 1.0
    hue = rng.uniform(-HUE, HUE) if rng.random() < CHANCE else 0.0
    if (brightness, contrast, saturation, hue) == (0.0, 1.0, 1.0, 0.0):
        return image
    return affine(image, contrast * colour_matrix(saturation, hue), contrast * brightness)


def affine(image: Tensor, matrix: NDArray[np.float64], shift: float) -> Tensor:
    """`matrix` times the channels of each pixel plus `shift`, rounded and clamped; (3, rows, columns) uint8."""
    factors, half_up = torch.from_numpy(matrix).float(), torch.tensor(shift + 0.5)  # conversion to bytes rounds down
    mapped = np.empty((3, image.shape[1] * image.shape[2]), np.uint8)
    pixels = image.reshape(3, -1)
    for start in range(0, mapped.shape[1], AT_ONCE):  # floats of all pixels would be fetched from the system each time
        part = slice(start, start + AT_ONCE)
        mapped[:, part] = torch.addmm(half_up, factors, pixels[:, part].float()).clamp_(0, 255).numpy()
    return torch.from_numpy(mapped).reshape(image.shape)


def colour_matrix(saturation: float, hue: float) -> NDArray[np.float64]:
    """(3, 3): chroma times `saturation`, turned by `hue` in radians.

    >>> np.allclose(colour_matrix(0.0, 0.0), TO_LUMA_CHROMA[0])  # each channel becomes the luma
    True
    """
    cosine, sine = saturation * math.cos(hue), saturation * math.sin(hue)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    product: NDArray[np.float64] = FROM_LUMA_CHROMA @ turn @ TO_LUMA_CHROMA
    return product


def pad(image: Tensor, labels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """To (3, S, S) with ImageNet's mean colour, and (S, S) with ignored pixels, to the right and below."""
    rows, columns = labels.shape
    if rows == columns == side:
        return image, labels
    padded = torch.tensor(PADDING, dtype=torch.uint8)[:, None, None].repeat(1, side, side)
    padded[:, :rows, :columns] = image
    padded_labels = torch.full((side, side), IGNORED, dtype=torch.uint8)
    padded_labels[:rows, :columns] = labels
    return padded, padded_labels
