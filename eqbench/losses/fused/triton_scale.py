"""Multiplication in place by a factor that only the device knows, for nothing where the factor is 1."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eqbench.losses.fused.triton_layout import device_of

__all__ = ["scale_"]

BLOCK = 4096
# Enough to fill the device, few enough that those with nothing to do are gone in microseconds.
PROGRAMS = 2112


def scale_(tensor: Tensor, factor: Tensor) -> Tensor:
    """`tensor *= factor`, computed in float32 or float64; without touching `tensor` if `factor` is exactly 1.

    Args:
        tensor: any floating dtype; dense in memory in any order of its dimensions.
        factor: 0-dim, on the device of `tensor`.

    Returns:
        `tensor`.

    Raises:
        ValueError: `tensor` has holes or overlaps in memory.
    """
    if not _is_dense(tensor):
        raise ValueError(f"tensor: strides {tensor.stride()} for shape {tuple(tensor.shape)}: expected dense memory")
    elements = tensor.numel()
    if elements:
        programs = min(-(-elements // BLOCK), PROGRAMS)
        with device_of(tensor):
            double = tensor.dtype == torch.float64
            _scale[(programs,)](tensor, factor, elements, programs, DOUBLE=double, BLOCK=BLOCK, num_warps=8)
    return tensor


def _is_dense(tensor: Tensor) -> bool:
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


@triton.jit(do_not_specialize=["programs"])
def _scale(tensor, factor, elements, programs, DOUBLE: tl.constexpr, BLOCK: tl.constexpr):
    work = tl.float64 if DOUBLE else tl.float32
    number = tl.load(factor).to(work)
    if number != 1.0:
        start = tl.program_id(0).to(tl.int64) * BLOCK
        step = programs.to(tl.int64) * BLOCK
        for first in range(start, elements, step):
            index = first + tl.arange(0, BLOCK)
            inside = index < elements
            value = tl.load(tensor + index, mask=inside).to(work)
            tl.store(tensor + index, (value * number).to(tensor.dtype.element_ty), mask=inside)
