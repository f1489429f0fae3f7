"""A folder of .npy files and `index.json`: how an index lies on disk.

Legend: I images, A annotations, P polygons, C classes. Images are in the order of the file; annotations image by
image, in the order of the file within an image; polygons annotation by annotation. Classes are the file's categories
by ascending id.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
"""Version of the layout; an index of another version is built again."""
DESCRIPTION = "index.json"

ARRAYS = {
    "image_ids": np.int64,  # (I,)
    "heights": np.int32,  # (I,)
    "widths": np.int32,  # (I,)
    "url_paths": np.uint8,  # UTF-8 of the last two parts of each image's coco_url
    "url_path_offsets": np.int64,  # (I + 1,)
    "file_names": np.uint8,  # UTF-8 of each image's file_name
    "file_name_offsets": np.int64,  # (I + 1,)
    "negatives": np.int32,  # classes verified absent, image by image
    "negative_offsets": np.int64,  # (I + 1,)
    "not_exhaustive": np.int32,  # classes not exhaustively annotated, image by image
    "not_exhaustive_offsets": np.int64,  # (I + 1,)
    "annotation_offsets": np.int64,  # (I + 1,)
    "annotation_ids": np.int64,  # (A,)
    "classes": np.int32,  # (A,)
    "boxes": np.float32,  # (A, 4) left, top, right, bottom in pixels
    "areas": np.float32,  # (A,) as the file says, else width times height
    "crowd": np.bool_,  # (A,)
    "faults": np.uint8,  # (A,) see `annotations`
    "polygon_offsets": np.int64,  # (A + 1,)
    "coordinate_offsets": np.int64,  # (P + 1,)
    "coordinates": np.float32,  # x0, y0, x1, y1, … of each polygon
    "category_ids": np.int64,  # (C,)
    "image_counts": np.int64,  # (C,) images of this file that show the class
    "instance_counts": np.int64,  # (C,) annotations in this file
}
"""Every array of an index and its dtype."""

ZERO_AREA, OUTSIDE, NO_POLYGON = 1, 2, 4
"""Bits of `faults`. An annotation with one is not learned from; with the last, only where masks are learned."""


def write(folder: Path, arrays: dict[str, NDArray[Any]], description: dict[str, Any]) -> None:
    """Write all arrays but `coordinates`, which is there already, and the description last."""
    assert set(arrays) == set(ARRAYS) - {"coordinates"}
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array.astype(ARRAYS[name], copy=False))
            flush(file)
    sizes = {name: (folder / f"{name}.npy").stat().st_size for name in ARRAYS}
    write_description(folder, {"format": FORMAT, "sizes": sizes, **description})


def write_description(folder: Path, description: dict[str, Any]) -> None:
    (folder / DESCRIPTION).write_text(json.dumps(description))


def read_description(folder: Path) -> dict[str, Any] | None:
    """None where there is no index, or one of another format.

    Raises:
        ValueError: it is not json.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
    except FileNotFoundError:
        return None
    if not isinstance(description, dict):
        raise ValueError(f"{folder / DESCRIPTION}: not an object")
    return description if description.get("format") == FORMAT else None


def read(folder: Path, description: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """All arrays, mapped from their files.

    Raises:
        OSError, ValueError, KeyError: a file is missing, or is not as it was written.
    """
    arrays = {}
    for name, dtype in ARRAYS.items():
        file = folder / f"{name}.npy"
        if file.stat().st_size != description["sizes"][name]:
            raise ValueError(f"{file.name} has {file.stat().st_size:,} bytes, not {description['sizes'][name]:,}")
        mapped = np.load(file, mmap_mode="r")
        if mapped.dtype != dtype:
            raise ValueError(f"{file.name} is {mapped.dtype}, not {np.dtype(dtype)}")
        arrays[name] = np.asarray(mapped)  # a plain array: access to an np.memmap takes twice as long
    return arrays


def flush(file: IO[bytes]) -> None:
    """To the disk, so that a machine that stops does not leave an index with files that are empty inside."""
    file.flush()
    os.fsync(file.fileno())
