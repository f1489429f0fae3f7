"""The numbers of LVIS's published files, to tell them from parts of them and from other versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eqbench.data.lvis_index.dataset import COMMON_ABOVE, FREQUENT_ABOVE, BothImages
from eqbench.data.lvis_index.index import AnnotationIndex
from eqbench.data.verification.findings import Findings

WRONG_NUMBER = "numbers that are not those of the published files"
ADVICE = "download the annotations again, or if this is a data set of your own, use coco_format"
WRONG_FREQUENCY = "frequencies that do not fit the training images"


@dataclass(frozen=True)
class Numbers:
    """Of one version; images are given where they are known."""

    groups: Mapping[str, int]
    annotated_images: int
    instances: int
    images: Mapping[str, int]


NUMBERS = {
    "v1": Numbers({"f": 405, "c": 461, "r": 337}, 99_388, 1_270_141, {"train": 100_170, "val": 19_809}),
    "v0.5": Numbers({"f": 315, "c": 461, "r": 454}, 56_740, 693_958, {}),
}


def check_numbers(images: BothImages, version: str, found: Findings) -> None:
    """Compare the files with what LVIS has published; `found` is told of each number that is another."""
    expected = NUMBERS[version]
    train = images.train.index
    annotated = int(np.count_nonzero(np.diff(train.annotation_offsets)))
    numbers = [
        (train, "classes", train.num_classes, sum(expected.groups.values())),
        (train, "images with annotations", annotated, expected.annotated_images),
        (train, "annotations", train.num_annotations, expected.instances),
    ]
    assert train.frequency is not None
    frequency = train.frequency
    numbers += [
        (train, f"classes of frequency {group}", frequency.count(group), expected.groups[group])
        for group in expected.groups
    ]
    for split, index in (("train", train), ("val", images.eval.index)):
        if split in expected.images:
            numbers.append((index, "images", index.num_images, expected.images[split]))
    for index, what, number, published in numbers:
        if number != published:
            text = f"{index.source}: {number:,} {what}, LVIS {version} has {published:,}"
            found.problem(WRONG_NUMBER, text, advice=ADVICE)
    _check_frequency(train, found)


def _check_frequency(index: AnnotationIndex, found: Findings) -> None:
    assert index.frequency is not None
    for name, frequency, number in zip(index.category_names, index.frequency, index.image_counts.tolist(), strict=True):
        fitting = "f" if number > FREQUENT_ABOVE else "c" if number > COMMON_ABOVE else "r"
        if frequency != fitting:
            found.problem(
                WRONG_FREQUENCY, f"{name}: {frequency}, but {number:,} training images show it", advice=ADVICE
            )
