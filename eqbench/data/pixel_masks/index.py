"""What a folder of masks holds, counted once.

Legend: N masks, V pairs of a mask and a value that is in it, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eqbench.data.image_files.decoding import decode_mask
from eqbench.data.labelled_images.image_list import PathColumn
from eqbench.data.pixel_masks.labels import INVALID, LabelMap
from eqbench.data.pixel_masks.layout import Fault, Pairs
from eqbench.data.segmentation import IGNORED
from eqbench.errors import InputError

PLACED = 20
"""So many masks with wrong labels are read again to say where the first such pixel is."""


@dataclass(frozen=True, eq=False)
class MaskIndex:
    """Masks and their images, by ascending name, with the values in each mask.

    Attributes:
        image_names, mask_names: file names in the folders of `pairs`.
        sizes: (N, 2) int32 height and width.
        offsets: (N + 1,) int64: the values of mask i are `values[offsets[i]:offsets[i + 1]]`.
        values: (V,) uint8, ascending in a mask, as in the file: not yet classes.
        pixels: (V,) int64 how many pixels of the mask have the value.
        checksums: (N, 32) uint8 SHA-256 of the mask files.
        seconds: how long building took.
    """

    pairs: Pairs
    image_names: PathColumn
    mask_names: PathColumn
    sizes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    values: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    checksums: NDArray[np.uint8]
    seconds: float

    def __len__(self) -> int:
        return len(self.mask_names)

    def image_file(self, index: int) -> str:
        return f"{self.pairs.images}/{self.image_names[index]}"

    def mask_file(self, index: int) -> str:
        return f"{self.pairs.masks}/{self.mask_names[index]}"

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits of names, values and files; not of where the folders are."""
        content = hashlib.sha256(f"{self.image_names.digest()} {self.mask_names.digest()}".encode())
        for array in (self.sizes, self.offsets, self.values, self.pixels, self.checksums):
            content.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return content.hexdigest()

    def class_pixels(self, labels: LabelMap) -> NDArray[np.int64]:
        """(C,) int64: pixels of each class."""
        kept, classes = self._classes(labels)
        return np.bincount(classes, self.pixels[kept], minlength=labels.num_classes).astype(np.int64)

    def image_classes(self, labels: LabelMap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N + 1,) offsets, and the distinct classes of each image one after the other, ascending in an image."""
        kept, classes = self._classes(labels)
        return np.concatenate([[0], np.cumsum(kept)])[self.offsets], classes

    def wrong_labels(self, labels: LabelMap) -> Iterator[Fault]:
        """Of each mask with a value that is neither a class nor ignored."""
        wrong = labels.table[self.values] == INVALID
        owners = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        for number, index in enumerate(np.unique(owners[wrong]).tolist()):
            kind, file = "labels out of range", self.mask_file(index)
            if number < PLACED:
                try:
                    labels.apply(decode_mask(file), file)
                except InputError as error:
                    yield Fault(kind, str(error))
                    continue
            values = self.values[self.offsets[index] : self.offsets[index + 1]]
            largest = values[labels.table[values] == INVALID].max()
            yield Fault(kind, f"{file}: label {largest}; expected {labels.expected}")

    def only_ignored(self, labels: LabelMap) -> list[int]:
        """Masks without any pixel of a class."""
        offsets, _ = self.image_classes(labels)
        found: list[int] = np.flatnonzero(np.diff(offsets) == 0).tolist()
        return found

    def _classes(self, labels: LabelMap) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which values are classes, and these."""
        classes = labels.table[self.values]
        kept = (classes != IGNORED) & (classes != INVALID)
        return kept, classes[kept].astype(np.int64)
