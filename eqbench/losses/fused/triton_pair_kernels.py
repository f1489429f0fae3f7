"""Kernels of the softmax losses for more columns than a program can hold: one over samples, one over columns."""

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

__all__ = ["softmax_columns", "softmax_samples"]


@triton.jit(do_not_specialize=["tiles"])
def softmax_samples(
    logits, labels, weights, shifts, label_shifts, remainders, states,
    columns, pixels, samples, tiles, logits_image, logits_column, logits_pixel, temperature, q, floor,
    MODE: tl.constexpr, SEESAW: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program per (image, tile of samples): their losses, remainders, and what the gradient needs of each."""
    program = tl.program_id(0)
    image = (program // tiles).to(tl.int64)
    pixel = (program % tiles) * BLOCK_P + tl.arange(0, BLOCK_P)
    states += image * pixels
    inside, label, weight = samples_of(labels + image * pixels, weights + image * pixels, pixel, pixels, WEIGHTED)
    valid = weight != 0
    source = logits + image * logits_image + pixel.to(tl.int64) * logits_pixel
    own = tl.load(source + label.to(tl.int64) * logits_column, mask=inside, other=0.0).to(tl.float32)
    own, own_shift = own_x(own, label, valid, shifts, label_shifts, temperature, SEESAW, MODE)
    log_total = tl.zeros_like(own)
    bar = tl.zeros_like(own)
    top = own
    others = tl.zeros_like(own)
    # Seesaw's x needs the softmax of z, which is found in a turn of its own.
    for turn in tl.static_range(1 + SEESAW):
        top = own
        others = tl.zeros_like(own)
        for first in range(0, columns, BLOCK_K):
            column = first + tl.arange(0, BLOCK_K)
            inside_k = column < columns
            place = source[:, None] + column.to(tl.int64)[None, :] * logits_column
            x = tl.load(place, mask=inside[:, None] & inside_k[None, :], other=0.0).to(tl.float32)
            shift = shifts_at(shifts, tl.minimum(column, columns - 1), MODE)
            if turn == 1:
                x = seesaw_x(x, shift, own_shift, log_total, bar, q)
            if not SEESAW:
                x = x * temperature + shift[None, :]
            x = tl.where(inside_k[None, :], masked(x, valid, label, column), float("-inf"))
            higher = tl.maximum(top, tl.max(x, 1))
            others = others * exp(top - higher) + tl.sum(exp(x - higher[:, None]), 1)
            top = higher
        if turn == 0 and SEESAW:
            log_total = top + tl.log(others + exp(own - top))
            bar = tl.maximum(own - log_total, floor)
    loss, remainder, share = sample_ends(others, own, top, weight, temperature)
    tl.store(remainders + image * pixels + pixel, remainder, mask=inside)
    tl.store(states + pixel, loss, mask=inside)
    tl.store(states + samples + pixel, top, mask=inside)
    tl.store(states + 2 * samples + pixel, share, mask=inside)
    if SEESAW:
        tl.store(states + 3 * samples + pixel, log_total, mask=inside)
        tl.store(states + 4 * samples + pixel, bar, mask=inside)


@triton.jit(do_not_specialize=["blocks", "chunks", "length"])
def softmax_columns(
    logits, labels, weights, shifts, remainders, states, scale, gradient, sums,
    columns, pixels, samples, blocks, chunks, length,
    logits_image, logits_column, logits_pixel, gradient_image, gradient_column, gradient_pixel, temperature, q,
    MODE: tl.constexpr, SEESAW: tl.constexpr, WEIGHTED: tl.constexpr,
    WIDE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program per (image, chunk of `length` tiles, block of columns), the blocks fastest: their gradient."""
    program = tl.program_id(0)
    block = program % blocks
    part = program // blocks
    image = (part // chunks).to(tl.int64)
    start = (part % chunks) * length * BLOCK_P
    k = tl.arange(0, BLOCK_K)
    p = tl.arange(0, BLOCK_P)
    column = block * BLOCK_K + k
    inside_k = column < columns
    shift = shifts_at(shifts, tl.minimum(column, columns - 1), MODE)
    output_scale = tl.load(scale)
    here = offsets_of(p, k, logits_pixel, logits_column, WIDE)
    there = offsets_of(p, k, gradient_pixel, gradient_column, WIDE)
    first_k = (block * BLOCK_K).to(tl.int64)
    logits += image * logits_image + first_k * logits_column
    gradient += image * gradient_image + first_k * gradient_column
    labels += image * pixels
    weights += image * pixels
    remainders += image * pixels
    states += image * pixels

    total = tl.zeros((BLOCK_P, BLOCK_K), dtype=tl.float32)
    for first in range(start, min(start + length * BLOCK_P, pixels), BLOCK_P):
        pixel = first + p
        inside_p, label, weight = samples_of(labels, weights, pixel, pixels, WEIGHTED)
        inside = inside_p[:, None] & inside_k[None, :]
        x = tl.load(logits + tl.cast(first, tl.int64) * logits_pixel + here, mask=inside, other=0.0).to(tl.float32)
        top = tl.load(states + samples + pixel, mask=inside_p, other=0.0)
        share = tl.load(states + 2 * samples + pixel, mask=inside_p, other=0.0)
        remainder = tl.load(remainders + pixel, mask=inside_p, other=0.0)
        if SEESAW:
            log_total = tl.load(states + 3 * samples + pixel, mask=inside_p, other=0.0)
            bar = tl.load(states + 4 * samples + pixel, mask=inside_p, other=0.0)
            x = seesaw_x(x, shift, shifts_at(shifts, label, MODE), log_total, bar, q)
        else:
            x = x * temperature + shift[None, :]
        e = exp(masked(x - top[:, None], weight != 0, label, column))
        total += e * share[:, None]
        target = gradient + tl.cast(first, tl.int64) * gradient_pixel + there
        store_gradient(target, e, share, remainder, label, column, inside, output_scale)
    tl.store(sums + part.to(tl.int64) * columns + column, tl.sum(total, 0), mask=inside_k)
