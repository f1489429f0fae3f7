"""Scenes as pixels: a textured background with some clutter, and the objects on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eqbench.data.scenes.appearance import COLOURS, PATTERNS, TONES, Appearance
from eqbench.data.scenes.scene import Item, Scene
from eqbench.data.scenes.shapes import Polygon

Pixels = NDArray[np.float32]

FINER = 4  # subpixels along each side, for smooth edges
RIM = 0.09  # width of the rim over the radius
TONE_SHARE = 0.85


def paint(scene: Scene, appearances: Sequence[Appearance], rng: np.random.Generator) -> Image.Image:
    """The scene as an RGB image; `appearances` by frequency rank."""
    pixels = background(scene.width, scene.height, rng)
    for item in scene.items:
        paint_item(pixels, item, appearances[item.rank], rng)
    pixels += rng.normal(0, 4, (scene.height, scene.width, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def background(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Greyish patches of several sizes, and lines across them."""
    base = rng.uniform(80, 170) + rng.uniform(-15, 15, 3)
    pixels = np.broadcast_to(base, (height, width, 3)).astype(np.float32)
    for cells, contrast in ((4, 22.0), (12, 10.0), (40, 7.0)):
        coarse = rng.normal(0, contrast, (cells, cells)).astype(np.float32)
        patches = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = pixels + np.asarray(patches)[:, :, None]
    lines = Image.new("L", (width, height), 0)
    for _ in range(int(rng.integers(0, 5))):
        ends = (rng.random(4) * [width, height, width, height]).tolist()
        ImageDraw.Draw(lines).line(ends, fill=int(rng.integers(60, 160)), width=int(rng.integers(1, 4)))
    grey = np.float32(rng.uniform(30, 220))
    share = np.asarray(lines, np.float32)[:, :, None] / 255
    return np.asarray(pixels * (1 - share) + grey * share, np.float32)


def paint_item(pixels: Pixels, item: Item, appearance: Appearance, rng: np.random.Generator) -> None:
    """Blend an object into `pixels` in place."""
    left, top = (int(centre - item.radius) - 1 for centre in item.centre)
    side = int(2 * item.radius) + 4
    patch = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
    corner = np.array([max(left, 0), max(top, 0)])
    height, width = patch.shape[:2]
    inside, rim = coverage(item, item.polygons(appearance.shape), corner, width, height)
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = (columns + corner[0] - item.centre[0]) / item.radius, (rows + corner[1] - item.centre[1]) / item.radius
    cos, sin = np.cos(item.turn), np.sin(item.turn)
    toned = PATTERNS[appearance.pattern](np.stack([x * cos + y * sin, y * cos - x * sin]))
    toned = np.maximum(toned * TONE_SHARE, rim)[:, :, None]
    colour = np.array(COLOURS[appearance.colour]) + rng.normal(0, 8, 3)
    light = rng.uniform(0.85, 1.1)
    surface = (colour * (1 - toned) + np.array(TONES[appearance.tone]) * toned) * light
    patch += (inside[:, :, None] * (surface - patch)).astype(np.float32)


def coverage(
    item: Item, polygons: list[Polygon], corner: NDArray[np.int64], width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of each pixel that lie inside the polygons and in their rim: two (height, width)."""
    inside, rim = (Image.new("L", (width * FINER, height * FINER), 0) for _ in range(2))
    for polygon in polygons:
        points = ((polygon - corner) * FINER - 0.5).flatten().tolist()
        ImageDraw.Draw(inside).polygon(points, fill=1)
        ImageDraw.Draw(rim).line([*points, *points[:4]], fill=1, width=round(2 * RIM * item.radius * FINER))
    shares = [np.asarray(image).reshape(height, FINER, width, FINER).mean((1, 3)) for image in (inside, rim)]
    return shares[0], shares[1]
