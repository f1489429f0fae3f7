"""Softmax losses on CUDA: value, gradient and sums per column in one pass over the logits.

Up to WHOLE_ROW columns, or WHOLE_PIXEL of them where pixels are the contiguous dimension, a program holds all columns
of its samples in registers, and the logits are read once. Beyond, one kernel reads them for each sample's softmax,
for seesaw twice, and another once more for the gradient.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from eqbench.losses.fused.triton_layout import Layout, chunks_of, device_of, fit, layout_of, packed, power_of_two
from eqbench.losses.fused.triton_pair_kernels import softmax_columns, softmax_samples
from eqbench.losses.fused.triton_softmax_kernels import softmax_whole

__all__ = ["seesaw_sums", "softmax_sums"]

WHOLE_ROW = 8192
WHOLE_PIXEL = 256
# Elements of a tile that has more than one sample; along pixels, more of them are computed with at once.
TILE = 1024
# Bounds of a tile's pixels: lines of 128 bytes in float32.
LINE = 32
PIXELS = 256
# Elements of a thread, whose loads are under way together: not fewer in rows, not more along pixels, which take more
# registers; these are limited there, to leave room for 512 threads on a multiprocessor.
IN_ROWS = 16
ALONG_PIXELS = 20
REGISTERS = 128
# Programs wanted: a few waves. Each leaves a row of partial sums.
PROGRAMS = 1056
# Tiles that one program adds up in float32 at most.
TILES = 64
# Of the pair: elements of a tile over samples, 4 per thread, and over columns, 8 per thread.
PAIR_SAMPLES = 1024
PAIR_COLUMNS = 1024
PAIR_ROW = 256


class Call(NamedTuple):
    """What both ways compute from. x = temperature z + shifts + label shifts at the label, or seesaw's logits."""

    logits: Tensor
    labels: Tensor
    weight: Tensor | None
    scale: Tensor
    gradient: Tensor
    remainder: Tensor
    layout: Layout
    shifts: Tensor | None
    label_shifts: Tensor | None = None
    temperature: float = 1.0
    seesaw: tuple[float, float] | None = None
    """q and log eps."""

    @property
    def samples(self) -> tuple[Tensor, ...]:
        return self.labels.contiguous(), packed(self.weight, self.scale)

    @property
    def per_column(self) -> tuple[Tensor, ...]:
        return packed(self.shifts, self.scale), packed(self.label_shifts, self.scale)

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.temperature, *(self.seesaw or (0.0, 0.0))

    @property
    def flags(self) -> dict[str, int | bool]:
        mode = (self.shifts is not None) + 2 * (self.label_shifts is not None)
        return {"MODE": mode, "SEESAW": self.seesaw is not None, "WEIGHTED": self.weight is not None}


def softmax_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    adjustment: Tensor | None,
    label_adjustment: Tensor | None,
    temperature: float,
    scale: Tensor,
    gradient: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """`fused.softmax_sums` with (K,) adjustments; these, `weight` and `scale` float32."""
    remainder = torch.empty(labels.shape, dtype=torch.float32, device=logits.device)
    layout = layout_of(logits, gradient)
    shifts = (adjustment, label_adjustment, float(temperature))
    return _sums(Call(logits, labels, weight, scale, gradient, remainder, layout, *shifts))


def seesaw_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    log_counts: Tensor,
    q: float,
    eps: float,
    scale: Tensor,
    gradient: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """`fused.seesaw_sums` with float32 `weight`, `log_counts` and `scale`."""
    remainder = torch.empty(labels.shape, dtype=torch.float32, device=logits.device)
    layout = layout_of(logits, gradient)
    seesaw = (float(q), math.log(eps) if eps > 0 else -math.inf)
    return _sums(Call(logits, labels, weight, scale, gradient, remainder, layout, log_counts, seesaw=seesaw))


