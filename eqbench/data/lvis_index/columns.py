"""Turns records of an annotation file into columns, and says which record is not as it has to be.

A batch is converted as a whole; only if that fails, its records are looked at one by one to name the first bad one.
Legend: n records of a batch, p polygons.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.errors import InputError, nearest
from eqbench.validation import show

Array = NDArray[Any]
NOT_CONVERTED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
FEWEST_NUMBERS = 6
"""In a polygon: three points."""
MOST_PIXELS = 2**31
"""More would not fit the arrays of an index, and is no image."""


def whole_numbers(values: Iterable[Any]) -> NDArray[np.int64]:
    """TypeError for anything else, 1.0 and "1" included."""
    return np.frombuffer(array("q", list(values)), np.int64)


def numbers(values: Iterable[Any]) -> NDArray[np.float64]:
    """TypeError for texts, lists and null."""
    return np.frombuffer(array("d", list(values)), np.float64)


@dataclass
class Columns:
    """Batches of columns, joined at the end."""

    batches: dict[str, list[Array]] = field(default_factory=dict)

    def add(self, **columns: Array) -> None:
        for name, column in columns.items():
            self.batches.setdefault(name, []).append(column)

    def take(self, name: str) -> Array:
        """The whole column; its batches are freed."""
        return np.concatenate(self.batches.pop(name))


def annotation_columns(path: Path, first: int, records: list[Any]) -> dict[str, Array]:
    """Columns of a batch of annotations, polygons with all their numbers.

    Returns:
        `id`, `image_id`, `category_id`, `iscrowd`, `area` (n,); `box` (n, 4) x, y, width, height as in the file;
        `polygons` (n,) number of polygons, 0 for a run-length code; `lengths` (p,) and `coordinates` (sum of
        lengths,).
    """
    try:
        boxes = [record["bbox"] for record in records]
        if any(len(box) != 4 for box in boxes):
            raise ValueError
        shapes = [record.get("segmentation") or [] for record in records]
        outlines = [[] if type(shape) is dict else shape for shape in shapes]
        if any(type(outline) is not list for outline in outlines):
            raise TypeError
        polygons = list(chain.from_iterable(outlines))
        columns: dict[str, Array] = {
            "id": whole_numbers(record["id"] for record in records),
            "image_id": whole_numbers(record["image_id"] for record in records),
            "category_id": whole_numbers(record["category_id"] for record in records),
            "iscrowd": whole_numbers(record.get("iscrowd", 0) for record in records) != 0,
            "area": numbers(record.get("area", math.nan) for record in records).astype(np.float32),
            "box": numbers(chain.from_iterable(boxes)).reshape(-1, 4),
            "polygons": whole_numbers(map(len, outlines)),
            "lengths": whole_numbers(map(len, polygons)),
            "coordinates": numbers(chain.from_iterable(polygons)),
        }
    except NOT_CONVERTED as error:
        raise _first_bad(path, "annotations", first, records, _annotation_fault) from error
    places = columns["box"], columns["coordinates"]
    if not all((np.abs(each) < MOST_PIXELS).all() for each in places) or (columns["box"][:, 2:] < 0).any():
        raise _first_bad(path, "annotations", first, records, _annotation_fault)
    return columns


def image_columns(path: Path, first: int, records: list[Any]) -> dict[str, Any]:
    """`id`, `height`, `width` (n,), and lists: `coco_url` and `file_name`, and the category ids of
    `neg_category_ids` and `not_exhaustive_category_ids`, None where absent."""
    try:
        columns: dict[str, Any] = {
            key: whole_numbers(record[key] for record in records) for key in ("id", "height", "width")
        }
        for key in ("coco_url", "file_name"):
            columns[key] = [record.get(key) or "" for record in records]
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            columns[key] = [None if key not in record else whole_numbers(record[key]) for record in records]
        names_are_texts = all(type(name) is str for key in ("coco_url", "file_name") for name in columns[key])
        named = all(url or name for url, name in zip(columns["coco_url"], columns["file_name"], strict=True))
        sizes = np.concatenate([columns["height"], columns["width"]])
        if names_are_texts and named and ((sizes > 0) & (sizes < MOST_PIXELS)).all():
            return columns
    except NOT_CONVERTED as error:
        raise _first_bad(path, "images", first, records, _image_fault) from error
    raise _first_bad(path, "images", first, records, _image_fault)


def check_categories(path: Path, records: Sequence[Any]) -> None:
    """Each has an id and a name, and all or none of them a `frequency`."""
    for position, record in enumerate(records):
        if fault := _category_fault(record):
            raise InputError(f"{path}: {_place('categories', position, record)}: {fault}")
    given = ["frequency" in record for record in records]
    if any(given) and not all(given):
        position = given.index(False)
        raise InputError(
            f"{path}: {_place('categories', position, records[position])}: no `frequency`, which other categories have"
        )


def _first_bad(
    path: Path, key: str, first: int, records: Sequence[Any], fault_of: Callable[[Any], str | None]
) -> InputError:
    for position, record in enumerate(records, first):
        if fault := fault_of(record):
            return InputError(f"{path}: {_place(key, position, record)}: {fault}")
    raise AssertionError(f"{path}: {key}[{first}] and the {len(records) - 1} after it: none is at fault")


def _place(key: str, position: int, record: Any) -> str:
    known = record.get("id") if isinstance(record, dict) else None
    return f"{key}[{position}]" + ("" if known is None else f" (id {show(known)})")


def _annotation_fault(record: Any) -> str | None:
    if fault := _whole_number_fault(record, "id", "image_id", "category_id") or _missing(record, "bbox"):
        return fault
    box = record["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        return f"bbox {show(box)}, expected 4 numbers: x, y, width, height"
    if not all(map(_is_place, box)):
        return f"bbox {show(box)}, expected finite numbers of pixels"
    if min(box[2:]) < 0:
        return f"bbox {show(box)}, expected a width and height of at least 0"
    if not _is_whole(record.get("iscrowd", 0)):
        return f"iscrowd {show(record['iscrowd'])}, expected 0 or 1"
    if not _is_number(record.get("area", 0)):
        return f"area {show(record['area'])}, expected a number"
    shape = record.get("segmentation") or []
    if not isinstance(shape, list | dict):
        return f"segmentation {show(shape)}, expected a list of polygons or a run-length code"
    for number, polygon in enumerate(shape if isinstance(shape, list) else []):
        if not (isinstance(polygon, list) and all(map(_is_place, polygon))):
            return f"segmentation[{number}] {show(polygon)}, expected a list of finite numbers x0, y0, x1, y1, …"
    return None


def _image_fault(record: Any) -> str | None:
    if fault := _whole_number_fault(record, "id", "height", "width"):
        return fault
    for key in ("height", "width"):
        if not 0 < record[key] < MOST_PIXELS:
            return f"{key} {record[key]}, expected at least 1"
    for key in ("coco_url", "file_name"):
        if not isinstance(record.get(key) or "", str):
            return f"{key} {show(record[key])}, expected a text"
    if not (record.get("coco_url") or record.get("file_name")):
        return "neither coco_url nor file_name, so where the image lies is not known"
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        listed = record.get(key, [])
        if not (isinstance(listed, list) and all(map(_is_whole, listed))):
            return f"{key} {show(listed)}, expected a list of category ids"
    return None


def _category_fault(record: Any) -> str | None:
    if fault := _whole_number_fault(record, "id") or _missing(record, "name"):
        return fault
    name = record["name"]
    if not (isinstance(name, str) and name and name.isascii() | (name == name.encode(errors="replace").decode())):
        return f"name {show(name)}, expected a text"
    frequency = record.get("frequency", "r")
    return None if frequency in ("r", "c", "f") else f"frequency {show(frequency)}, expected 'r', 'c' or 'f'"


def _whole_number_fault(record: Any, *keys: str) -> str | None:
    for key in keys:
        if fault := _missing(record, key):
            return fault
        if not _is_whole(record[key]):
            return f"{key} {show(record[key])}, expected a whole number"
    return None


def _missing(record: Any, key: str) -> str | None:
    if not isinstance(record, dict):
        return f"{show(record)}, expected an object"
    return None if key in record else f"no {key!r}{nearest(key, record)}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and abs(value) < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, float) or _is_whole(value)


def _is_place(value: Any) -> bool:
    return _is_number(value) and abs(value) < MOST_PIXELS
