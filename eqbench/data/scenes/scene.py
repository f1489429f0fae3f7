"""What an image of a miniature shows and what is known of it, before it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eqbench.data.scenes.shapes import SHAPES, Polygon

LARGEST, SMALLEST, SQUEEZED = 0.21, 0.075, 0.035  # radius over the image's longer side; the last where space is short
TRIES, TRIES_PER_SIZE, SHRINK = 400, 8, 0.92
SHORTEST_SIDE = 0.75  # over the longer one
INSTANCES = (0.7, 0.2, 0.1)  # probability of one, two, three instances of a class in an image
NOT_EXHAUSTIVE = 0.15  # of the classes with several instances in an image: one instance is not annotated
UNKNOWN = 0.1  # of the images: an object of a class that nobody was asked about


@dataclass(frozen=True, slots=True)
class Item:
    """An object: its class (by frequency rank), where it is in pixels, and whether it is annotated."""

    rank: int
    centre: tuple[float, float]
    radius: float
    turn: float
    annotated: bool

    def polygons(self, shape: str) -> list[Polygon]:
        """The shape's polygons in the image, pixels to two decimals as LVIS has them."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        rotation = np.array([(cos, sin), (-sin, cos)]) * self.radius
        return [np.round(polygon @ rotation + self.centre, 2) for polygon in SHAPES[shape]()]


@dataclass(slots=True)
class Scene:
    """One image; a class neither annotated nor in `negative` is unknown: the image may show it or not."""

    width: int
    height: int
    items: list[Item] = field(default_factory=list)
    not_exhaustive: list[int] = field(default_factory=list)
    negative: list[int] = field(default_factory=list)

    def annotated_classes(self) -> set[int]:
        return {item.rank for item in self.items if item.annotated}


def compose(ranks: Sequence[int], likeness: NDArray[np.int64], size: int, rng: np.random.Generator) -> Scene:
    """A scene that shows the classes `ranks`, at least one instance of each, and perhaps one class of the others.

    The classes verified to be absent are rather those that are like what is shown, by `likeness` (C, C).
    """
    sides = size, round(size * rng.uniform(SHORTEST_SIDE, 1))
    scene = Scene(*(sides if rng.random() < 0.5 else sides[::-1]))
    for rank in ranks:
        _place(scene, rank, rng, annotated=True)
    for rank in ranks:
        instances = int(rng.choice(len(INSTANCES), p=INSTANCES)) + 1
        forgotten = instances > 1 and rng.random() < NOT_EXHAUSTIVE
        if forgotten:
            scene.not_exhaustive.append(rank)
        for instance in range(1, instances):
            _place(scene, rank, rng, annotated=not forgotten or instance > 1)
    others = np.setdiff1d(np.arange(len(likeness)), ranks)
    if ranks and rng.random() < UNKNOWN and len(others):
        unknown = int(rng.choice(others))
        _place(scene, unknown, rng, annotated=False)
        others = others[others != unknown]
    scene.negative = _verified_absent(scene, others, likeness, rng)
    scene.not_exhaustive.sort()
    return scene


def _verified_absent(
    scene: Scene, others: NDArray[np.int64], likeness: NDArray[np.int64], rng: np.random.Generator
) -> list[int]:
    """A fifth of all classes, but at least 3 and at most 20, from `others`."""
    shown = np.array([item.rank for item in scene.items], np.int64)
    interest = likeness[np.ix_(others, shown)].max(1, initial=0) + rng.uniform(0, 3, len(others))
    verified = max(3, min(len(likeness) // 5, 20))
    return sorted(others[np.argsort(-interest, kind="stable")[:verified]].tolist())


def _place(scene: Scene, rank: int, rng: np.random.Generator, *, annotated: bool) -> None:
    """Add an object where it covers no other; smaller where space is short, and a further instance perhaps not."""
    longer = max(scene.width, scene.height)
    radius = longer * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    for attempt in range(TRIES):
        if attempt % TRIES_PER_SIZE == TRIES_PER_SIZE - 1:
            radius = max(radius * SHRINK, SQUEEZED * longer)
        x = float(rng.uniform(radius + 1, scene.width - radius - 1))
        y = float(rng.uniform(radius + 1, scene.height - radius - 1))
        if all(np.hypot(x - item.centre[0], y - item.centre[1]) > radius + item.radius for item in scene.items):
            turn = float(rng.uniform(0, 2 * np.pi))
            scene.items.append(Item(rank, (x, y), radius, turn, annotated))
            return
    assert rank in {item.rank for item in scene.items} or not annotated, "no room for a class"
