"""What the miniatures of classification sets share: how the classes look, how frequent they are, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqbench.data.miniatures.long_tail import long_tail
from eqbench.data.miniatures.parameters import Parameters
from eqbench.data.miniatures.pictures import QUALITY, Compose, picture
from eqbench.data.scenes.appearance import Appearance, appearances
from eqbench.seeding import derive_seed

IMBALANCE_FACTOR = 64


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the class `label`, stored at `path` below the root; equal `key`s give equal pictures."""

    path: str
    label: int
    key: str

    @property
    def line(self) -> str:
        """As lists have it: path and label."""
        return f"{self.path} {self.label}"


def random(parameters: Parameters, *purpose: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(parameters.seed, parameters.name, *purpose))


def class_looks(parameters: Parameters) -> list[Appearance]:
    """(C,) by label."""
    return appearances(parameters.classes, random(parameters, "looks"))


def class_counts(parameters: Parameters) -> NDArray[np.int64]:
    """(C,) training images by label: a long tail in random order."""
    counts = long_tail(parameters.images, parameters.classes, IMBALANCE_FACTOR)
    return counts[random(parameters, "frequency").permutation(len(counts))]


def labels(counts: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(label, number) of each image of a split, by label.

    >>> list(labels([2, 1]))
    [(0, 0), (0, 1), (1, 0)]
    """
    for label, count in enumerate(counts):
        for number in range(count):
            yield label, number


def write_pictures(
    folder: Path, pictures: Sequence[Picture], compose: Compose, looks: Sequence[Appearance], parameters: Parameters
) -> None:
    """Draw the pictures as JPEG files below `folder`."""
    for parent in sorted({(folder / each.path).parent for each in pictures}):
        parent.mkdir(parents=True, exist_ok=True)
    for each in pictures:
        drawn = picture(compose, each.label, looks, parameters.size, random(parameters, "picture", each.key))
        drawn.save(folder / each.path, format="JPEG", quality=QUALITY)


def write_list(file: Path, pictures: Sequence[Picture]) -> None:
    """One line per picture: path and label."""
    file.write_text("".join(f"{each.line}\n" for each in pictures))
