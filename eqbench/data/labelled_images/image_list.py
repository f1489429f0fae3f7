"""Paths and labels of many images, small in memory and cheap to hand to loader processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PathColumn:
    """A sequence of strings in one bytes object: half a million need no half a million objects.

    >>> column = PathColumn.from_strings(["a/1.jpg", "b/2.jpg"])
    >>> len(column), column[1], list(column)
    (2, 'b/2.jpg', ['a/1.jpg', 'b/2.jpg'])
    """

    __slots__ = ("_offsets", "_text")

    def __init__(self, text: bytes, offsets: NDArray[np.int64]) -> None:
        self._text = text
        self._offsets = offsets

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> PathColumn:
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(b"".join(encoded), offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index}: expected 0 to {len(self) - 1}")
        begin, end = self._offsets[index], self._offsets[index + 1]
        return self._text[begin:end].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """64 hexadecimal digits of what is in it."""
        content = hashlib.sha256(self._offsets.astype("<i8").tobytes())
        content.update(self._text)
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images below a folder, each with one label.

    Raises:
        ValueError: not as many labels as paths.
    """

    root: Path
    paths: PathColumn
    """POSIX, relative to `root`."""
    labels: Tensor
    """(N,) int64."""

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.paths),) or self.labels.dtype is not torch.int64:
            raise ValueError(
                f"labels of shape {tuple(self.labels.shape)}, {self.labels.dtype}: "
                f"expected ({len(self.paths)},), torch.int64"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, index: int) -> str:
        """Path of an image, `root` included."""
        return f"{self.root}/{self.paths[index]}"

    def digest(self) -> str:
        """64 hexadecimal digits of paths and labels; not of where `root` is."""
        content = hashlib.sha256(self.paths.digest().encode())
        content.update(self.labels.numpy().astype("<i8").tobytes())
        return content.hexdigest()
