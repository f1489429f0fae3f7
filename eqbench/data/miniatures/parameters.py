"""What a miniature is made from, and what each data set permits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eqbench.errors import InputError, nearest

EDITION = 1
"""Raised whenever the same parameters make other bytes."""
FEWEST_IMAGES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Defaults, smallest and largest class counts, and sizes in pixels; `images_per_class` training images at least.

    A `balanced` miniature has equally many training images of each class.
    """

    title: str
    images: int
    classes: int
    size: int
    fewest_classes: int = 4
    most_classes: int
    only_classes: tuple[int, ...] = ()
    sizes: range = range(32, 2049)
    images_per_class: float = 4
    balanced: bool = False


LIMITS: Mapping[str, Limits] = {
    "imagenet_lt": Limits(title="ImageNet-LT", images=800, classes=20, size=96, most_classes=1000),
    "places_lt": Limits(title="Places-LT", images=800, classes=20, size=96, most_classes=365),
    "inaturalist2018": Limits(title="iNaturalist 2018", images=1000, classes=24, size=96, most_classes=1203),
    "cifar_lt": Limits(
        title="CIFAR",
        images=2000,
        classes=10,
        size=32,
        fewest_classes=10,
        most_classes=100,
        only_classes=(10, 100),
        sizes=range(32, 33),
        images_per_class=5,
        balanced=True,
    ),
    "ade20k": Limits(
        title="ADE20K (ADEChallengeData2016)",
        images=200,
        classes=12,
        size=96,
        most_classes=150,
        sizes=range(64, 2049),
        images_per_class=0.5,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """A miniature of the data set `name` with `images` training images of `classes` classes.

    `size` is an image's longer side in pixels. `of` knows each data set's defaults.

    Raises:
        ValueError: an argument is out of range.
    """

    name: str
    images: int
    classes: int
    seed: int
    size: int

    def __post_init__(self) -> None:
        limits = LIMITS[self.name]
        if limits.only_classes and self.classes not in limits.only_classes:
            raise ValueError(f"classes {self.classes}: expected {' or '.join(map(str, limits.only_classes))}")
        if not limits.fewest_classes <= self.classes <= limits.most_classes:
            raise ValueError(f"classes {self.classes}: expected {limits.fewest_classes} to {limits.most_classes}")
        fewest = max(FEWEST_IMAGES, round(self.classes * limits.images_per_class))
        if self.images < fewest:
            raise ValueError(f"images {self.images}: expected at least {fewest} for {self.classes} classes")
        if limits.balanced and self.images % self.classes:
            raise ValueError(f"images {self.images}: expected a multiple of the {self.classes} classes")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed {self.seed}: expected 0 to 2**32 - 1")
        if self.size not in limits.sizes:
            first, last = limits.sizes.start, limits.sizes.stop - 1
            raise ValueError(f"size {self.size}: expected {f'{first} to {last}' if first < last else first} pixels")

    @classmethod
    def of(
        cls, name: str, *, images: int | None = None, classes: int | None = None, seed: int = 0, size: int | None = None
    ) -> Parameters:
        """Parameters of a miniature of the data set `name`; None stands for the data set's default.

        Raises:
            InputError: there are no miniatures of `name`.
            ValueError: an argument is out of range.
        """
        if name not in LIMITS:
            raise InputError(f"no miniature of {name!r}{nearest(name, LIMITS)} (known: {', '.join(LIMITS)})")
        limits = LIMITS[name]
        return cls(
            name=name,
            images=limits.images if images is None else images,
            classes=limits.classes if classes is None else classes,
            seed=seed,
            size=limits.size if size is None else size,
        )

    @property
    def title(self) -> str:
        """The data set's own name."""
        return LIMITS[self.name].title

    @property
    def folder(self) -> str:
        """A folder's name that holds all parameters.

        >>> Parameters.of("ade20k").folder
        'ade20k_miniature_v1_i200_c12_s0_96px'
        """
        return f"{self.name}_miniature_v{EDITION}_i{self.images}_c{self.classes}_s{self.seed}_{self.size}px"

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {"edition": EDITION, **{key: value for key, value in asdict(self).items() if key != "name"}}
