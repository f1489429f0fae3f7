"""The annotation file that detections are judged with: read by hotcoco, checked for what its format must have.

hotcoco reads a file of LVIS's size in seconds, but treats an empty list of categories as none at all, and where the
federated fields are missing it silently follows another protocol. So their presence is checked in the file itself.
"""

from __future__ import annotations

import json
import math
import mmap
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eqbench.errors import InputError
from eqbench.validation import show

GROUPS = ("r", "c", "f")
FEDERATED_FIELDS = ("neg_category_ids", "not_exhaustive_category_ids")
_PRESENT = re.compile(rb'"(?:(neg_category_ids|not_exhaustive_category_ids)"\s*:\s*\[|(ignore)"\s*:\s*[^0f\s])')
_INSTEAD = "LVIS files have it; evaluate a file in COCO format with exhaustive=True"


IMAGES_AT_ONCE = 256


class GroundTruth:
    """Images, categories and annotations of a file or of a mapping of the same content.

    Attributes:
        exhaustive: what is not annotated in an image is absent from it; else the file says so for each image.
        image_ids, category_ids: (I,) and (C,) int64, ascending.
        groups: (C,) frequency group of each category, or None if there are none.
    """

    def __init__(
        self, source: Path | Mapping[str, Any], exhaustive: bool = False, groups: Mapping[int, str] | None = None
    ) -> None:
        """Read and check `source`.

        Raises:
            InputError: it is not readable, its ids are not unique, or it misses what its protocol needs.
        """
        self.name = "annotations" if isinstance(source, Mapping) else str(source)
        self.exhaustive = exhaustive
        self._source = source
        self._coco = self._open()
        self.images: dict[int, dict[str, Any]] = self._coco.imgs
        self.categories: dict[int, dict[str, Any]] = self._coco.cats
        self.image_ids = np.array(sorted(self.images), np.int64)
        self.category_ids = np.array(sorted(self.categories), np.int64)
        self._check_ids()
        self.groups = self._groups(groups or {})
        if not exhaustive:
            self._check_federated()

    @property
    def crowd(self) -> list[int]:
        """Ids of the annotations that are crowd regions."""
        found: list[int] = self._coco.get_ann_ids(iscrowd=True)
        return found

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The whole file, as Python's json reads it."""
        if isinstance(self._source, Mapping):
            return self._source
        content: dict[str, Any] = json.loads(self._source.read_bytes())
        return content

    def annotations(self, image_ids: Sequence[int], masks: bool) -> list[dict[str, Any]]:
        """Annotations of these images that have an area: the others do not count in LVIS's own evaluation either.

        Raises:
            InputError: one is not complete.
        """
        found = self._coco.load_anns(self._coco.get_ann_ids(img_ids=image_ids)) if len(image_ids) else []
        for annotation in found:
            self._check_annotation(annotation, masks)
        return [annotation for annotation in found if annotation["area"] > 0]

    def check(self, masks: bool) -> None:
        """Look at every annotation now rather than when it is needed.

        Raises:
            InputError: one is not complete.
        """
        for start in range(0, len(self.image_ids), IMAGES_AT_ONCE):
            self.annotations(self.image_ids[start : start + IMAGES_AT_ONCE].tolist(), masks)

    def _open(self) -> Any:
        import hotcoco

        try:
            return hotcoco.LVIS(dict(self._source) if isinstance(self._source, Mapping) else self._source)
        except (OSError, ValueError, TypeError, KeyError) as error:
            if not self.exhaustive:
                with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                    _check_fields(self.name, self.content)  # names the image
            raise InputError(f"{self.name}: cannot be read as annotations in LVIS or COCO format: {error}") from error

    def _check_ids(self) -> None:
        if not self.images or not self.categories:
            raise InputError(f"{self.name}: has {len(self.images)} images and {len(self.categories)} categories")
        ids = self._coco.get_ann_ids()
        if len(set(ids)) < len(ids):
            twice = next(each for each, number in Counter(ids).items() if number > 1)
            raise InputError(f"{self.name}: annotation id {twice} occurs more than once, expected unique ids")
        placed = len(self._coco.get_ann_ids(img_ids=self.image_ids.tolist()))
        if placed < len(ids):
            raise InputError(f"{self.name}: {len(ids) - placed} annotation(s) have an image_id that is no image's")

    def _groups(self, given: Mapping[int, str]) -> list[str] | None:
        found = {key: given.get(key, category.get("frequency")) for key, category in self.categories.items()}
        if self.exhaustive and not any(found.values()):
            return None
        for key, group in found.items():
            if group not in GROUPS:
                which = "is missing" if group is None else f"is {show(group)}"
                raise InputError(
                    f"{self.name}: category {key}: frequency {which}, expected r, c or f; "
                    f"{'pass groups for all categories' if self.exhaustive else _INSTEAD}"
                )
        return [str(found[key]) for key in self.category_ids.tolist()]

    def _check_federated(self) -> None:
        if self.crowd:
            raise InputError(
                f"{self.name}: annotation {self.crowd[0]}: iscrowd is 1, but LVIS has no crowd regions; "
                "evaluate a file in COCO format with exhaustive=True"
            )
        expected = dict.fromkeys(FEDERATED_FIELDS, len(self.images))
        if isinstance(self._source, Mapping) or _occurrences(self._source) != expected:
            _check_fields(self.name, self.content)

    def _check_annotation(self, annotation: Mapping[str, Any], masks: bool) -> None:
        where = f"{self.name}: image {annotation['image_id']}: annotation {annotation['id']}"
        for key in ("bbox", "area", "segmentation") if masks else ("bbox", "area"):
            if annotation.get(key) in (None, []):
                raise InputError(f"{where}: {key} is missing or empty, but needed")
        if not math.isfinite(annotation["area"] + sum(annotation["bbox"])):
            raise InputError(f"{where}: bbox and area {annotation['bbox']}, {annotation['area']}, expected finite ones")
        if annotation["category_id"] not in self.categories:
            raise InputError(f"{where}: category_id {annotation['category_id']} is no category's")


def _occurrences(path: Path) -> dict[str, int]:
    """How often the fields occur in the text of the file: as often as needed in a good one, without reading it all."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return dict(Counter((match[1] or match[2]).decode() for match in _PRESENT.finditer(text)))


def _check_fields(name: str, content: Mapping[str, Any]) -> None:
    images: Iterable[Mapping[str, Any]] = content["images"]
    for image in images:
        for field in FEDERATED_FIELDS:
            if not isinstance(image.get(field), list | tuple):
                which = show(image[field]) if field in image else "missing"
                raise InputError(f"{name}: image {image['id']}: {field} is {which}, expected a list; {_INSTEAD}")
    for annotation in content["annotations"]:
        if annotation.get("ignore"):
            raise InputError(
                f"{name}: image {annotation['image_id']}: annotation {annotation['id']} is to be ignored "
                "('ignore'), which LVIS's format does not have"
            )
