"""Pictures of one class each: its object large, or many of them, or somewhere, on a textured background."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from eqbench.data.scenes.appearance import Appearance
from eqbench.data.scenes.painting import paint
from eqbench.data.scenes.scene import Item, Scene

QUALITY = 92  # of the JPEG files
SHORTEST_SIDE = 0.75  # over the longer one
MOST_DISTRACTORS = 2

Compose = Callable[[int, int, int, np.random.Generator], Scene]
"""From the class, the number of classes, the longer side in pixels and random state, what is to be painted."""


def picture(
    compose: Compose, label: int, looks: Sequence[Appearance], size: int, rng: np.random.Generator
) -> Image.Image:
    """A picture of the class `label`; `looks` by label."""
    return paint(compose(label, len(looks), size, rng), looks, rng)


def portrait(label: int, classes: int, size: int, rng: np.random.Generator) -> Scene:
    """One large object near the middle, and perhaps a small one of another class at the margin."""
    scene = _empty(size, rng)
    for _ in range(int(rng.integers(0, MOST_DISTRACTORS + 1))):
        scene.items.append(_distractor(scene, label, classes, rng))
    shorter = min(scene.width, scene.height)
    _add(scene, label, (0.35, 0.65), shorter * rng.uniform(0.3, 0.46), rng)
    return scene


def sighting(label: int, classes: int, size: int, rng: np.random.Generator) -> Scene:
    """One object of any size, anywhere, and perhaps a small one of another class at the margin."""
    scene = _empty(size, rng)
    for _ in range(int(rng.integers(0, MOST_DISTRACTORS + 1))):
        scene.items.append(_distractor(scene, label, classes, rng))
    shorter = min(scene.width, scene.height)
    _add(scene, label, (0.25, 0.75), shorter * rng.uniform(0.2, 0.45), rng)
    return scene


def place(label: int, classes: int, size: int, rng: np.random.Generator) -> Scene:
    """A square full of four to seven objects of the class, all in about the same size."""
    del classes
    scene = Scene(size, size)
    radius = size * rng.uniform(0.14, 0.22)
    for _ in range(int(rng.integers(4, 8))):
        _add(scene, label, (0.1, 0.9), radius * rng.uniform(0.8, 1.2), rng)
    return scene


def thumbnail(label: int, classes: int, size: int, rng: np.random.Generator) -> Scene:
    """A square with one large object."""
    del classes
    scene = Scene(size, size)
    _add(scene, label, (0.38, 0.62), size * rng.uniform(0.3, 0.46), rng)
    return scene


def _empty(size: int, rng: np.random.Generator) -> Scene:
    sides = size, round(size * rng.uniform(SHORTEST_SIDE, 1))
    return Scene(*(sides if rng.random() < 0.5 else sides[::-1]))


def _add(scene: Scene, label: int, within: tuple[float, float], radius: float, rng: np.random.Generator) -> None:
    """An object whose centre lies `within` a share of both sides."""
    x, y = rng.uniform(*within, 2) * [scene.width, scene.height]
    scene.items.append(Item(label, (float(x), float(y)), radius, float(rng.uniform(0, 2 * np.pi)), True))


def _distractor(scene: Scene, label: int, classes: int, rng: np.random.Generator) -> Item:
    """A small object of another class in one of the corners."""
    other = (label + int(rng.integers(1, classes))) % classes
    radius = float(max(scene.width, scene.height) * rng.uniform(0.05, 0.08))
    x, y = rng.uniform(0.08, 0.16, 2)
    corner = (x if rng.random() < 0.5 else 1 - x, y if rng.random() < 0.5 else 1 - y)
    centre = float(corner[0] * scene.width), float(corner[1] * scene.height)
    return Item(other, centre, radius, float(rng.uniform(0, 2 * np.pi)), True)
