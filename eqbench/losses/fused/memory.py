"""Memory for gradients of the logits' size, which on CPU the operating system hands out slowly page by page."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable

import torch
from torch import Tensor

LARGE = 2**22
"""Bytes from which on huge pages are asked for."""


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the columns of an image's pixel lie side by side."""
    return tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def empty_gradient(logits: Tensor) -> Tensor:
    """Uninitialized tensor like the logits, channels-last if they are, else contiguous; on huge pages if possible.

    Fresh memory costs a page fault per 4 KiB, several times what writing to it costs; a huge page is 2 MiB.
    """
    layout = torch.channels_last if is_channels_last(logits) else torch.contiguous_format
    gradient = torch.empty_like(logits, memory_format=layout)
    size = gradient.numel() * gradient.element_size()
    if size >= LARGE and gradient.device.type == "cpu" and sys.platform == "linux":
        page = mmap.PAGESIZE
        start = -(-gradient.data_ptr() // page) * page
        length = (gradient.data_ptr() + size - start) // page * page
        _madvise()(start, length, mmap.MADV_HUGEPAGE)  # advice: where it is not taken, nothing is lost
    return gradient


@functools.cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_int
    return function
