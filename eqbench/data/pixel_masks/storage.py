"""Where the index of a folder of masks lies, whether it is up to date, and building it once for all processes."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eqbench import file_lock
from eqbench.data.labelled_images.image_list import PathColumn
from eqbench.data.lvis_index.storage import index_folders
from eqbench.data.pixel_masks.index import MaskIndex
from eqbench.data.pixel_masks.layout import Fault, Listing, Pairs, list_pairs
from eqbench.data.pixel_masks.scanning import scan
from eqbench.errors import EnvironmentProblem, InputError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the file; one of another version is built again."""
PATIENCE_SECONDS = 1800.0
"""Another process may build the index so long; on a slow network file system it reads for minutes."""
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
ARRAYS = {
    "sizes": np.int32,
    "offsets": np.int64,
    "values": np.uint8,
    "pixels": np.int64,
    "checksums": np.uint8,
}


def open_index(pairs: Pairs) -> MaskIndex:
    """The index of a folder of masks; built first if there is none that is up to date.

    It lies beside the folder of the masks in `<name>.index`, or where that cannot be written to under
    `$EQBENCH_CACHE`, by default `~/.cache/eqbench`. Several processes that open it at once build it once.

    Raises:
        InputError: a folder or a file is missing, damaged, or not as it has to be; the first, and how many more.
        EnvironmentProblem: the index can be written nowhere, or another process builds it for too long.
    """
    listing = list_pairs(pairs)
    refuse(listing.faults)
    index, faults = _open_or_build(listing)
    refuse(faults)
    assert index is not None
    return index


def place_of(pairs: Pairs) -> Path:
    """Where the index lies that `open_index` has opened."""
    beside, in_cache = index_folders(pairs.masks)
    return beside if beside.is_file() else in_cache


def find_faults(pairs: Pairs) -> tuple[MaskIndex | None, list[Fault]]:
    """As `open_index`, but with everything that is wrong; the index is None where something is.

    Raises:
        InputError: a folder is missing or has no images.
        EnvironmentProblem: as `open_index`.
    """
    listing = list_pairs(pairs)
    if listing.faults:
        return None, [*listing.faults, *scan(listing)[1]]
    return _open_or_build(listing)


def refuse(faults: Sequence[Fault]) -> None:
    """Raises InputError where there is a fault: says the first, and how many there are of each kind."""
    if not faults:
        return
    kinds = [fault.kind for fault in faults]
    counts = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in dict.fromkeys(kinds))
    raise InputError(f"{faults[0].text}{f' (in all: {counts})' if len(faults) > 1 else ''}")


def _open_or_build(listing: Listing) -> tuple[MaskIndex | None, list[Fault]]:
    places = index_folders(listing.pairs.masks)
    for place in places:
        if index := _open_fresh(listing, place):
            return index, []
    refusals = []
    for place in places:
        try:
            return _build(listing, place)
        except OSError as error:
            refusals.append(f"{place.parent} ({error.strerror or error})")
    raise EnvironmentProblem(
        f"{listing.pairs.masks}: its index can be written neither to {' nor to '.join(refusals)}; "
        "set EQBENCH_CACHE to a folder that can be written to"
    )


def _build(listing: Listing, place: Path) -> tuple[MaskIndex | None, list[Fault]]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(place.with_name(f"{place.name}.lock"), PATIENCE_SECONDS) as lock:
        if lock is None:
            raise EnvironmentProblem(f"{place}: another process has been building it for {PATIENCE_SECONDS:.0f} s")
        if index := _open_fresh(listing, place):
            return index, []
        logger.info("%s: counting the pixels of %s masks", listing.pairs.masks, f"{len(listing.mask_names):,}")
        index, faults = scan(listing)
        if index is not None:
            _write(index, listing.stamp, place)
        return index, faults


def _write(index: MaskIndex, stamp: str, place: Path) -> None:
    arrays: dict[str, Any] = {name: getattr(index, name) for name in ARRAYS}
    arrays |= {"format": FORMAT, "stamp": stamp, "seconds": index.seconds}
    for left_behind in place.parent.glob(f"{place.name}.part-*"):
        left_behind.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f"{place.name}.part-", delete=False) as file:
        try:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(place)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(file.name).unlink()
            raise


def _open_fresh(listing: Listing, place: Path) -> MaskIndex | None:
    """None where it has to be built."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if int(content["format"]) != FORMAT or str(content["stamp"]) != listing.stamp:
                return None
            arrays = {name: content[name] for name in ARRAYS}
            seconds = float(content["seconds"])
    except FileNotFoundError:
        return None
    except DAMAGED as error:
        logger.warning("%s: damaged (%s: %s); it is built again", place, type(error).__name__, error)
        return None
    return MaskIndex(
        pairs=listing.pairs,
        image_names=PathColumn.from_strings(listing.image_names),
        mask_names=PathColumn.from_strings(listing.mask_names),
        seconds=seconds,
        **arrays,
    )
