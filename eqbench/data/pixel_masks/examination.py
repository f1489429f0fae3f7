"""What a data set of images with masks holds and what is wrong with it; getting it ready.

Legend: C classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eqbench.data.image_files.checking import image_findings
from eqbench.data.image_files.decoding import decode_mask
from eqbench.data.pixel_masks import storage
from eqbench.data.pixel_masks.dataset import digest_of
from eqbench.data.pixel_masks.index import MaskIndex
from eqbench.data.pixel_masks.layout import Layout, Listing, Pairs, list_pairs
from eqbench.data.segmentation import GROUPS, groups_by_pixels
from eqbench.data.verification.contents import Contents, Decode
from eqbench.data.verification.findings import Findings
from eqbench.errors import InputError

Both = tuple[MaskIndex, MaskIndex]


def examine(layout: Layout, found: Findings, decode: Decode) -> Contents | None:
    """Both folders' masks decoded (or their indexes opened), values, sizes, missing files, leaks.

    Returns:
        Without counts and digest where a file has a fault, None where a folder has; `found` says which.
    """
    train, evaluation = _index(layout, layout.train, found), _index(layout, layout.eval, found)
    if train is None or evaluation is None:
        return _files_alone(layout, decode)
    both = {"train": train, "val": evaluation}
    _look_for_leaks(train, evaluation, found)
    for index in both.values():
        for number in index.only_ignored(layout.labels):
            found.note("masks with ignored pixels only", index.mask_file(number))
    pixels = {split: index.class_pixels(layout.labels) for split, index in both.items()}
    for split, counts in pixels.items():
        for class_id in np.flatnonzero(counts == 0).tolist():
            found.note(f"classes without a pixel in {split}", layout.class_names[class_id])
    return Contents(
        class_names=layout.class_names,
        group_names=GROUPS,
        groups=groups_by_pixels(torch.from_numpy(pixels["train"])),
        unit="pixels",
        counts=pixels,
        files={split: _files(layout.root, index) for split, index in both.items()},
        decode=decode,
        digest=digest_of(layout, train, evaluation),
    )


def _files_alone(layout: Layout, decode: Decode) -> Contents | None:
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
        decode=decode,
        digest="",
    )


def decode_file(root: Path, path: str, masks: Path) -> list[tuple[str, str]]:
    """What there is to say about an image, or about a mask: what is below the folder `masks` of `root`."""
    if not Path(path).is_relative_to(masks):
        return image_findings(root, path)
    try:
        decode_mask(root / path)
    except InputError as error:
        return [("masks that cannot be used", str(error).removeprefix(f"{root}/"))]
    return []


def prepare(layout: Layout) -> list[str]:
    """Build the indexes; says what there is, in lines.

    Raises:
        InputError: a file is missing, damaged or not as it has to be.
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
    pixels = index.class_pixels(layout.labels)
    groups = groups_by_pixels(torch.from_numpy(pixels))
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
    """Masks that are in both splits, byte for byte; of the same name too, it is the same image."""
    known: dict[bytes, int] = {checksum.tobytes(): number for number, checksum in enumerate(train.checksums)}
    for number, checksum in enumerate(evaluation.checksums):
        other = known.get(checksum.tobytes())
        if other is None or evaluation.offsets[number + 1] - evaluation.offsets[number] < 2:
            continue  # two images of one class alone have the same mask
        text = f"{evaluation.mask_file(number)} is {train.mask_file(other)}"
        if evaluation.mask_names[number] == train.mask_names[other]:
            found.problem("images in both splits", text)
        else:
            found.note("masks in both splits", text)


def _files(root: Path, index: MaskIndex) -> list[str]:
    masks = index.pairs.masks.relative_to(root).as_posix()
    return [*_images(root, index), *(f"{masks}/{name}" for name in index.mask_names)]


def _images(root: Path, pairs: MaskIndex | Listing) -> list[str]:
    folder = pairs.pairs.images.relative_to(root).as_posix()
    return [f"{folder}/{name}" for name in pairs.image_names]
