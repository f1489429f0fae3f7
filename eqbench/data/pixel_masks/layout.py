"""Where the images and masks of a data set lie, and which of them belong together."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eqbench.data.image_files.checking import EXTENSIONS
from eqbench.data.pixel_masks.labels import LabelMap
from eqbench.errors import InputError

Split = Literal["train", "val"]
MASK_ENDING = ".png"
Mark = tuple[str, int, int]
"""Of a file: name, size in bytes, time of change in nanoseconds."""


@dataclass(frozen=True)
class Pairs:
    """A folder of images and one of masks, which have the images' names and end with .png."""

    images: Path
    masks: Path


@dataclass(frozen=True)
class Layout:
    """A data set of images and masks."""

    root: Path
    train: Pairs
    eval: Pairs
    labels: LabelMap
    class_names: Sequence[str]
    published_groups: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file; `kind` is what others like it have in common."""

    kind: str
    text: str


@dataclass(frozen=True)
class Listing:
    """The images and masks that belong together, by ascending name.

    Attributes:
        image_names, mask_names: file names.
        stamp: changes when a file is added, removed or renamed, or has another size or time of change.
        faults: files without counterpart.
    """

    pairs: Pairs
    image_names: Sequence[str]
    mask_names: Sequence[str]
    stamp: str
    faults: Sequence[Fault]


def list_pairs(pairs: Pairs) -> Listing:
    """Look into both folders; the files are not opened. Files with other endings are not looked at.

    Raises:
        InputError: a folder is missing, or there is no image in it.
    """
    images, doubles = _images(pairs.images)
    masks = _masks(pairs.masks)
    both = sorted(images.keys() & masks.keys())
    image_names = [images[stem][0] for stem in both]
    mask_names = [masks[stem][0] for stem in both]
    marks = np.array([marked[stem][1:] for marked in (images, masks) for stem in both], np.int64)
    stamp = hashlib.sha256("\0".join([*image_names, "", *mask_names]).encode("utf-8", "surrogateescape"))
    stamp.update(marks.tobytes())
    return Listing(pairs, image_names, mask_names, stamp.hexdigest(), [*doubles, *_unpaired(pairs, images, masks)])


def _unpaired(pairs: Pairs, images: Mapping[str, Mark], masks: Mapping[str, Mark]) -> Iterator[Fault]:
    for stem in sorted(images.keys() - masks.keys()):
        text = f"{pairs.masks / stem}{MASK_ENDING}: no mask for the image {images[stem][0]}"
        yield Fault("masks missing", text)
    for stem in sorted(masks.keys() - images.keys()):
        text = f"{pairs.images / stem}.jpg: no image, nor with another ending, for the mask {masks[stem][0]}"
        yield Fault("images missing", text)


def _images(folder: Path) -> tuple[dict[str, Mark], list[Fault]]:
    """By stem, and which stems are there twice."""
    found: dict[str, Mark] = {}
    faults = []
    with _entries(folder) as entries:
        for entry in entries:
            stem, dot, ending = entry.name.rpartition(".")
            if dot + ending.lower() not in EXTENSIONS or stem.startswith(".") or not entry.is_file():
                continue
            if stem in found:
                text = f"{folder}: {found[stem][0]} and {entry.name} are images for one mask; expected one"
                faults.append(Fault("images of the same name", text))
            found[stem] = _mark(entry)
    if not found:
        raise InputError(f"{folder}: no image in it; expected files that end with {', '.join(EXTENSIONS)}")
    return found, faults


def _masks(folder: Path) -> dict[str, Mark]:
    found = {}
    with _entries(folder) as entries:
        for entry in entries:
            stem, dot, ending = entry.name.rpartition(".")
            if dot + ending.lower() == MASK_ENDING and not stem.startswith(".") and entry.is_file():
                found[stem] = _mark(entry)
    return found


def _mark(entry: os.DirEntry[str]) -> Mark:
    status = entry.stat()
    return entry.name, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Raises InputError where the folder is missing or cannot be read."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    try:
        descriptor = os.open(folder, os.O_RDONLY)  # the files' paths are relative to it, which is faster
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)
