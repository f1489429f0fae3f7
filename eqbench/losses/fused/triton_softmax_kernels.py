"""The kernel of the softmax losses that holds all columns of its samples in registers.

x is what the softmax is of: temperature z + shift, or seesaw's logits, whose shifts are log counts. The label's own x
is read apart and its place in the tile is -inf: the tile sums up to the others alone, exactly, also where the
label's p rounds to 1. A sample of weight 0 is all -inf beside an own x of 0, whatever its logits.

Columns come in two parts, the largest power of two and the rest, padded to another: 150 are 128 + 32, not 256. The
padding repeats the last column, read and written once more alike, and is left out of the sums. Masks instead would
take a predicate for each column of a thread, of which there are so few that its loads would wait for each other.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from eqbench.losses.fused.triton_formulas import (
    exp,
    masked,
    offsets_of,
    own_x,
    sample_ends,
    samples_of,
    seesaw_x,
    shifts_at,
    store_gradient,
)

__all__ = ["softmax_whole"]


@triton.jit
def _sum(e, counts, PADDED: tl.constexpr):
    """(pixels,) without the padding."""
    if PADDED:
        e *= counts[None, :]
    return tl.sum(e, 1)


@triton.jit(do_not_specialize=["chunks", "length"])
def softmax_whole(
    logits, labels, weights, shifts, label_shifts, scale, gradient, remainders, values, sums,
    columns, pixels, chunks, length,
    logits_image, logits_column, logits_pixel, gradient_image, gradient_column, gradient_pixel,
    temperature, q, floor,
    MODE: tl.constexpr, SEESAW: tl.constexpr, WEIGHTED: tl.constexpr,
    WIDE: tl.constexpr, NARROW: tl.constexpr, SAME: tl.constexpr, PADDED: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr, REST_K: tl.constexpr,
):  # fmt: skip
    """One program per (image, chunk of `length` tiles)."""
    program = tl.program_id(0)
    image = (program // chunks).to(tl.int64)
    start = (program % chunks) * length * BLOCK_P
    output_scale = tl.load(scale)
    logits += image * logits_image
    gradient += image * gradient_image
    labels += image * pixels
    weights += image * pixels
    remainders += image * pixels
    p = tl.arange(0, BLOCK_P)
    if NARROW:
        # Fewer pixels and more columns in each thread: less is computed per sample by several threads alike.
        p = tl.max_contiguous(p, 2)
    column_a = tl.arange(0, BLOCK_K)
    shift_a = shifts_at(shifts, column_a, MODE)
    here_a = offsets_of(p, column_a, logits_pixel, logits_column, WIDE)
    there_a = here_a
    if not SAME:
        there_a = offsets_of(p, column_a, gradient_pixel, gradient_column, WIDE)
    total_a = tl.zeros((BLOCK_P, BLOCK_K), dtype=tl.float32)
    if REST_K > 0:
        column_b = BLOCK_K + tl.arange(0, REST_K)
        place_b = column_b
        if PADDED:
            place_b = tl.minimum(column_b, columns - 1)
        shift_b = shifts_at(shifts, place_b, MODE)
        counts_b = (column_b < columns).to(tl.float32)
        here_b = offsets_of(p, place_b, logits_pixel, logits_column, WIDE)
        there_b = here_b
        if not SAME:
            there_b = offsets_of(p, place_b, gradient_pixel, gradient_column, WIDE)
        total_b = tl.zeros((BLOCK_P, REST_K), dtype=tl.float32)
    value = tl.zeros((BLOCK_P,), dtype=tl.float32)
    for first in range(start, min(start + length * BLOCK_P, pixels), BLOCK_P):
        pixel = first + tl.arange(0, BLOCK_P)
        inside, label, weight = samples_of(labels, weights, pixel, pixels, WEIGHTED)
        valid = weight != 0
        source = logits + tl.cast(first, tl.int64) * logits_pixel
        target = gradient + tl.cast(first, tl.int64) * gradient_pixel
        x_a = tl.load(source + here_a, mask=inside[:, None], other=0.0).to(tl.float32)
        if REST_K > 0:
            x_b = tl.load(source + here_b, mask=inside[:, None], other=0.0).to(tl.float32)
        own = tl.load(
            source + p.to(tl.int64) * logits_pixel + label.to(tl.int64) * logits_column, mask=inside, other=0.0
        )
        own, own_shift = own_x(own.to(tl.float32), label, valid, shifts, label_shifts, temperature, SEESAW, MODE)
        if not SEESAW:
            x_a = x_a * temperature + shift_a[None, :]
        x_a = masked(x_a, valid, label, column_a)
        top = tl.maximum(tl.max(x_a, 1), own)
        if REST_K > 0:
            if not SEESAW:
                x_b = x_b * temperature + shift_b[None, :]
            x_b = masked(x_b, valid, label, place_b)
            top = tl.maximum(tl.max(x_b, 1), top)
        if SEESAW:
            others = tl.sum(exp(x_a - top[:, None]), 1)
            if REST_K > 0:
                others += _sum(exp(x_b - top[:, None]), counts_b, PADDED)
            log_total = top + tl.log(others + exp(own - top))
            bar = tl.maximum(own - log_total, floor)
            x_a = seesaw_x(x_a, shift_a, own_shift, log_total, bar, q)
            top = tl.maximum(tl.max(x_a, 1), own)
            if REST_K > 0:
                x_b = seesaw_x(x_b, shift_b, own_shift, log_total, bar, q)
                top = tl.maximum(tl.max(x_b, 1), top)
        x_a = exp(x_a - top[:, None])
        others = tl.sum(x_a, 1)
        if REST_K > 0:
            x_b = exp(x_b - top[:, None])
            others += _sum(x_b, counts_b, PADDED)
        loss, remainder, share = sample_ends(others, own, top, weight, temperature)
        value += loss
        tl.store(remainders + pixel, remainder, mask=inside)
        total_a += x_a * share[:, None]
        store_gradient(target + there_a, x_a, share, remainder, label, column_a, inside[:, None], output_scale)
        if REST_K > 0:
            total_b += x_b * share[:, None]
            store_gradient(target + there_b, x_b, share, remainder, label, place_b, inside[:, None], output_scale)
    tl.store(values + program, tl.sum(value, 0))
    sums += program.to(tl.int64) * (BLOCK_K + REST_K)
    tl.store(sums + column_a, tl.sum(total_a, 0))
    if REST_K > 0:
        tl.store(sums + column_b, tl.sum(total_b, 0))
