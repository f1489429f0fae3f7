"""A generated miniature of ADE20K: made on first use, then a data set of ADE20K's format like the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eqbench.data.ade20k import ADE20K
from eqbench.data.miniatures import Parameters, make_once

__all__ = ["ADE20KMiniature"]


class ADE20KMiniature(ADE20K):
    """Regions of texture as frequent classes and objects as rarer ones, told apart by shape, pattern and colour.

    Args:
        images: training images; a fifth as many, or enough for every class, are for evaluation.
        classes: number of classes.
        seed: decides everything that is drawn at random.
        size: the longer side of an image in pixels.
        root: folder in which the miniature gets a folder of its own, named for its parameters; by default what the
            environment variable EQBENCH_DATA says, else `data`.
        crop_size: side of a training crop in pixels.
        scale: the longer and shorter side that a training image is fit into before it is scaled at random.
        eval_scale: the longer and shorter side that an image is fit into for evaluation.
        options: the others of `ADE20K`.

    Raises:
        ValueError: an argument is out of range.
        EnvironmentProblem: the miniature cannot be written.
    """

    def __init__(
        self,
        *,
        images: int = 200,
        classes: int = 12,
        seed: int = 0,
        size: int = 96,
        root: Path | None = None,
        crop_size: int = 64,
        scale: tuple[int, int] = (96, 96),
        eval_scale: tuple[int, int] = (96, 96),
        **options: Any,
    ) -> None:
        parameters = Parameters.of("ade20k", images=images, classes=classes, seed=seed, size=size)
        folder = make_once(root, parameters)
        super().__init__(root=folder, crop_size=crop_size, scale=scale, eval_scale=eval_scale, **options)
