"""The kernel of the sigmoid losses."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from eqbench.losses.fused.triton_formulas import LN2, negatives, offsets_of, samples_of

__all__ = ["sigmoid_tiles"]


@triton.jit(do_not_specialize=["blocks", "chunks", "length"])
def sigmoid_tiles(
    logits, labels, weights, factors, exponents, scale, gradient, values, sums,
    columns, pixels, blocks, chunks, length,
    logits_image, logits_column, logits_pixel, gradient_image, gradient_column, gradient_pixel,
    WEIGHTED: tl.constexpr, FOCAL: tl.constexpr, WIDE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program per (image, chunk of `length` tiles, block of columns), the blocks fastest.

    It keeps to its columns, so that their sums stay in registers.
    """
    program = tl.program_id(0)
    block = program % blocks
    part = program // blocks
    image = (part // chunks).to(tl.int64)
    start = (part % chunks) * length * BLOCK_P
    k = tl.arange(0, BLOCK_K)
    p = tl.arange(0, BLOCK_P)
    column = block * BLOCK_K + k
    inside_k = column < columns
    factor = tl.load(factors + column, mask=inside_k, other=0.0)[None, :]
    exponent = factor
    if FOCAL:
        exponent = tl.load(exponents + column, mask=inside_k, other=0.0)[None, :]
    output_scale = tl.load(scale)
    here = offsets_of(p, k, logits_pixel, logits_column, WIDE)
    there = offsets_of(p, k, gradient_pixel, gradient_column, WIDE)
    first_k = (block * BLOCK_K).to(tl.int64)
    logits += image * logits_image + first_k * logits_column
    gradient += image * gradient_image + first_k * gradient_column
    labels += image * pixels
    weights += image * pixels

    value = tl.zeros((BLOCK_P, BLOCK_K), dtype=tl.float32)
    total = tl.zeros((BLOCK_P, BLOCK_K), dtype=tl.float32)
    for first in range(start, min(start + length * BLOCK_P, pixels), BLOCK_P):
        inside_p, label, weight = samples_of(labels, weights, first + p, pixels, WEIGHTED)
        inside = inside_p[:, None] & inside_k[None, :]
        z = tl.load(logits + tl.cast(first, tl.int64) * logits_pixel + here, mask=inside, other=0.0).to(tl.float32)
        # Selected, not multiplied by 0: what does not count may be NaN.
        counted = (label[:, None] != column[None, :]) & (weight != 0)[:, None]
        row = tl.where(counted, factor * weight[:, None], 0.0)
        v, slope = negatives(tl.where(counted, z, 0.0), exponent, FOCAL)
        g = row * slope
        value += row * v
        total += g
        target = gradient + tl.cast(first, tl.int64) * gradient_pixel + there
        tl.store(target, (g * output_scale).to(gradient.dtype.element_ty), mask=inside)
    tl.store(values + program, tl.sum(tl.sum(value, 1), 0) * LN2)
    tl.store(sums + part.to(tl.int64) * columns + column, tl.sum(total, 0), mask=inside_k)
