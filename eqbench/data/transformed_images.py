"""Annotated images through mmdet's transforms, as our training loop asks for them.

A transform draws from the global random generators of Python and NumPy. They are set from `Draw.seed` before a sample
is made and put back after it, so a sample depends on its draw alone: not on the number of loader processes, nor on
what was drawn before.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from eqbench.data.base import Draw
from eqbench.data.detection import AnnotatedImages
from eqbench.errors import InputError

MIXING = frozenset({"Mosaic", "MixUp", "CachedMosaic", "CachedMixUp", "RandomAffine"})
"""Left out where training ends on plain images. YOLOX calls it closing mosaic."""
MAX_ATTEMPTS = 50

Transform = Mapping[str, Any]


class TransformedImages:
    """Samples `{"inputs": uint8 tensor (3, H, W), "data_samples": DetDataSample}`; a batch is a list of them.

    Args:
        images: where records come from.
        transforms: mmdet's configuration of each transform, the loading of the image first.
        plain_from: from this share of the budget on, transforms that mix images are left out.
    """

    def __init__(self, images: AnnotatedImages, transforms: Sequence[Transform], *, plain_from: float = 1.0) -> None:
        self.images = images
        self._transforms = list(transforms)
        self._plain_from = plain_from

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        steps = self._plain if draw.progress >= self._plain_from else self._all
        with random_state(draw.seed):
            index = draw.index
            for _ in range(MAX_ATTEMPTS):
                sample = self._transformed(index, steps)
                if sample is not None:
                    return sample
                index = random.randrange(len(self))  # a transform left no object: another image takes its place
        raise InputError(
            f"{MAX_ATTEMPTS} images in turn, beginning with number {draw.index}, lost all their objects in the model's "
            "train_pipeline; expected transforms that keep some"
        )

    def collate(self, samples: list[Any]) -> list[Any]:
        return samples

    @cached_property
    def _all(self) -> list[Any]:
        return [build_transform(transform) for transform in self._transforms]

    @cached_property
    def _plain(self) -> list[Any]:
        return [
            step for step, transform in zip(self._all, self._transforms, strict=True) if transform["type"] not in MIXING
        ]

    @cached_property
    def _loading(self) -> int:
        """How many of the first transforms load an image that others are mixed with."""
        mixing = [index for index, step in enumerate(self._all) if hasattr(step, "get_indexes")]
        return mixing[0] if mixing else len(self._all)

    def _transformed(self, index: int, steps: Sequence[Any]) -> dict[str, Any] | None:
        record = self.images.record(index)
        results: dict[str, Any] | None = self._read(record, steps[0])
        for step in steps[1:]:
            assert results is not None
            if hasattr(step, "get_indexes"):
                others = step.get_indexes(_Loaded(self))
                others = others if isinstance(others, Sequence) else [others]
                results["mix_results"] = [self._loaded(other) for other in others]
            results = step(results)
            if results is None:
                return None
            results.pop("mix_results", None)
        return results

    def _loaded(self, index: int) -> dict[str, Any]:
        record = self.images.record(index)
        results = self._read(record, self._all[0])
        for step in self._all[1 : self._loading]:
            results = step(results)
        return results

    def _read(self, record: dict[str, Any], load: Any) -> dict[str, Any]:
        """The record with its image, the first transform's work.

        Raises:
            InputError: the file is missing, damaged, or of another size than annotated.
        """
        expected = record["height"], record["width"]
        try:
            results: dict[str, Any] = load(copy.copy(record))
        except FileNotFoundError as error:
            raise InputError(f"{record['img_path']}: image {record['img_id']} is missing") from error
        except (AssertionError, ValueError, OSError, TypeError, AttributeError, SyntaxError) as error:
            reason = str(error).split("\n")[0]
            raise InputError(f"{record['img_path']}: image {record['img_id']} cannot be read: {reason}") from error
        if tuple(results["img_shape"]) != expected:
            raise InputError(
                f"{record['img_path']}: image {record['img_id']} has {tuple(results['img_shape'])} pixels (height, "
                f"width), its annotations say {expected}"
            )
        return results


class _Loaded:
    """What transforms that mix images choose from."""

    def __init__(self, images: TransformedImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._images._loaded(index)


def build_transform(transform: Transform) -> Any:
    """One of mmdet's or mmcv's transforms from its configuration.

    Raises:
        InputError: there is none of that name, or its arguments do not fit.
    """
    from eqbench.models.mmdet_config.importing import import_mmdet

    import_mmdet()
    from mmdet.registry import TRANSFORMS

    try:
        with _default_scope():
            return TRANSFORMS.build(dict(transform))
    except (KeyError, TypeError, ValueError, AssertionError, AttributeError) as error:
        raise InputError(f"transform {transform.get('type')!r} of the model's configuration: {error}") from error


@contextlib.contextmanager
def _default_scope() -> Iterator[None]:
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Global random generators set from `seed`, and as they were afterwards."""
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)
