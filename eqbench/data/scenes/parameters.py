"""What a miniature is made from."""

from __future__ import annotations

from dataclasses import dataclass

from eqbench.data.scenes.appearance import MOST_CLASSES

FEWEST_IMAGES = 20
FEWEST_CLASSES = 5
SIZES = range(64, 2049)
FORMAT = 1
"""Raised whenever the same parameters make other bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """`images` training images of `classes` classes; `size` is an image's longer side in pixels.

    Raises:
        ValueError: an argument is out of range.
    """

    images: int
    classes: int
    seed: int
    size: int = 128

    def __post_init__(self) -> None:
        if not FEWEST_CLASSES <= self.classes <= MOST_CLASSES:
            raise ValueError(f"classes {self.classes}: expected {FEWEST_CLASSES} to {MOST_CLASSES}")
        if self.images < FEWEST_IMAGES:
            raise ValueError(f"images {self.images}: expected at least {FEWEST_IMAGES}")
        if self.images < self.classes / 2:
            raise ValueError(
                f"images {self.images}: expected at least {-(-self.classes // 2)}, half of the {self.classes} classes, "
                "so that there is a place for each class"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed {self.seed}: expected 0 to 2**32 - 1")
        if self.size not in SIZES:
            raise ValueError(f"size {self.size}: expected {SIZES.start} to {SIZES.stop - 1} pixels")

    @property
    def name(self) -> str:
        """A folder's name that holds all parameters.

        >>> Parameters(images=400, classes=60, seed=0).name
        'lvis_miniature_v1_i400_c60_s0_128px'
        """
        return f"lvis_miniature_v{FORMAT}_i{self.images}_c{self.classes}_s{self.seed}_{self.size}px"
