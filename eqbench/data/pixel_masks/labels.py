"""From the values of a mask's pixels to classes.

Legend: C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqbench.data.segmentation import IGNORED
from eqbench.errors import InputError

INVALID = 254
"""What a value becomes that is neither a class nor ignored."""


@dataclass(frozen=True)
class LabelMap:
    """What the values of masks mean.

    Args:
        num_classes: C, at most 254.
        zero_ignored: 0 is no class but ignored, and the classes are the values from 1 to C.
        ignore: another value that is ignored.

    Raises:
        ValueError: an argument is out of range, or `ignore` is the value of a class.

    >>> LabelMap(150, zero_ignored=True).apply(torch.tensor([[0, 1, 150]], dtype=torch.uint8), "a.png").tolist()
    [[255, 0, 149]]
    """

    num_classes: int
    zero_ignored: bool = False
    ignore: int | None = None

    def __post_init__(self) -> None:
        most = INVALID - self.zero_ignored
        if not 1 <= self.num_classes <= most:
            raise ValueError(f"num_classes {self.num_classes}: expected 1 to {most}, masks have 8 bits")
        if self.ignore is not None and not 0 <= self.ignore <= 255:
            raise ValueError(f"ignore {self.ignore}: expected 0 to 255")
        if self.ignore in self.values:
            raise ValueError(f"ignore {self.ignore}: expected a value that is no class, those are {self._classes}")

    @property
    def values(self) -> range:
        """The values that are classes, in order."""
        first = int(self.zero_ignored)
        return range(first, first + self.num_classes)

    @property
    def ignored(self) -> list[int]:
        """The values that are ignored, ascending."""
        return sorted(({0} if self.zero_ignored else set()) | (set() if self.ignore is None else {self.ignore}))

    @property
    def expected(self) -> str:
        """The values that a mask may have, in words."""
        ignored = f", or {' or '.join(map(str, self.ignored))} for ignored" if self.ignored else ""
        return f"{self._classes}{ignored}"

    @property
    def _classes(self) -> str:
        return f"{self.values[0]} to {self.values[-1]}"

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(256,) the class of each value, `IGNORED` or `INVALID`."""
        table = np.full(256, INVALID, np.uint8)
        table[self.values.start : self.values.stop] = np.arange(self.num_classes)
        table[self.ignored] = IGNORED
        return table

    @cached_property
    def _bytes(self) -> bytes:
        return self.table.tobytes()

    def apply(self, mask: Tensor, path: str) -> Tensor:
        """Classes of a mask (H, W) uint8, and `IGNORED`.

        Raises:
            InputError: a value is neither a class nor ignored; names the file, the value and its first pixel.
        """
        classes = bytearray(mask.contiguous().numpy()).translate(self._bytes)  # numpy would make 8 bytes of each first
        if INVALID in classes:
            raise InputError(f"{path}: {self.fault(mask.numpy())}")
        return torch.frombuffer(classes, dtype=torch.uint8).reshape(mask.shape)

    def fault(self, values: NDArray[np.uint8]) -> str:
        """What is wrong with a mask (H, W) that has a value which is neither a class nor ignored."""
        wrong = self.table.take(values) == INVALID
        row, column = divmod(int(wrong.argmax()), wrong.shape[1])
        others = np.unique(values[wrong])
        more = f" ({len(others) - 1} other such values, up to {others[-1]})" if len(others) > 1 else ""
        hint = "; classes from 0 and 255 for ignored: was 1 subtracted already?" if self._subtracted(others) else ""
        return f"label {values[row, column]} at row {row}, column {column}{more}; expected {self.expected}{hint}"

    def _subtracted(self, wrong: NDArray[np.uint8]) -> bool:
        return self.zero_ignored and wrong.tolist() == [IGNORED]
