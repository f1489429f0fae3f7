"""What an annotation file holds, mapped from its index.

Legend: I images, A annotations, C classes.
"""

from __future__ import annotations

import os
import re
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SLASH = ord("/")
SUSPICIOUS = re.compile(rb"\.\.|\0|:/")
READ_IN_PARTS = ("boxes", "polygon_offsets", "coordinate_offsets", "coordinates")
"""Read from their files rather than through their mapping: pages of a mapping add up to all of it over an epoch."""


class AnnotationIndex:
    """Arrays of an annotation file; `lvis_index.arrays.ARRAYS` lists them, each is an attribute of its name here.

    Attributes:
        source: the annotation file.
        folder: the index.
        sha256: of the annotation file.
        category_names: (C,)
        frequency: (C,) "r", "c" or "f" as the file says, None if it does not.
        warnings: what was found in the file that is not learned from, one line for each kind.
        seconds: how long building took.
        images_with: number of images with `coco_url`, `file_name`, `negatives` and `not_exhaustive`.
    """

    image_ids: NDArray[np.int64]
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    negatives: NDArray[np.int32]
    negative_offsets: NDArray[np.int64]
    not_exhaustive: NDArray[np.int32]
    not_exhaustive_offsets: NDArray[np.int64]
    annotation_offsets: NDArray[np.int64]
    annotation_ids: NDArray[np.int64]
    classes: NDArray[np.int32]
    boxes: NDArray[np.float32]
    areas: NDArray[np.float32]
    crowd: NDArray[np.bool_]
    faults: NDArray[np.uint8]
    category_ids: NDArray[np.int64]
    image_counts: NDArray[np.int64]
    instance_counts: NDArray[np.int64]

    def __init__(self, source: Path, folder: Path, description: dict[str, Any], arrays: dict[str, Array]) -> None:
        self.source = source
        self.folder = folder
        self.sha256: str = description["sha256"]
        self.category_names: list[str] = description["category_names"]
        self.frequency: list[str] | None = description["frequency"]
        self.warnings: list[str] = description["warnings"]
        self.seconds: float = description["seconds"]
        self.images_with = {
            name: int(description[f"with_{name}"]) for name in ("coco_url", "file_name", "negatives", "not_exhaustive")
        }
        self._sizes: dict[str, int] = description["sizes"]
        self._arrays = arrays
        for name, array in arrays.items():
            setattr(self, name, array)
        self._parts = {name: _Part(folder / f"{name}.npy", arrays[name]) for name in READ_IN_PARTS}

    @property
    def num_images(self) -> int:
        return len(self.image_ids)

    @property
    def num_annotations(self) -> int:
        return len(self.annotation_ids)

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @property
    def bytes(self) -> int:
        """Size of the index on disk."""
        return sum(self._sizes.values())

    def url_path(self, image: int) -> str:
        """Last two parts of an image's coco_url, e.g. `train2017/000000391895.jpg`; empty without one."""
        return self._text("url_paths", "url_path_offsets", image)

    def file_name(self, image: int) -> str:
        """An image's file_name; empty without one."""
        return self._text("file_names", "file_name_offsets", image)

    def suspicious_paths(self) -> NDArray[np.int64]:
        """Rows of images whose `url_path` or `file_name` may not lie below a folder; all that do not are among them."""
        found = [
            _suspicious(self._arrays[texts], self._arrays[offsets])
            for texts, offsets in (("url_paths", "url_path_offsets"), ("file_names", "file_name_offsets"))
        ]
        return np.unique(np.concatenate(found))

    def read_rows(self, name: str, start: int, end: int) -> Array:
        """Rows of one of `READ_IN_PARTS`, as a copy."""
        return self._parts[name].read(start, end)

    def polygons(self, start: int, end: int) -> list[list[list[float]]]:
        """Of the annotations from `start` to before `end` each: x0, y0, x1, y1, … of each polygon."""
        owners = self.read_rows("polygon_offsets", start, end + 1).tolist()
        bounds = self.read_rows("coordinate_offsets", owners[0], owners[-1] + 1)
        coordinates = self.read_rows("coordinates", int(bounds[0]), int(bounds[-1])).tolist()
        places = (bounds - bounds[0]).tolist()
        outlines = [coordinates[first:last] for first, last in pairwise(places)]
        return [outlines[first - owners[0] : last - owners[0]] for first, last in pairwise(owners)]

    def groups(self, common_above: int, frequent_above: int) -> list[str]:
        """(C,) "r", "c" or "f": as the file says, else by how many of its images show the class.

        A class is rare in up to `common_above` images and frequent in more than `frequent_above`: with 10 and 100
        these are the labels that LVIS ships.
        """
        if self.frequency is not None:
            return list(self.frequency)
        counts = self.image_counts.tolist()
        return ["f" if count > frequent_above else "c" if count > common_above else "r" for count in counts]

    def _text(self, name: str, offsets: str, image: int) -> str:
        start, end = self._arrays[offsets][image : image + 2].tolist()
        return self._arrays[name][start:end].tobytes().decode("utf-8", "surrogateescape")

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        """Another process opens the index itself instead of getting its arrays."""
        from eqbench.data.lvis_index.storage import open_index

        return open_index, (self.source,)


def _suspicious(text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the texts with two dots, a null character or `:/` in them, or a slash at their beginning."""
    places = [match.start() for match in SUSPICIOUS.finditer(text.data)]
    inside = np.searchsorted(offsets, np.array(places, np.int64), side="right") - 1
    written = np.flatnonzero(np.diff(offsets))
    return np.concatenate([inside, written[text[offsets[written]] == SLASH]])


class _Part:
    """Reads rows of a .npy file; safe to use after a fork and in several threads."""

    def __init__(self, file: Path, array: Array) -> None:
        self._dtype = array.dtype
        self._shape = array.shape[1:]
        self._row_bytes = array.dtype.itemsize * int(np.prod(self._shape))
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._header = os.fstat(self._descriptor).st_size - array.nbytes

    def read(self, start: int, end: int) -> Array:
        wanted = (end - start) * self._row_bytes
        data = os.pread(self._descriptor, wanted, self._header + start * self._row_bytes)
        return np.frombuffer(data, self._dtype).reshape(-1, *self._shape)
