"""What tells the classes of a miniature apart: shape, pattern, colour and the tone of pattern and rim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eqbench.data.scenes.shapes import SHAPES

Plane = NDArray[np.float64]

COLOURS = {
    "red": (215, 35, 40),
    "blue": (40, 75, 215),
    "yellow": (240, 220, 40),
    "green": (45, 165, 60),
    "purple": (135, 50, 180),
    "cyan": (40, 200, 205),
    "orange": (245, 140, 20),
    "pink": (245, 130, 185),
    "brown": (125, 75, 35),
}
TONES = {"light": (245, 245, 240), "dark": (25, 25, 30)}

PATTERNS: dict[str, Callable[[Plane], Plane]] = {
    "plain": lambda at: np.zeros_like(at[0]),
    "striped": lambda at: (at[0] * 2 % 1 < 0.4).astype(float),
    "halved": lambda at: (at[0] > 0).astype(float),
    "dotted": lambda at: (((at * 2.5 % 1 - 0.5) ** 2).sum(0) < 0.09).astype(float),
    "shaded": lambda at: np.clip((at[0] + 1) / 2, 0, 1),
    "checked": lambda at: np.floor(at * 2.2).sum(0) % 2,
    "ringed": lambda at: (np.hypot(*at) * 2.2 % 1 < 0.4).astype(float),
}
"""From coordinates (2, H, W) in the unit circle, the share (H, W) of the tone in the colour."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """How the objects of a class look."""

    shape: str
    colour: str
    pattern: str
    tone: str

    @property
    def name(self) -> str:
        """The class's name, e.g. `red_striped_star`; a dark tone is said, a light one is not."""
        return "_".join(["dark"] * (self.tone == "dark") + [self.colour, self.pattern, self.shape])

    @property
    def definition(self) -> str:
        """One sentence, as LVIS's `def`."""
        pattern = "plain" if self.pattern == "plain" else f"{self.pattern} in {self.tone}"
        return f"a {self.colour} {self.shape}, {pattern}, with a {self.tone} rim"


FAMILIES = (tuple(SHAPES), tuple(COLOURS), tuple(PATTERNS))
MOST_CLASSES = 1203  # of the 1,260 combinations: as many classes as LVIS v1 has


def appearances(classes: int, rng: np.random.Generator) -> list[Appearance]:
    """Distinct appearances in random order, of as few families as give enough.

    So a rare class is made of what frequent ones have too, and is to be told from them by the combination.
    """
    used, tones = [2, 2, 2], ["light"]
    while math.prod(used) * len(tones) < classes:
        growing = [place for place in range(3) if used[place] < len(FAMILIES[place])]
        if growing:
            used[min(growing, key=lambda place: used[place])] += 1
        else:
            tones.append("dark")
    shapes, colours, patterns = (family[:count] for family, count in zip(FAMILIES, used, strict=True))
    looks = [Appearance(*look) for look in itertools.product(shapes, colours, patterns, tones)]
    return [looks[place] for place in rng.permutation(len(looks))[:classes].tolist()]


def likeness(looks: Sequence[Appearance]) -> NDArray[np.int64]:
    """(C, C) how many of shape, colour and pattern two classes share."""
    traits = np.array([(look.shape, look.colour, look.pattern) for look in looks])
    return np.asarray((traits[:, None] == traits[None]).sum(2), np.int64)
