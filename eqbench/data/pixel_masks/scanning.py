"""Reading every mask of a folder once, in several threads."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from eqbench.data.image_files.decoding import ImageProperties, decode_mask, properties
from eqbench.data.labelled_images.image_list import PathColumn
from eqbench.data.pixel_masks.index import MaskIndex
from eqbench.data.pixel_masks.layout import Fault, Listing, Pairs
from eqbench.errors import InputError

logger = logging.getLogger(__name__)

MOST_THREADS = 16
AT_ONCE = 512
SECONDS_BETWEEN_LINES = 10.0
TURNED = range(5, 9)
"""EXIF orientations that exchange width and height."""


@dataclass(frozen=True, slots=True)
class Mask:
    """What is kept of a mask: its size, the values in it and how many pixels each has, its file's SHA-256."""

    height: int
    width: int
    values: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    checksum: bytes


def scan(listing: Listing) -> tuple[MaskIndex | None, list[Fault]]:
    """Decode every mask, and read the header of every image.

    Decoders let other threads run. Returns None where files have faults, which are listed by ascending name.
    """
    started = time.monotonic()
    masks, faults = [], []
    for found in _scan_all(listing):
        if isinstance(found, Fault):
            faults.append(found)
        else:
            masks.append(found)
    if faults or not masks:
        return None, faults
    seconds = time.monotonic() - started
    logger.info("%s: %s masks counted in %.1f s", listing.pairs.masks, f"{len(masks):,}", seconds)
    return _index(listing, masks, seconds), []


def scan_pair(pairs: Pairs, image_name: str, mask_name: str) -> Mask | Fault:
    """One mask and its image's header."""
    image_file, mask_file = f"{pairs.images}/{image_name}", f"{pairs.masks}/{mask_name}"
    try:
        mask = decode_mask(mask_file)
        checksum = hashlib.sha256(Path(mask_file).read_bytes()).digest()
    except (InputError, OSError) as error:
        return Fault("masks that cannot be used", str(error))
    try:
        image = properties(image_file)
    except InputError as error:
        return Fault("images that cannot be read", str(error))
    height, width = mask.shape
    if (image.height, image.width) != (height, width):
        return Fault("masks of another size", different_sizes(mask_file, (height, width), image))
    counts = torch.bincount(mask.flatten(), minlength=256).numpy()
    values = np.flatnonzero(counts)
    return Mask(height, width, values.astype(np.uint8), counts[values], checksum)


def different_sizes(mask_file: str, size: tuple[int, int], image: ImageProperties) -> str:
    """What is wrong with a mask of `size` (height, width) for `image`."""
    turned = ""
    if image.orientation in TURNED and (image.width, image.height) == size:
        turned = f"; the image's EXIF orientation {image.orientation} is not applied: masks go with pixels as stored"
    return (
        f"{mask_file}: {size[1]} x {size[0]} pixels (width x height), its image has {image.width} x {image.height}"
        f"{turned}"
    )


def _scan_all(listing: Listing) -> Iterable[Mask | Fault]:
    names = iter(zip(listing.image_names, listing.mask_names, strict=True))
    total, done, said = len(listing.mask_names), 0, time.monotonic()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(MOST_THREADS, cores + 1)
    with ThreadPoolExecutor(threads) as pool:
        while part := list(islice(names, AT_ONCE)):  # some at a time: an interruption ends it soon
            yield from pool.map(lambda pair: scan_pair(listing.pairs, *pair), part)
            done += len(part)
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                logger.info("%s: %s of %s masks counted", listing.pairs.masks, f"{done:,}", f"{total:,}")
                said = time.monotonic()


def _index(listing: Listing, masks: list[Mask], seconds: float) -> MaskIndex:
    return MaskIndex(
        pairs=listing.pairs,
        image_names=PathColumn.from_strings(listing.image_names),
        mask_names=PathColumn.from_strings(listing.mask_names),
        sizes=np.array([(mask.height, mask.width) for mask in masks], np.int32),
        offsets=np.cumsum([0, *(len(mask.values) for mask in masks)], dtype=np.int64),
        values=np.concatenate([mask.values for mask in masks]),
        pixels=np.concatenate([mask.pixels for mask in masks]),
        checksums=np.frombuffer(b"".join(mask.checksum for mask in masks), np.uint8).reshape(-1, 32),
        seconds=seconds,
    )
