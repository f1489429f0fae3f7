"""Sigmoid losses on CUDA: value, gradient and sums per column in one pass over the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses.fused.triton_layout import chunks_of, device_of, fit, layout_of, packed, power_of_two
from eqbench.losses.fused.triton_sigmoid_kernel import sigmoid_tiles

__all__ = ["sigmoid_sums"]

# Elements of a tile, 8 per thread of 4 warps: so many loads are under way before the first is used, in few enough
# registers for 5 to 10 programs on a multiprocessor.
TILE = 1024
# Bounds of a tile's side along contiguous memory: whole lines of 128 bytes where there are enough columns or pixels.
ROW = 256
PIXELS = 128
SHORT = 32
# Programs wanted: several waves, so that the last one leaves little of the device idle.
PROGRAMS = 4096
# Tiles that one program adds up in float32 at most.
TILES = 64


def sigmoid_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    negative: Tensor,
    exponent: Tensor | None,
    scale: Tensor,
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    """`fused.sigmoid_sums` with (K,) float32 `negative` and `exponent`, and float32 `weight` and `scale`."""
    layout = layout_of(logits, gradient)
    columns, pixels, device = layout.columns, layout.pixels, logits.device
    if logits.numel() == 0:
        zeros = torch.zeros(1 + columns, dtype=torch.float64, device=device)
        return zeros[0], zeros[1:]
    if layout.rows:
        block_k = fit(columns, largest=ROW, smallest=SHORT)
        block_p = max(TILE // block_k, 1)
    else:
        block_p = fit(pixels, largest=max(TILE // power_of_two(columns), PIXELS), smallest=SHORT)
        block_k = min(max(TILE // block_p, 1), power_of_two(columns))
    tiles, blocks = -(-pixels // block_p), -(-columns // block_k)
    chunks, length = chunks_of(tiles, layout.images * blocks, programs=PROGRAMS, longest=TILES)
    values = torch.empty(layout.images * chunks * blocks, dtype=torch.float32, device=device)
    sums = torch.empty(layout.images * chunks, columns, dtype=torch.float32, device=device)
    samples = (labels.contiguous(), packed(weight, scale))
    per_column = (negative.contiguous(), packed(exponent, scale))
    with device_of(logits):
        sigmoid_tiles[(len(values),)](
            *(logits, *samples, *per_column, scale, gradient, values, sums),
            *(columns, pixels, blocks, chunks, length, *layout.logits, *layout.gradient),
            WEIGHTED=weight is not None,
            FOCAL=exponent is not None,
            WIDE=layout.wide(block_p, block_k),
            BLOCK_P=block_p,
            BLOCK_K=block_k,
            num_warps=4,
        )
    return values.sum(dtype=torch.float64), sums.sum(0, dtype=torch.float64)
