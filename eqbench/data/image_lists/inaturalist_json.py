"""Annotation files of the iNaturalist competition of 2018: images, annotations and categories in one json object."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eqbench.data.image_files.paths import path_fault
from eqbench.data.image_lists.lists import ParsedList
from eqbench.data.labelled_images.image_list import PathColumn
from eqbench.data.lvis_index.json_stream import read_arrays
from eqbench.errors import InputError, nearest

NEEDED = ("images", "annotations", "categories")
INTEGER_LIMIT = 2**62
CATEGORIES = re.compile(rb'"categories"\s*:\s*\[')
SUSPICIOUS = ("..", "./", "/.", "//", "\\", "\0", ":/", "\n/", "\n\n", "/\n")
"""Paths, each on a line, with none of these are as they have to be."""


def read_annotations(file: Path) -> tuple[ParsedList, list[str]]:
    """The images of an annotation file in its order, and the names of the categories, whose ids are the labels.

    Raises:
        InputError: no such file, not json, a record that is not as it has to be, or category ids other than 0, 1, 2...
    """
    records = _Records(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    read_arrays(file, records.add)
    for key in NEEDED:
        if key not in records.seen:
            hint = "; that is how the file of the test images is" if key == "annotations" else ""
            raise InputError(f"{file}: no {key!r}{nearest(key, records.seen)}{hint}")
        if not records.seen[key]:
            raise InputError(f"{file}: {key!r} is an empty list")
    names = _names(file, records.categories)
    labels = _labels(file, records, len(names))
    paths = PathColumn.from_strings(records.paths)
    _check_paths(file, records.paths)
    return ParsedList(file, paths, torch.from_numpy(labels)), names


def read_category_names(file: Path) -> list[str] | None:
    """Names by id, from an annotation file or one with the categories alone; None if it does not tell.

    Only the categories are read. iNaturalist published them alone, after the competition, as `categories.json`.
    """
    try:
        records = _only_categories(file)
        return _names(file, dict(enumerate(records))) if isinstance(records, list) and records else None
    except (OSError, ValueError, InputError):
        return None


def _only_categories(file: Path) -> Any:
    """The list of categories, found by its key, from there to the next bracket.

    Raises:
        OSError, ValueError: it cannot be read, or is not json.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        key = CATEGORIES.search(text)
        start = key.end() - 1 if key else 0
        return json.loads(text[start : text.find(b"]", start) + 1])


class _Records:
    """Collects what is needed of each record, batch by batch."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seen: dict[str, int] = {}
        self.paths: list[str] = []
        self.image_ids: list[int] = []
        self.annotated: list[int] = []
        self.category_ids: list[int] = []
        self.categories: dict[int, Any] = {}

    def add(self, key: str, first: int, records: list[Any]) -> None:
        self.seen[key] = first + len(records)
        if key == "images":
            self.image_ids += self._column(key, first, records, "id", int)
            self.paths += self._column(key, first, records, "file_name", str)
        elif key == "annotations":
            self.annotated += self._column(key, first, records, "image_id", int)
            self.category_ids += self._column(key, first, records, "category_id", int)
        elif key == "categories":
            self.categories |= dict(enumerate(records, first))

    def _column(self, key: str, first: int, records: list[Any], name: str, kind: type) -> list[Any]:
        try:
            values = [record[name] for record in records]
        except (TypeError, KeyError, IndexError):
            for position, record in enumerate(records, first):
                if not isinstance(record, dict):
                    raise InputError(f"{self._file}: {key}[{position}]: {record!r:.80}, expected an object") from None
            values = [record.get(name) for record in records]
        if set(map(type, values)) - {kind} or (kind is int and values and max(map(abs, values)) > INTEGER_LIMIT):
            for position, value in enumerate(values, first):
                if type(value) is not kind or (isinstance(value, int) and abs(value) > INTEGER_LIMIT):
                    expected = "a whole number" if kind is int else "a text"
                    raise InputError(f"{self._file}: {key}[{position}]: {name} {value!r}, expected {expected}")
        return values


def _names(file: Path, categories: dict[int, Any]) -> list[str]:
    """Names by id; without a name, or with one that other categories have too, with the id."""
    names: dict[int, str] = {}
    for position, record in categories.items():
        identity = record.get("id") if isinstance(record, dict) else None
        if type(identity) is not int or not 0 <= identity < len(categories) or identity in names:
            raise InputError(
                f"{file}: categories[{position}]: id {identity!r}, expected each of 0 to {len(categories) - 1} once; "
                "they are the labels"
            )
        names[identity] = str(record.get("name") or identity)
    ordered = [names[identity] for identity in range(len(names))]
    return ordered if len(set(ordered)) == len(ordered) else [f"{name} ({i})" for i, name in enumerate(ordered)]


def _labels(file: Path, records: _Records, num_classes: int) -> NDArray[np.int64]:
    """(N,) label of each image."""
    images = np.array(records.image_ids, dtype=np.int64)
    annotated = np.array(records.annotated, dtype=np.int64)
    classes = np.array(records.category_ids, dtype=np.int64)
    order = np.argsort(images, kind="stable")
    ids = images[order]
    if (again := np.flatnonzero(ids[1:] == ids[:-1])).size:
        first, second = sorted(order[again[0] : again[0] + 2].tolist())
        raise InputError(f"{file}: images[{first}] and images[{second}] have the same id {images[first]}")
    outside = np.flatnonzero((classes < 0) | (classes >= num_classes))
    if outside.size:
        position = outside[0]
        raise InputError(
            f"{file}: annotations[{position}]: category_id {classes[position]}, expected 0 to {num_classes - 1}"
        )
    place = np.minimum(np.searchsorted(ids, annotated), len(ids) - 1)
    if (unknown := np.flatnonzero(ids[place] != annotated)).size:
        position = unknown[0]
        raise InputError(
            f"{file}: annotations[{position}]: image_id {annotated[position]} is none of the {len(ids):,} images"
        )
    uses = np.bincount(place, minlength=len(ids))
    if (wrong := np.flatnonzero(uses != 1)).size:
        position = int(order[wrong].min())
        raise InputError(
            f"{file}: images[{position}] (id {images[position]}) has {uses[np.searchsorted(ids, images[position])]} "
            "annotations, expected one"
        )
    labels = np.empty(len(images), dtype=np.int64)
    labels[order[place]] = classes
    return labels


def _check_paths(file: Path, paths: list[str]) -> None:
    """Raises InputError for the first that is not below the root, or there already."""
    joined = "\n".join(["", *paths, ""])
    if any(mark in joined for mark in SUSPICIOUS):
        for position, path in enumerate(paths):
            if reason := path_fault(path):
                raise InputError(f"{file}: images[{position}]: file_name: {reason}")
    if len(set(paths)) < len(paths):
        first: dict[str, int] = {}
        for position, path in enumerate(paths):
            if (earlier := first.setdefault(path, position)) != position:
                raise InputError(f"{file}: images[{earlier}] and images[{position}] have the same file_name {path!r}")
