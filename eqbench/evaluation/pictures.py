"""Images with what is annotated on the left and what is predicted on the right, for the rarest classes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eqbench.data.detection import AnnotatedImages

WIDTH = 480
"""Pixels of each half."""
SHOWN = 20
"""Predictions of an image that are drawn at most: those of the highest scores."""
SHARE = 0.5
"""Of the highest score in the image, what a prediction needs to be drawn."""
MARGIN = 8


def choose(images: AnnotatedImages, class_counts: Sequence[int], number: int) -> list[int]:
    """Positions of up to `number` images, one for each of the rarest classes that any image shows.

    `class_counts` (C,) are training samples, which decide what is rare.
    """
    offsets, classes = images.classes()
    owner = np.repeat(np.arange(len(images)), np.diff(offsets))
    chosen: list[int] = []
    for class_id in np.argsort(np.asarray(class_counts), kind="stable"):
        if len(chosen) == number:
            break
        candidates = [int(image) for image in owner[classes == class_id] if image not in chosen]
        chosen += candidates[:1]
    return chosen


def draw(
    record: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> Image.Image:
    """Both halves of one image.

    Args:
        record: the image, as its data set gives it.
        predictions: each with `class_id`, `score`, `box` (x1, y1, x2, y2) and maybe `mask` (H, W) bool.
        class_names: (C,).
    """
    with Image.open(record["img_path"]) as opened:
        image = opened.convert("RGB")
    scale = WIDTH / image.width
    size = WIDTH, round(image.height * scale)
    halves = [image.resize(size, Image.Resampling.BILINEAR) for _ in range(2)]
    for instance in record["instances"]:
        polygons = [np.asarray(polygon) * scale for polygon in instance.get("mask", [])]
        _mark(halves[0], np.asarray(instance["bbox"]) * scale, class_names[instance["bbox_label"]], polygons=polygons)
    best = sorted(predictions, key=lambda prediction: -prediction["score"])[:SHOWN]
    for prediction in reversed([each for each in best if each["score"] >= SHARE * best[0]["score"]]):
        label = f"{class_names[prediction['class_id']]} {prediction['score']:.2f}"
        _mark(halves[1], np.asarray(prediction["box"]) * scale, label, mask=prediction.get("mask"))
    page = Image.new("RGB", (2 * WIDTH + MARGIN, size[1] + 20), "white")
    text = ImageDraw.Draw(page)
    for half, (picture, title) in enumerate(zip(halves, ("annotated", "predicted"), strict=True)):
        text.text((half * (WIDTH + MARGIN) + 4, 4), f"{title}, image {record['img_id']}", "black", _font())
        page.paste(picture, (half * (WIDTH + MARGIN), 20))
    return page


def save(page: Image.Image, file: Path, *, optimize: bool = True) -> None:
    """As PNG, as small as it gets or, without `optimize`, as fast as it goes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    page.save(file, optimize=optimize, compress_level=1)  # `optimize` has the highest level anyway


def _mark(
    picture: Image.Image,
    box: NDArray[Any],
    label: str,
    *,
    polygons: Sequence[NDArray[Any]] = (),
    mask: NDArray[np.bool_] | None = None,
) -> None:
    colour = _colour(label.rsplit(" ", 1)[0] if mask is not None else label)
    if mask is not None:
        shape = Image.fromarray(mask.astype(np.uint8) * 110).resize(picture.size)
        picture.paste(Image.new("RGB", picture.size, colour), mask=shape)
    if polygons:
        shape = Image.new("L", picture.size)
        for polygon in polygons:
            ImageDraw.Draw(shape).polygon([float(number) for number in polygon], fill=110)
        picture.paste(Image.new("RGB", picture.size, colour), mask=shape)
    pen = ImageDraw.Draw(picture)
    x1, y1, x2, y2 = (float(number) for number in box)
    pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=colour, width=2)
    place = (x1, max(y1 - 14, 0))
    pen.rectangle(pen.textbbox(place, label, _font()), fill="white")
    pen.text(place, label, "black", _font())


def _colour(label: str) -> tuple[int, int, int]:
    """Always the same one for a class."""
    name = label.rstrip("0123456789. ") or label
    value = zlib.crc32(name.encode())
    red, green, blue = (64 + (value >> shift) % 160 for shift in (0, 8, 16))
    return red, green, blue


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(12)