def _sums(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    columns = call.layout.columns
    if call.logits.numel() == 0:
        zeros = torch.zeros(1 + columns, dtype=torch.float64, device=call.logits.device)
        return zeros[0], call.remainder, zeros[1:]
    whole = columns <= (WHOLE_ROW if call.layout.rows else WHOLE_PIXEL)
    with device_of(call.logits):
        value, negative = _whole(call) if whole else _pair(call)
    return value, call.remainder, negative


def _whole(call: Call) -> tuple[Tensor, Tensor]:
    layout, rows = call.layout, call.layout.rows
    columns, pixels = layout.columns, layout.pixels
    block_k = 1 << (columns.bit_length() - 1)
    rest_k = power_of_two(columns - block_k) if columns > block_k else 0
    if rows:
        block_p = max(TILE // power_of_two(columns), 1)
        while block_p > 1 and layout.images * pixels < block_p * PROGRAMS // 4:
            block_p //= 2
    else:
        largest = min(max(2 * TILE // power_of_two(columns), LINE), PIXELS)
        block_p = fit(pixels, largest=largest, smallest=min(LINE, largest))
    chunks, length = chunks_of(-(-pixels // block_p), layout.images, programs=PROGRAMS, longest=TILES)
    values = torch.empty(layout.images * chunks, dtype=torch.float32, device=call.logits.device)
    sums = values.new_empty(len(values), block_k + rest_k)
    softmax_whole[(len(values),)](
        *(call.logits, *call.samples, *call.per_column, call.scale, call.gradient, call.remainder, values, sums),
        *(columns, pixels, chunks, length, *layout.logits, *layout.gradient, *call.numbers),
        **call.flags,
        WIDE=layout.wide(block_p, block_k + rest_k),
        NARROW=not rows,
        SAME=layout.logits == layout.gradient,
        PADDED=rest_k > 0 and block_k + rest_k != columns,
        BLOCK_P=block_p,
        BLOCK_K=block_k,
        REST_K=rest_k,
        num_warps=_warps(block_p * (block_k + rest_k), rows),
        maxnreg=None if rows else REGISTERS,
    )
    return values.sum(dtype=torch.float64), sums.sum(0, dtype=torch.float64)[:columns]


def _warps(elements: int, rows: bool) -> int:
    per_warp = 32 * (IN_ROWS if rows else ALONG_PIXELS)
    warps = power_of_two(max(elements // per_warp, 1) + 1) // 2 if rows else power_of_two(-(-elements // per_warp))
    return min(max(warps, 2), 16)


def _pair(call: Call) -> tuple[Tensor, Tensor]:
    layout, rows = call.layout, call.layout.rows
    columns, pixels, samples = layout.columns, layout.pixels, call.labels.numel()
    # Loss, top and factor of each sample, and for seesaw the logarithms of its total and of max(s_y, eps).
    states = torch.empty(5 if call.seesaw else 3, samples, dtype=torch.float32, device=call.logits.device)
    sizes, inputs = (columns, pixels, samples), (call.logits, *call.samples)
    block_p = 1 if rows else LINE
    tiles = -(-pixels // block_p)
    softmax_samples[(layout.images * tiles,)](
        *(*inputs, *call.per_column, call.remainder, states, *sizes, tiles, *layout.logits, *call.numbers),
        **call.flags,
        BLOCK_P=block_p,
        BLOCK_K=max(PAIR_SAMPLES // block_p, 1),
        num_warps=8,
    )
    block_k = PAIR_ROW if rows else max(PAIR_COLUMNS // (4 * LINE), 1)
    block_p = max(PAIR_COLUMNS // block_k, 1)
    tiles, blocks = -(-pixels // block_p), -(-columns // block_k)
    chunks, length = chunks_of(tiles, layout.images * blocks, programs=4 * PROGRAMS, longest=TILES)
    sums = states.new_empty(layout.images * chunks, columns)
    softmax_columns[(len(sums) * blocks,)](
        *(*inputs, call.per_column[0], call.remainder, states, call.scale, call.gradient, sums, *sizes),
        *(blocks, chunks, length, *layout.logits, *layout.gradient, *call.numbers[:2]),
        **call.flags,
        WIDE=layout.wide(block_p, block_k),
        BLOCK_P=block_p,
        BLOCK_K=block_k,
        num_warps=4,
    )
    return states[0].sum(dtype=torch.float64), sums.sum(0, dtype=torch.float64)
