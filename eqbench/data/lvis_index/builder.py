"""Builds the arrays of an index from an annotation file, and checks the file on the way.

Legend: I images, A annotations, P polygons, C classes.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.lvis_index import arrays
from eqbench.data.lvis_index.annotations import AnnotationTable, find_rows, refuse_duplicates
from eqbench.data.lvis_index.columns import Columns, annotation_columns, check_categories, image_columns
from eqbench.data.lvis_index.json_stream import read_arrays
from eqbench.data.lvis_index.polygons import PolygonFile
from eqbench.errors import InputError, nearest

Array = NDArray[Any]
REQUIRED = ("images", "annotations", "categories")
WITHOUT_ANNOTATIONS = "; a file of image information only, as there is for test sets, has none"


def build(source: Path, folder: Path) -> list[str]:
    """Write the index of `source` into the empty `folder`.

    Returns:
        Its warnings.

    Raises:
        InputError: the file is not as it has to be; names the file and the record.
    """
    start = time.monotonic()
    status = source.stat()
    collecting = gc.isenabled()
    gc.disable()  # millions of small objects, none of them in a cycle
    try:
        with PolygonFile(folder) as polygons:
            builder = _Builder(source, folder, polygons)
            sha256, others = read_arrays(source, builder.take)
            described = builder.finish(others)
    finally:
        if collecting:
            gc.enable()
    origin = {"source": str(source), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    arrays.write(folder, builder.arrays, {**origin, **described, "seconds": round(time.monotonic() - start, 2)})
    warnings: list[str] = described["warnings"]
    return warnings


class _Builder:
    def __init__(self, source: Path, folder: Path, polygons: PolygonFile) -> None:
        self._source = source
        self._folder = folder
        self._keys: list[str] = []
        self._images = Columns()
        self._texts: dict[str, list[Any]] = {}
        self._categories: list[dict[str, Any]] = []
        self._table = AnnotationTable(source, polygons)
        self.arrays: dict[str, Array] = {}

    def take(self, key: str, first: int, records: list[Any]) -> None:
        if not first:
            if key in self._keys:
                raise InputError(f"{self._source}: {key!r} is there twice")
            self._keys.append(key)
        match key:
            case "annotations":
                self._table.add(annotation_columns(self._source, first, records))
            case "images":
                columns = image_columns(self._source, first, records)
                self._images.add(**{name: columns.pop(name) for name in ("id", "height", "width")})
                for name, values in columns.items():
                    self._texts.setdefault(name, []).extend(values)
            case "categories":
                self._categories += records

    def finish(self, others: dict[str, Any]) -> dict[str, Any]:
        """Bring all together; returns the description of the file."""
        for key in REQUIRED:
            if key in others:
                raise InputError(f"{self._source}: {key!r} is {type(others[key]).__name__}, expected a list")
            if key not in self._keys:
                known = [*self._keys, *others]
                hint = WITHOUT_ANNOTATIONS if key == "annotations" else ""
                raise InputError(
                    f"{self._source}: no {key!r}{nearest(key, known)} (it has {', '.join(known) or 'nothing'}){hint}"
                )
        check_categories(self._source, self._categories)
        for key, records in (("categories", self._categories), ("images", self._texts["coco_url"])):
            if not records:
                raise InputError(f"{self._source}: {key!r} is an empty list")
        described = self._describe_categories()
        image_ids = self._image_arrays()
        sizes = self.arrays["heights"], self.arrays["widths"]
        columns, warnings = self._table.finish(
            self._folder / "coordinates.npy", image_ids, sizes, self.arrays["category_ids"]
        )
        self.arrays |= columns
        return {**described, **self._describe_images(), "warnings": warnings}

    def _describe_categories(self) -> dict[str, Any]:
        ids = np.array([category["id"] for category in self._categories], np.int64)
        refuse_duplicates(self._source, "categories", ids)
        order = np.argsort(ids)
        self.arrays["category_ids"] = ids[order]
        categories = [self._categories[row] for row in order]
        frequency = [category["frequency"] for category in categories if "frequency" in category]
        return {"category_names": [category["name"] for category in categories], "frequency": frequency or None}

    def _image_arrays(self) -> NDArray[np.int64]:
        ids = self._images.take("id")
        refuse_duplicates(self._source, "images", ids)
        self.arrays |= {"image_ids": ids, "heights": self._images.take("height"), "widths": self._images.take("width")}
        urls = ["/".join(url.split("/")[-2:]) for url in self._texts["coco_url"]]
        self.arrays["url_paths"], self.arrays["url_path_offsets"] = _joined_texts(urls)
        names = self._texts["file_name"]
        self.arrays["file_names"], self.arrays["file_name_offsets"] = _joined_texts(names)
        for key, name, offsets in (
            ("neg_category_ids", "negatives", "negative_offsets"),
            ("not_exhaustive_category_ids", "not_exhaustive", "not_exhaustive_offsets"),
        ):
            self.arrays[name], self.arrays[offsets] = self._class_lists(key)
        return ids

    def _class_lists(self, key: str) -> tuple[Array, Array]:
        """Class indices of each image one after the other, and their (I + 1,) offsets."""
        lists = [[] if each is None else each for each in self._texts[key]]
        offsets = _offsets([len(each) for each in lists])
        ids = np.concatenate([np.zeros(0, np.int64), *lists])
        rows, unknown = find_rows(self.arrays["category_ids"], ids)
        if unknown is not None:
            image = int(np.searchsorted(offsets, unknown, side="right")) - 1
            raise InputError(
                f"{self._source}: images[{image}] (id {self.arrays['image_ids'][image]}): {key} has {ids[unknown]}, "
                "which is not the id of a category"
            )
        return rows, offsets

    def _describe_images(self) -> dict[str, Any]:
        """How many images have each of the fields in which the formats differ."""
        return {
            "with_coco_url": sum(map(bool, self._texts["coco_url"])),
            "with_file_name": sum(map(bool, self._texts["file_name"])),
            "with_negatives": sum(each is not None for each in self._texts["neg_category_ids"]),
            "with_not_exhaustive": sum(each is not None for each in self._texts["not_exhaustive_category_ids"]),
        }


def _joined_texts(texts: Sequence[str]) -> tuple[Array, Array]:
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), _offsets([len(text) for text in encoded])


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.fromiter(chain([0], np.cumsum(lengths, dtype=np.int64)), np.int64)
