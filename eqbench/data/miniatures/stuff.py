"""What fills a segmentation miniature's background: ten textures, in an upper and a lower region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float64]
Texture = Callable[[Plane, np.random.Generator], Plane]

HORIZON = (0.35, 0.62)  # where the regions meet, over the height
CONTRAST = 26.0  # of a texture, in grey levels


@dataclass(frozen=True, slots=True)
class Stuff:
    """A texture over a colour.

    From coordinates (2, H, W) over the longer side, `texture` gives shades (H, W) from about -1 to 1.
    """

    name: str
    colour: tuple[int, int, int]
    texture: Texture


def _blotches(cells: int) -> Texture:
    def texture(at: Plane, rng: np.random.Generator) -> Plane:
        height, width = at[0].shape
        coarse = Image.fromarray(rng.normal(0, 0.6, (cells, cells)).astype(np.float32))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)

    return texture


def _bricks(at: Plane, rng: np.random.Generator) -> Plane:
    row = at[1] * 16 + rng.random()
    along = at[0] * 8 + (np.floor(row) % 2) / 2 + rng.random()
    return np.where((row % 1 < 0.2) | (along % 1 < 0.1), 1.0, -0.3)


UPPER = (
    Stuff("wall", (190, 180, 160), _blotches(3)),
    Stuff("sky", (150, 180, 215), lambda at, _: 2 * at[1] - 0.6),
    Stuff("brick, brickwork", (150, 100, 85), _bricks),
    Stuff("mountain, mount", (105, 110, 100), _blotches(9)),
    Stuff("curtain, drape", (175, 140, 165), lambda at, rng: np.sin(55 * at[0] + 6 * rng.random())),
)
LOWER = (
    Stuff("floor, flooring", (140, 115, 90), lambda at, _: np.where((at[0] - 0.4 * at[1]) * 9 % 1 < 0.12, -1.2, 0.2)),
    Stuff("grass", (100, 130, 75), lambda at, rng: rng.normal(0, 0.8, at[0].shape)),
    Stuff("water", (85, 120, 145), lambda at, rng: np.sin(60 * at[1] + 2 * np.sin(9 * at[0] + 6 * rng.random()))),
    Stuff("sand", (205, 185, 140), lambda at, rng: 0.5 * np.sin(30 * (at[0] + 2 * at[1]) + 6 * rng.random())),
    Stuff("road, route", (95, 95, 100), _blotches(24)),
)
STUFF = tuple(stuff for pair in zip(UPPER, LOWER, strict=True) for stuff in pair)
"""Those at even places are above, the others below."""


def stuff_classes(classes: int) -> int:
    """How many of the classes are stuff: a third, from two to ten.

    >>> [stuff_classes(count) for count in (4, 12, 150)]
    [2, 4, 10]
    """
    return min(max(2, round(classes / 3)), len(STUFF))


def choose(images: int, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """For each image the stuff above and below: places in `STUFF` below `count`, each half as often as the one before.

    Every one is in at least three images, where there are enough.
    """
    columns = [_shares(images, np.arange(first, count, 2), rng) for first in (0, 1)]
    return list(zip(*columns, strict=True))


def _shares(images: int, places: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    shares = 0.5 ** np.arange(len(places))
    counts = np.maximum(np.round(images * shares / shares.sum()).astype(int), min(3, images // len(places)))
    chosen = np.repeat(places, counts)[::-1][:images]  # the most frequent one gives way to the rounding
    chosen = np.concatenate([chosen, np.full(images - len(chosen), places[0])])
    return [int(place) for place in rng.permutation(chosen)]


def below_horizon(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(height, width): how many pixels a pixel lies below the wavy, slanting line between the regions."""
    x = np.arange(width) / width
    wave = 0.03 * np.sin(2 * np.pi * (rng.uniform(0.5, 2) * x + rng.random()))
    line = rng.uniform(*HORIZON) + rng.uniform(-0.12, 0.12) * (x - 0.5) + wave
    return np.asarray(np.arange(height)[:, None] + 0.5 - height * line, np.float64)


def paint(stuff: Stuff, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width, 3) full of it, in a light of its own."""
    at = np.mgrid[:height, :width][::-1] / max(width, height)
    shades = stuff.texture(at, rng)[:, :, None] * CONTRAST
    colour = np.array(stuff.colour) + rng.normal(0, 6, 3)
    return np.asarray((colour + shades) * rng.uniform(0.85, 1.1), np.float32)
