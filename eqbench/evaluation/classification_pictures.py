"""Images of the rarest classes that were taken for another class, in a row for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from eqbench.data.image_files.normalization import Normalization

SIDE = 128
"""Pixels of an image's longer side; smaller ones are enlarged by a whole factor."""
OF_EACH = 4
"""Images of a class at most."""
MARGIN = 8
LINE = 16

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Mistake:
    """One image (H, W, 3) uint8, what it was taken for, and the scores of that class and of its own."""

    image: NDArray[np.uint8]
    prediction: str
    score: float
    own_score: float


def choose(labels: Integers, predictions: Integers, class_counts: Sequence[int], number: int) -> dict[int, list[int]]:
    """Positions of the first images, up to `OF_EACH`, that are wrong in each of the `number` rarest classes with any.

    `class_counts` (C,) are training samples, which decide what is rare.

    >>> choose(np.array([0, 1, 1, 2]), np.array([1, 0, 1, 2]), [9, 5, 1], number=1)
    {1: [1]}
    """
    rank = np.asarray(rarity(class_counts))
    wrong = np.flatnonzero(labels != predictions)
    ordered = wrong[np.argsort(rank[labels[wrong]], kind="stable")]
    chosen: dict[int, list[int]] = {}
    for class_id in dict.fromkeys(labels[ordered].tolist()):
        if len(chosen) == number:
            break
        chosen[class_id] = ordered[labels[ordered] == class_id][:OF_EACH].tolist()
    return chosen


def rarity(class_counts: Sequence[int]) -> list[int]:
    """(C,) place of each class from rare to frequent, 0 being the rarest."""
    places: list[int] = np.argsort(np.argsort(np.asarray(class_counts), kind="stable")).tolist()
    return places


def displayed(images: Tensor, normalization: Normalization | None) -> NDArray[np.uint8]:
    """(n, H, W, 3) pixels of images (n, channels, H, W) as a batch has them.

    Floats are what `normalization` made of pixels; without one, the lowest of them is black and the highest white. Of
    other than three channels the first is shown.
    """
    pixels = images.detach().cpu()
    if pixels.is_floating_point():
        pixels = pixels.float()
        if normalization is not None:
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (normalization.mean, normalization.std))
            pixels = pixels * std + mean
        elif pixels.numel():
            lowest, highest = pixels.aminmax()
            pixels = (pixels - lowest) / (highest - lowest).clamp(min=1e-12)
        pixels = pixels.nan_to_num(0).clamp(0, 1).mul(255).round()
    if pixels.shape[1] != 3:
        pixels = pixels[:, :1].expand(-1, 3, -1, -1)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def draw(title: str, mistakes: Sequence[Mistake]) -> Image.Image:
    """The images beside each other, below each what it was taken for; room is for `OF_EACH`."""
    pictures = [_resized(mistake.image) for mistake in mistakes]
    height = max((picture.height for picture in pictures), default=0)
    width = OF_EACH * (SIDE + MARGIN) + MARGIN
    page = Image.new("RGB", (width, LINE + MARGIN + height + 2 * LINE + MARGIN), "white")
    text = ImageDraw.Draw(page)
    font = ImageFont.load_default(12)
    text.text((MARGIN, 4), _fitting(text, title, width - 2 * MARGIN, font), "black", font)
    for place, (picture, mistake) in enumerate(zip(pictures, mistakes, strict=True)):
        left, top = MARGIN + place * (SIDE + MARGIN), LINE + MARGIN
        page.paste(picture, (left, top))
        lines = mistake.prediction, f"{mistake.score:.2f} (own class {mistake.own_score:.2f})"
        for number, line in enumerate(lines):
            where = left, top + height + 2 + number * LINE
            text.text(where, _fitting(text, line, SIDE, font), "black", font)
    return page


def _resized(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image)
    longer = max(picture.size)
    if longer <= SIDE:
        factor = SIDE // longer
        return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
    size = [max(1, round(side * SIDE / longer)) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.BILINEAR)


def _fitting(text: ImageDraw.ImageDraw, line: str, room: int, font: Any) -> str:
    """The line, cut to `room` pixels."""
    kept = line
    while kept and text.textlength(kept if kept == line else f"{kept}...", font) > room:
        kept = kept[:-1]
    return line if kept == line else f"{kept}..."
