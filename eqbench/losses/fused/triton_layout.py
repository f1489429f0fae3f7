"""How the CUDA kernels cut logits (N, K, P) into tiles.

The kernels see (images, K, pixels). A matrix (N, K) is one image whose pixels are its rows, and so is any tensor
whose samples lie at one stride, (N, K, H, W) in channels_last for example. Tiles are (pixels, columns); their longer
side is along the dimension that is contiguous in memory, so that a warp reads whole lines either way. A program
walks over a chunk of an image's tiles and leaves partial sums, which torch adds up in float64: no atomics, so that
results are reproducible. There are fewer than 2^31 samples.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Layout", "chunks_of", "device_of", "fit", "layout_of", "packed", "power_of_two"]

Strides = tuple[int, int, int]


class Layout(NamedTuple):
    """Sizes, and strides by image, column and pixel; sample i of (N, P) is image * pixels + pixel."""

    images: int
    columns: int
    pixels: int
    logits: Strides
    gradient: Strides
    rows: bool
    """Columns are the contiguous dimension, not pixels."""

    def wide(self, block_p: int, block_k: int) -> bool:
        """Whether offsets inside one tile need 64 bits."""
        return any(block_p * pixel + block_k * column >= 2**31 for _, column, pixel in (self.logits, self.gradient))


def layout_of(logits: Tensor, gradient: Tensor) -> Layout:
    """`logits` and `gradient` (N, K, P), any strides, in as few images as their strides allow."""
    images, columns, pixels = logits.shape
    strides = [(tensor.stride(0), tensor.stride(1), tensor.stride(2)) for tensor in (logits, gradient)]
    if pixels == 1:
        images, pixels = 1, images
        strides = [(0, column, image) for image, column, _ in strides]
    elif all(image == pixels * pixel for image, _, pixel in strides):
        images, pixels = 1, images * pixels
    _, column, pixel = strides[0]
    return Layout(images, columns, pixels, strides[0], strides[1], columns > 1 and (column < pixel or pixels == 1))


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()


def fit(number: int, *, largest: int, smallest: int) -> int:
    """The largest block, a power of two between the bounds, whose padding of `number` is at most 1/8 over the least."""
    sizes = [size for size in (1 << bit for bit in range(32)) if smallest <= size <= largest]
    padded = {size: -(-number // size) * size for size in sizes}
    return max(size for size in sizes if 8 * padded[size] <= 9 * min(padded.values()))


def chunks_of(tiles: int, others: int, *, programs: int, longest: int) -> tuple[int, int]:
    """How many chunks, of how many tiles: about `programs` programs if there are `others` times `tiles` tiles."""
    length = max(1, min(tiles * others // programs, tiles, longest))
    return -(-tiles // length), length


def packed(tensor: Tensor | None, absent: Tensor) -> Tensor:
    """Contiguous, for a kernel that indexes by sample or column; `absent`, which is not read, in the place of None."""
    return absent if tensor is None else tensor.contiguous()


def device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Makes the tensor's device the one where kernels run; a CPU tensor's are run by Triton's interpreter."""
    return torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
