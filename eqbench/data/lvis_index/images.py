"""Images with their annotations, read from an index on access.

Legend: I images that are kept, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.image_files.paths import outside_fault
from eqbench.data.lvis_index.arrays import NO_POLYGON, OUTSIDE, ZERO_AREA
from eqbench.data.lvis_index.index import AnnotationIndex
from eqbench.errors import InputError

if TYPE_CHECKING:
    from eqbench.data.base import Draw

PathOf = Callable[[AnnotationIndex, int], str]
"""Path of an image, by its row, below the folder of the images."""
CHECKED_AT_ONCE = 1000
IMAGES_AT_ONCE = 4000


class IndexedImages:
    """The images of an annotation file, as mmdet's transforms take them.

    Args:
        index: the annotation file.
        folder: what `path_of` is relative to.
        path_of: where an image lies.
        masks: instances have polygons; annotations without one are left out.
        keep_empty: keep images that have no annotation to learn from.
    """

    def __init__(self, index: AnnotationIndex, folder: Path, path_of: PathOf, *, masks: bool, keep_empty: bool) -> None:
        self.index = index
        self.folder = folder
        self._path_of = path_of
        self.masks = masks
        self._refused = ZERO_AREA | OUTSIDE | (NO_POLYGON if masks else 0)
        self._keep_empty = keep_empty
        self._rows = np.arange(index.num_images) if keep_empty else np.flatnonzero(self._learned_per_image())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return self.record(draw.index)

    def collate(self, samples: list[Any]) -> list[Any]:
        return list(samples)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """(I,) ids of the images in their annotation file."""
        return self.index.image_ids[self._rows]

    def file(self, index: int) -> str:
        """The image file below the folder; whether it exists is not looked at."""
        return self._path_of(self.index, int(self._rows[index]))

    def path(self, index: int) -> Path:
        """The image file; whether it exists is not looked at."""
        return self.folder / self.file(index)

    def record(self, index: int) -> dict[str, Any]:
        """One image: `img_path`, `img_id`, `height`, `width` and `instances`.

        An instance has `bbox` (left, top, right, bottom in pixels), `bbox_label`, `ignore_flag` (1 for a crowd) and,
        with masks, `mask`: a list of polygons x0, y0, x1, y1, …, empty for a crowd.
        """
        table, row = self.index, int(self._rows[index])
        start, end = table.annotation_offsets[row : row + 2].tolist()
        instances = []
        columns = zip(
            table.faults[start:end].tolist(),
            table.crowd[start:end].tolist(),
            table.classes[start:end].tolist(),
            table.read_rows("boxes", start, end).tolist(),
            table.polygons(start, end) if self.masks else repeat(None, end - start),
            strict=True,
        )
        for faults, crowd, label, box, polygons in columns:
            if faults & self._refused:
                continue
            instance = {"bbox": box, "bbox_label": label, "ignore_flag": int(crowd)}
            if polygons is not None:
                instance["mask"] = [] if crowd else polygons
            instances.append(instance)
        return {
            "img_path": f"{self.folder}/{self._path_of(table, row)}",
            "img_id": int(table.image_ids[row]),
            "height": int(table.heights[row]),
            "width": int(table.widths[row]),
            "instances": instances,
        }

    def classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(I + 1,) offsets and the distinct classes of each image one after the other, ascending in an image.

        Only what is learned counts: no crowds, nothing that is left out.
        """
        return self._classes

    @cached_property
    def instance_counts(self) -> NDArray[np.int64]:
        """(C,) instances to learn from."""
        counts = np.zeros(self.index.num_classes, np.int64)
        for _, _, classes in self._learned():
            counts += np.bincount(classes, minlength=len(counts))
        return counts

    @property
    def image_counts(self) -> NDArray[np.int64]:
        """(C,) images with an instance of the class to learn from."""
        return np.bincount(self._classes[1], minlength=self.index.num_classes)

    def every(self) -> IndexedImages:
        """These and those that are left out for having nothing to learn from."""
        return IndexedImages(self.index, self.folder, self._path_of, masks=self.masks, keep_empty=True)

    def missing_files(self, limit: int | None = None, workers: int = 8) -> list[Path]:
        """Image files that do not exist, in order, at most `limit`; looked for in several threads."""
        with ThreadPoolExecutor(workers) as pool:
            parts = range(0, len(self), CHECKED_AT_ONCE)
            found: Iterator[Path] = (path for part in pool.map(self._missing_in, parts) for path in part)
            missing = list(islice(found, limit))
            pool.shutdown(cancel_futures=True)
        return missing

    def path_faults(self) -> Iterator[tuple[int, str, str]]:
        """Of images with a path that leads out of the folder, kept ones or not: row, path and what is wrong with it."""
        for row in self.index.suspicious_paths().tolist():
            path = self._path_of(self.index, row)
            if fault := outside_fault(path):
                yield row, path, fault

    def check_paths(self) -> None:
        """Raises InputError if an image's path leads out of the folder."""
        for row, _, fault in self.path_faults():
            raise InputError(f"{self.index.source}: images[{row}] (id {self.index.image_ids[row]}): {fault}")

    def check_files(self, number: int = 20) -> None:
        """Look for the folder of the images and for `number` of them, spread over all.

        Raises:
            InputError: names the first that is missing.
        """
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; the images of {self.index.source} are expected there")
        for index in np.unique(np.linspace(0, len(self) - 1, min(number, len(self)), dtype=np.int64)).tolist():
            path = self.path(index)
            if not path.is_file():
                what = "file" if path.parent.is_dir() else f"file, nor the folder {path.parent.name}"
                raise InputError(f"{path}: no such {what}; it is image {self.image_ids[index]} of {self.index.source}")

    def _missing_in(self, start: int) -> Sequence[Path]:
        paths = map(self.path, range(start, min(start + CHECKED_AT_ONCE, len(self))))
        return [path for path in paths if not path.is_file()]

    def _learned(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Some images at a time: their number, and for each annotation to learn from which of them and which class.

        All at once would take tens of megabytes, of which a process gives little back.
        """
        table = self.index
        for first in range(0, table.num_images, IMAGES_AT_ONCE):
            offsets = table.annotation_offsets[first : first + IMAGES_AT_ONCE + 1]
            part = slice(int(offsets[0]), int(offsets[-1]))
            learned = ((table.faults[part] & self._refused) == 0) & ~table.crowd[part]
            number = len(offsets) - 1
            owners = np.repeat(np.arange(number), np.diff(offsets))[learned]
            yield number, owners, table.classes[part][learned].astype(np.int64)

    def _learned_per_image(self) -> NDArray[np.int64]:
        return np.concatenate([np.bincount(owners, minlength=number) for number, owners, _ in self._learned()])

    @cached_property
    def _classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        num_classes = self.index.num_classes
        per_image, distinct = [], []
        for number, owners, classes in self._learned():
            pairs = np.unique(owners * num_classes + classes)
            per_image.append(np.bincount(pairs // num_classes, minlength=number))
            distinct.append(pairs % num_classes)
        kept = np.concatenate(per_image)[self._rows]
        return np.concatenate([[0], np.cumsum(kept)]), np.concatenate(distinct)
