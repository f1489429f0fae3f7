"""A generated miniature of LVIS v1: made on first use, then a data set of LVIS's format like the real one."""

from __future__ import annotations

from pathlib import Path

from eqbench.data.lvis import LVIS
from eqbench.data.miniatures import data_folder
from eqbench.data.scenes import Parameters, make_once

__all__ = ["LVISMiniature"]


class LVISMiniature(LVIS):
    """Textured scenes with objects of a long tail of classes, told apart by shape, pattern and colour.

    Args:
        images: training images; a quarter as many, or enough for three of every class, are for evaluation.
        classes: number of classes.
        seed: decides everything that is drawn at random.
        size: the longer side of an image in pixels.
        root: folder in which the miniature gets a folder of its own, named for its parameters; by default what the
            environment variable EQBENCH_DATA says, else `data`.
        masks: give polygons too.

    Raises:
        ValueError: an argument is out of range.
        EnvironmentProblem: the miniature cannot be written.
    """

    def __init__(
        self,
        *,
        images: int = 400,
        classes: int = 60,
        seed: int = 0,
        size: int = 128,
        root: Path | None = None,
        masks: bool = True,
    ) -> None:
        parameters = Parameters(images=images, classes=classes, seed=seed, size=size)
        folder = data_folder() if root is None else root.expanduser()
        super().__init__(root=make_once(folder, parameters), version="v1", masks=masks)
