"""Images beside what is labelled and what is predicted in them, a colour for each class."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH = 480
"""Pixels of each of the three parts at most."""
VISIBLE = 320
"""Pixels to which smaller ones are enlarged, by a whole factor."""
MARGIN = 8
TITLE = 20
ROW = 18
NAMED = 12
"""Classes in the legend at most: those of the most pixels, and the rare one that the picture was chosen for."""
WITHOUT_CLASS = (255, 255, 255)
GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class Segmented:
    """One image and its two label maps, small enough to keep: (h, w, 3), (h, w) and (h, w), all uint8."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    predictions: NDArray[np.uint8]


def shrunk(image: NDArray[np.uint8], labels: NDArray[np.uint8], predictions: NDArray[np.uint8]) -> Segmented:
    """The image in the size of its labels (H, W), all at most `WIDTH` pixels wide and high."""
    height, width = labels.shape
    factor = min(1.0, WIDTH / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    nearest = Image.Resampling.NEAREST
    return Segmented(
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(labels).resize(size, nearest)),
        np.asarray(Image.fromarray(predictions).resize(size, nearest)),
    )


def draw(segmented: Segmented, rare: int, class_names: Sequence[str]) -> Image.Image:
    """Image, labels and predictions side by side, and what the colours mean; white is without a class.

    Args:
        segmented: what is drawn.
        rare: the class that the image was chosen for; named first.
        class_names: (C,).
    """
    named = legend(segmented, rare, len(class_names))
    enlarged = max(1, VISIBLE // max(segmented.labels.shape))
    height, width = (enlarged * side for side in segmented.labels.shape)
    across = 3 * width + 2 * MARGIN
    columns = max(1, across // 160)
    rows = -(-len(named) // columns)
    page = Image.new("RGB", (across, TITLE + height + MARGIN + ROW * rows), "white")
    text = ImageDraw.Draw(page)
    parts = (segmented.image, coloured(segmented.labels), coloured(segmented.predictions))
    for part, (pixels, title) in enumerate(zip(parts, ("image", "labelled", "predicted"), strict=True)):
        left = part * (width + MARGIN)
        text.text((left + 4, 4), title, "black", _font())
        page.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, TITLE))
    for place, class_id in enumerate(named):
        left = place % columns * (across // columns)
        top = TITLE + height + MARGIN + place // columns * ROW
        text.rectangle((left + 4, top + 2, left + 16, top + 14), fill=colour(class_id), outline="black")
        text.text((left + 22, top), class_names[class_id], "black", _font())
    return page


def legend(segmented: Segmented, rare: int, num_classes: int) -> list[int]:
    """The classes that are named: `rare`, then by descending pixels in both maps."""
    both = np.concatenate([segmented.labels.ravel(), segmented.predictions.ravel()])
    pixels = np.bincount(both, minlength=num_classes)[:num_classes]
    others = [int(each) for each in np.argsort(-pixels, kind="stable") if pixels[each] and each != rare]
    return [rare, *others][:NAMED]


def colour(class_id: int) -> tuple[int, int, int]:
    """Always the same for a class; neighbours in number are far apart."""
    hue = class_id * GOLDEN_RATIO % 1
    value = (0.95, 0.7, 0.5)[class_id % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, value))
    return red, green, blue


def coloured(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w) classes as (h, w, 3) colours."""
    palette = np.array([*map(colour, range(255)), WITHOUT_CLASS], np.uint8)
    painted: NDArray[np.uint8] = palette[labels]
    return painted


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(12)
