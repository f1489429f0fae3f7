"""What the data sets over annotation files have in common: two indexes, one set of classes, and getting it ready.

Legend: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from eqbench.data.detection import GROUPS, DetectionDataset, combined_digest
from eqbench.data.lvis_index.images import IndexedImages
from eqbench.data.lvis_index.index import AnnotationIndex
from eqbench.errors import InputError

COMMON_ABOVE, FREQUENT_ABOVE = 10, 100
"""Training images of a class: LVIS's labels are r up to 10, c up to 100, f above."""
SHOWN_MISSING = 5


@dataclass(frozen=True)
class BothImages:
    """Training and evaluation images of a data set."""

    train: IndexedImages
    eval: IndexedImages

    def check_classes(self) -> None:
        """Raises InputError unless both files have the same categories."""
        train, evaluation = self.train.index, self.eval.index
        sides = (
            list(zip(index.category_ids.tolist(), index.category_names, strict=True)) for index in (train, evaluation)
        )
        for ours, theirs in zip_longest(*sides):
            if ours != theirs:
                raise InputError(
                    f"{train.source} and {evaluation.source} have different categories; the first difference, by "
                    f"ascending id: {_named(ours)} and {_named(theirs)}"
                )

    def check_learnable(self) -> None:
        """Raises InputError if no training image has an annotation to learn from."""
        if not len(self.train):
            what = "with a polygon (set masks: false to learn boxes alone)" if self.train.masks else "with a box"
            raise InputError(f"{self.train.index.source}: no image has an annotation {what} to learn from")

    def check_paths(self) -> None:
        """Raises InputError if the path of an image leads out of the folder of the images."""
        self.train.check_paths()
        self.eval.check_paths()


class IndexedDataset(DetectionDataset):
    """A data set whose training and evaluation annotations are two files; a plugin's constructor calls this one.

    Raises:
        InputError: the files disagree, there is nothing to learn from, or images are missing.
    """

    def __init__(
        self, images: BothImages, *, common_above: int, frequent_above: int, exhaustive: bool, masks: bool
    ) -> None:
        images.check_classes()
        images.check_learnable()
        images.check_paths()
        images.train.check_files()
        images.eval.check_files()
        self._images = images
        index = images.train.index
        self._thresholds = common_above, frequent_above
        self._groups = index.groups(common_above, frequent_above)
        self.class_names = tuple(index.category_names)
        self.category_ids = tuple(index.category_ids.tolist())
        self.eval_annotations = images.eval.index.source
        self.exhaustive = exhaustive
        self.masks = masks

    @cached_property
    def digest(self) -> str:
        return digest_of(type(self).__name__, self._images, self._thresholds)

    @property
    def class_counts(self) -> Tensor:
        """(C,) int64: training instances."""
        return torch.from_numpy(self.train.instance_counts.copy())

    @property
    def image_counts(self) -> Tensor:
        return torch.from_numpy(self.train.image_counts.copy())

    @property
    def groups(self) -> Sequence[str]:
        return self._groups

    @property
    def train(self) -> IndexedImages:
        return self._images.train

    @property
    def eval(self) -> IndexedImages:
        return self._images.eval


def digest_of(name: str, images: BothImages, thresholds: tuple[int, int]) -> str:
    """Of what training and evaluation see; thresholds count only where the files do not say the groups."""
    train, evaluation = images.train.index, images.eval.index
    counting = thresholds if train.frequency is None else None
    return combined_digest(name, train.sha256, evaluation.sha256, counting, images.train.masks)


def check_thresholds(common_above: int, frequent_above: int) -> None:
    """Raises ValueError where a class could be in two groups."""
    if not 0 <= common_above <= frequent_above:
        raise ValueError(
            f"common_above {common_above}, frequent_above {frequent_above}: expected "
            "0 <= common_above <= frequent_above"
        )


def prepare(images: BothImages, thresholds: tuple[int, int], where_to_get: str, workers: int) -> list[str]:
    """Look for every image file; says what there is, one line for each subject.

    Raises:
        InputError: files are missing: how many, the first of them, and where they are to be had.
    """
    images.check_classes()
    images.check_learnable()
    images.check_paths()
    missing: list[Path] = []
    looked_for = 0
    for each in (images.train, images.eval):
        every = each.every()
        looked_for += len(every)
        missing += every.missing_files(workers=workers)
    if missing:
        shown = "".join(f"\n  {path}" for path in missing[:SHOWN_MISSING])
        more = f"\n  and {len(missing) - SHOWN_MISSING:,} more" if len(missing) > SHOWN_MISSING else ""
        raise InputError(f"{len(missing):,} of {looked_for:,} image files do not exist:{shown}{more}\n{where_to_get}")
    lines = [*_describe("training", images.train.index), *_describe("evaluation", images.eval.index)]
    groups = images.train.index.groups(*thresholds)
    counts = ", ".join(f"{groups.count(group)} {group}" for group in GROUPS)
    origin = "thresholds on training images" if images.train.index.frequency is None else "the file's frequency"
    lines += [
        f"classes: {len(groups):,} ({counts}, by {origin})",
        f"to learn from: {int(images.train.instance_counts.sum()):,} instances in {len(images.train):,} images",
        f"image files: all {looked_for:,} exist",
    ]
    return lines


def _describe(what: str, index: AnnotationIndex) -> list[str]:
    lines = [
        f"{what}: {index.source}: {index.num_images:,} images, {index.num_annotations:,} annotations",
        f"{what} index: {index.folder}: {index.bytes / 1e6:,.0f} MB, built in {index.seconds:.1f} s",
    ]
    return lines + [f"warning: {warning}" for warning in index.warnings]


def _named(category: tuple[int, str] | None) -> str:
    return "no further category" if category is None else f"id {category[0]} {category[1]!r}"
