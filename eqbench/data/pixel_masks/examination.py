"""What a data set of images with masks holds and what is wrong with it; getting it ready.

Legend: C classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eqbench.data.image_files.comparison import same_content
from eqbench.data.pixel_masks import storage
from eqbench.data.pixel_masks.dataset import check_learnable, digest_of
from eqbench.data.pixel_masks.index import MaskIndex
from eqbench.data.pixel_masks.layout import Layout, Listing, Pairs, list_pairs
from eqbench.data.pixel_masks.pair_check import PairCheck
from eqbench.data.segmentation import GROUPS, groups_by_pixels
from eqbench.data.verification.contents import Contents
from eqbench.data.verification.findings import Findings
from eqbench.errors import InputError

LEAK = "images in both splits"
LEAK_ADVICE = "results on them say nothing; take them out of one of the two folders"


def examine(layout: Layout, found: Findings) -> Contents | None:
    """Both folders' masks decoded (or their indexes opened), values, sizes, missing files, leaks.

    Returns:
        Without counts and digest where a file has a fault, None where a folder has; `found` says which.
    """
    train, evaluation = _index(layout, layout.train, found), _index(layout, layout.eval, found)
    if train is None or evaluation is None:
        return _files_alone(layout)
    both = {"train": train, "val": evaluation}
    _look_for_leaks(train, evaluation, found)
    for index in both.values():
        for number in index.only_ignored(layout.labels):
            found.note("masks with ignored pixels only", index.mask_file(number))
    pixels = {split: index.class_pixels(layout.labels) for split, index in both.items()}
    for split, counts in pixels.items():
        for class_id in np.flatnonzero(counts == 0).tolist():
            found.note(f"classes without a pixel in {split}", layout.class_names[class_id])
    trained_on = torch.from_numpy(pixels["train"])
    try:
        check_learnable(layout, trained_on)
    except InputError as error:
        found.problem("nothing to learn from", str(error))
    return Contents(
        class_names=layout.class_names,
        group_names=GROUPS,
        groups=groups_by_pixels(trained_on),
        unit="pixels",
        counts=pixels,
        files={split: _files(layout.root, index) for split, index in both.items()},
        decode=_pair_check(layout, *both.values()),
        digest=digest_of(layout, train, evaluation),
    )


def _files_alone(layout: Layout) -> Contents | None:
    """The images, which can be looked into although the masks, which have been, cannot be counted."""
    try:
        listings = {"train": list_pairs(layout.train), "val": list_pairs(layout.eval)}
    except InputError:
        return None
    return Contents(
        class_names=layout.class_names,
        group_names=GROUPS,
        groups=[],
        unit="pixels",
        counts={},
        files={split: _images(layout.root, listing) for split, listing in listings.items()},
        decode=_pair_check(layout, *listings.values()),
        digest="",
    )


def prepare(layout: Layout) -> list[str]:
    """Build the indexes; says what there is, in lines.

    Raises:
        InputError: a file is missing, damaged or not as it has to be, or there is nothing to learn.
    """
    lines = []
    for what, pairs in (("training", layout.train), ("evaluation", layout.eval)):
        index = storage.open_index(pairs)
        storage.refuse(list(index.wrong_labels(layout.labels)))
        lines.append(f"{what}: {pairs.images}: {len(index):,} images, each with its mask in {pairs.masks}")
        lines.append(f"{what} index: {storage.place_of(pairs)}, built in {index.seconds:.1f} s")
        if what == "training":
            lines += _describe_classes(layout, index)
    return lines


def _describe_classes(layout: Layout, index: MaskIndex) -> list[str]:
    pixels = torch.from_numpy(index.class_pixels(layout.labels))
    check_learnable(layout, pixels)
    groups = groups_by_pixels(pixels)
    counts = ", ".join(f"{groups.count(group)} {group}" for group in GROUPS)
    everything = int(index.pixels.sum())
    return [
        f"classes: {len(groups):,} ({counts}, by training pixels)",
        f"to learn from: {int(pixels.sum()):,} of {everything:,} training pixels, the rest is ignored",
    ]


def _index(layout: Layout, pairs: Pairs, found: Findings) -> MaskIndex | None:
    try:
        index, faults = storage.find_faults(pairs)
    except InputError as error:
        found.problem("folders", str(error))
        return None
    faults = faults or list(index.wrong_labels(layout.labels) if index else [])
    for fault in faults:
        found.problem(fault.kind, fault.text)
    return None if faults else index


def _look_for_leaks(train: MaskIndex, evaluation: MaskIndex, found: Findings) -> None:
    """Images of one name that are the same or have the same mask, and masks of other names that are the same.

    Masks of a single value tell nothing: two images of one class alone have the same.
    """
    trained = {_stem(name): number for number, name in enumerate(train.mask_names)}
    alike: dict[bytes, set[int]] = {}
    for number in np.flatnonzero(np.diff(train.offsets) > 1).tolist():
        alike.setdefault(train.checksums[number].tobytes(), set()).add(number)
    for number, name in enumerate(evaluation.mask_names):
        namesake, others = trained.get(_stem(name)), alike.get(evaluation.checksums[number].tobytes(), set())
        image = evaluation.image_file(number)
        if namesake is not None and same_content(Path(image), Path(train.image_file(namesake))):
            found.problem(LEAK, f"{image} is {train.image_file(namesake)}", advice=LEAK_ADVICE)
        elif namesake in others:
            found.problem(LEAK, f"{image} has name and mask of {train.image_file(namesake)}", advice=LEAK_ADVICE)
        elif others:
            found.note("masks in both splits", f"{evaluation.mask_file(number)} is {train.mask_file(min(others))}")


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _pair_check(layout: Layout, *both: MaskIndex | Listing) -> PairCheck:
    root = layout.root
    image_of = {
        mask: image for each in both for mask, image in zip(_masks(root, each), _images(root, each), strict=True)
    }
    return PairCheck(layout.labels, image_of)


def _files(root: Path, pairs: MaskIndex | Listing) -> list[str]:
    return [*_images(root, pairs), *_masks(root, pairs)]


def _images(root: Path, pairs: MaskIndex | Listing) -> list[str]:
    folder = pairs.pairs.images.relative_to(root).as_posix()
    return [f"{folder}/{name}" for name in pairs.image_names]


def _masks(root: Path, pairs: MaskIndex | Listing) -> list[str]:
    folder = pairs.pairs.masks.relative_to(root).as_posix()
    return [f"{folder}/{name}" for name in pairs.mask_names]
