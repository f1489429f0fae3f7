"""The annotations of a file while its index is built: checked against its images and classes, ordered by image.

Legend: A annotations, P polygons, I images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.lvis_index.arrays import NO_POLYGON, OUTSIDE, ZERO_AREA
from eqbench.data.lvis_index.columns import FEWEST_NUMBERS, Columns
from eqbench.data.lvis_index.polygons import PolygonFile, ranges
from eqbench.errors import InputError

Array = NDArray[Any]


class AnnotationTable:
    """Takes batches of columns; coordinates go to a file at once, the rest is kept."""

    def __init__(self, source: Path, polygons: PolygonFile) -> None:
        self._source = source
        self._polygons = polygons
        self._columns = Columns()
        self._number = 0
        self._bad_polygons = 0
        self._first_bad_polygon: int | None = None  # position of its annotation

    def add(self, columns: dict[str, Array]) -> None:
        lengths, coordinates = columns.pop("lengths"), columns.pop("coordinates")
        good = (lengths >= FEWEST_NUMBERS) & (lengths % 2 == 0)
        if not good.all():
            owners = np.repeat(np.arange(len(columns["id"])), columns["polygons"])
            if self._first_bad_polygon is None:
                self._first_bad_polygon = self._number + int(owners[~good][0])
            self._bad_polygons += int((~good).sum())
            columns["polygons"] = np.bincount(owners[good], minlength=len(columns["id"]))
            coordinates, lengths = coordinates[np.repeat(good, lengths)], lengths[good]
        self._number += len(columns["id"])
        self._columns.add(**columns)
        self._polygons.append(lengths, coordinates)

    def finish(
        self,
        coordinates: Path,
        image_ids: NDArray[np.int64],
        sizes: tuple[Array, Array],
        category_ids: NDArray[np.int64],
    ) -> tuple[dict[str, Array], list[str]]:
        """The arrays of an index that have annotations, and warnings; `coordinates` is written.

        Args:
            coordinates: the .npy file of this name.
            image_ids, sizes: (I,) ids, heights and widths of the images.
            category_ids: (C,) ascending.

        Raises:
            InputError: an id is there twice, or an annotation refers to an image or category that is not there.
        """
        take = self._columns.take
        ids = take("id")
        refuse_duplicates(self._source, "annotations", ids)
        images = self._rows_of("image_id", take("image_id"), image_ids, ids)
        classes = self._rows_of("category_id", take("category_id"), category_ids, ids)
        polygons = take("polygons")
        box, crowd = take("box"), take("iscrowd")
        faults = _box_faults(box, *(size[images] for size in sizes))
        faults |= NO_POLYGON * ((polygons == 0) & ~crowd).astype(np.uint8)
        area = take("area")
        area = np.where(np.isnan(area), box[:, 2] * box[:, 3], area)
        box[:, 2:] += box[:, :2]
        order = np.argsort(images, kind="stable")
        firsts = np.cumsum(polygons) - polygons
        found = {
            "annotation_offsets": np.concatenate([[0], np.cumsum(np.bincount(images, minlength=len(image_ids)))]),
            "annotation_ids": ids[order],
            "classes": classes[order],
            "boxes": box.astype(np.float32)[order],
            "areas": area[order],
            "crowd": crowd[order],
            "faults": faults[order],
            "polygon_offsets": np.concatenate([[0], np.cumsum(polygons[order])]),
            "coordinate_offsets": self._polygons.write(coordinates, ranges(firsts[order], polygons[order])),
            **_counts(images, classes, len(category_ids)),
        }
        return found, self._warnings(ids, faults)

    def _rows_of(self, key: str, wanted: Array, known: NDArray[np.int64], ids: Array) -> Array:
        rows, unknown = find_rows(known, wanted)
        if unknown is not None:
            what = "images" if key == "image_id" else "categories"
            raise InputError(
                f"{self._source}: annotations[{unknown}] (id {ids[unknown]}): {key} {wanted[unknown]} is none of the "
                f"{len(known):,} {what} (ids {known.min()} to {known.max()})"
            )
        return rows

    def _warnings(self, ids: Array, faults: Array) -> list[str]:
        """One for each kind of fault that there is."""
        found: list[str] = []

        def warn(number: int, position: int, what: str, consequence: str) -> None:
            first = f"annotations[{position}] (id {ids[position]})"
            found.append(f"{self._source}: {number:,} {what}, first in {first}: {consequence}")

        _each_fault(faults, ZERO_AREA, "box(es) of zero area", warn)
        _each_fault(faults, OUTSIDE, "box(es) wholly outside the image", warn)
        if self._first_bad_polygon is not None:
            what = "polygon(s) of fewer than 3 points, or with an odd number of coordinates"
            warn(self._bad_polygons, self._first_bad_polygon, what, "polygon left out")
        what = "annotation(s) without a polygon (a run-length code is none)"
        _each_fault(faults, NO_POLYGON, what, warn, "left out where masks are trained")
        return found


def find_rows(known: NDArray[np.int64], wanted: Array) -> tuple[NDArray[np.int64], int | None]:
    """Where in `known` each of `wanted` is, and the first position in `wanted` that is not there."""
    order = np.argsort(known)
    rows = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    missing = known[rows] != wanted
    return rows, int(np.argmax(missing)) if missing.any() else None


def refuse_duplicates(source: Path, key: str, ids: Array) -> None:
    """Raises InputError with the first id that has been there before, and both its positions."""
    order = np.argsort(ids, kind="stable")
    again = order[1:][ids[order[1:]] == ids[order[:-1]]]
    if len(again):
        second = int(again.min())
        first = int(np.argmax(ids == ids[second]))
        more = f"; {len(again):,} duplicates in all" if len(again) > 1 else ""
        raise InputError(f"{source}: {key}[{first}] and {key}[{second}] have the same id {ids[second]}{more}")


def _each_fault(
    faults: Array,
    bit: int,
    what: str,
    warn: Callable[[int, int, str, str], None],
    consequence: str = "annotation left out of training",
) -> None:
    have = (faults & bit) != 0
    if have.any():
        warn(int(have.sum()), int(np.argmax(have)), what, consequence)


def _box_faults(box: Array, heights: Array, widths: Array) -> NDArray[np.uint8]:
    """(A,) bits; `box` is (A, 4) left, top, width, height."""
    left, top, width, height = box.T
    empty = (width <= 0) | (height <= 0)
    outside = (left >= widths) | (top >= heights) | (left + width <= 0) | (top + height <= 0)
    faults: NDArray[np.uint8] = np.where(empty, ZERO_AREA, np.where(outside, OUTSIDE, 0)).astype(np.uint8)
    return faults


def _counts(images: Array, classes: Array, num_classes: int) -> dict[str, Array]:
    pairs = np.unique(images * num_classes + classes)
    return {
        "image_counts": np.bincount(pairs % num_classes, minlength=num_classes),
        "instance_counts": np.bincount(classes, minlength=num_classes),
    }
