"""Polygons while an index is built: kept in a file as they come, then written image by image.

Legend: P polygons.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.lvis_index.arrays import flush

Array = NDArray[Any]
POLYGONS_AT_ONCE = 50_000


class PolygonFile:
    """A file of coordinates that is gone when the context ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "coordinates.part"
        self._file: IO[bytes] = self._path.open("wb")
        self._lengths: list[Array] = [np.zeros(0, np.int64)]

    def append(self, lengths: Array, coordinates: Array) -> None:
        """Polygons of `lengths` numbers, one after the other in `coordinates`."""
        self._lengths.append(lengths)
        self._file.write(coordinates.astype(np.float32).tobytes())

    def write(self, file: Path, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Write `file`, an .npy of the coordinates of the polygons `order`; returns the (P + 1,) offsets of these."""
        self._file.flush()
        lengths = np.concatenate(self._lengths)
        starts = np.cumsum(lengths) - lengths
        offsets = np.concatenate([[0], np.cumsum(lengths[order])])
        source = np.memmap(self._path, np.float32, "r") if offsets[-1] else np.zeros(0, np.float32)
        with file.open("wb") as target:
            header = {"descr": "<f4", "fortran_order": False, "shape": (int(offsets[-1]),)}
            np.lib.format.write_array_header_1_0(target, header)  # type: ignore[no-untyped-call]
            for first in range(0, len(order), POLYGONS_AT_ONCE):
                part = order[first : first + POLYGONS_AT_ONCE]
                target.write(source[ranges(starts[part], lengths[part])].tobytes())
            flush(target)
        return offsets

    def __enter__(self) -> PolygonFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def ranges(starts: Array, lengths: Array) -> NDArray[np.int64]:
    """The whole numbers of several ranges, one after the other.

    >>> ranges(np.array([7, 2, 5]), np.array([2, 0, 3])).tolist()
    [7, 8, 5, 6, 7]
    """
    ends = np.cumsum(lengths)
    shifts: NDArray[np.int64] = np.repeat(starts - (ends - lengths), lengths)
    shifts += np.arange(len(shifts))
    return shifts
