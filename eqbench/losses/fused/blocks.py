"""Row blocks that fit the cache: every block is read once, and what is computed of it stays near.

Shapes: N samples, K columns, P pixels of a sample, 1 without pixels. A block is R samples without pixels, z (R, K), or
R pixels of one sample, z (K, R).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from eqbench.losses.fused import plain

BLOCK = 2**19
"""Logits in a block of the plain kernels, which pass over it a dozen times: 2 MiB of float32."""
COMPILED_BLOCK = 2**21
"""The same of the compiled kernels, which pass over it once or twice."""
FOLDABLE = (1e-12, 1e12)
"""Scales that may be multiplied into a gradient before its sums are taken, and divided out of them again."""


class Block(NamedTuple):
    """One block's part of each argument."""

    z: Tensor
    """(R, K) or (K, R), float32 or float64, finite wherever the weight is 0."""
    labels: Tensor
    """(R,)"""
    weight: Tensor
    """(R,) with the scale in it, if it is folded."""
    out: Tensor
    """Shape of z: where the gradient goes."""
    dim: int
    """Dimension of the columns."""
    place: tuple[int | slice, ...]
    """Of the block in (N, K, P)."""


def sigmoid_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    negative: Tensor,
    exponent: Tensor | None,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    work = _Work(logits, labels, weight, scale, gradient)
    kernel: Callable[..., tuple[Tensor, Tensor]] = plain.sigmoid_block
    if work.compiles and negative.dim() == 1:
        from eqbench.losses.fused import compiled

        kernel = compiled.sigmoid_block
    for block in work:
        factor = negative[block.place] if negative.dim() == 3 else work.along(negative, block.dim)
        value, sums = kernel(
            block.z,
            block.labels,
            block.weight,
            factor,
            None if exponent is None else work.along(exponent, block.dim),
            block.out,
            block.dim,
        )
        work.done(block, value, sums)
    return work.value, work.negative


def softmax_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    adjustment: Tensor | None,
    label_adjustment: Tensor | None,
    temperature: float,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    work = _Work(logits, labels, weight, scale, gradient)
    kernel: Callable[..., tuple[Tensor, Tensor, Tensor]] = plain.softmax_block
    if work.compiles and (adjustment is None or adjustment.dim() == 1):
        from eqbench.losses.fused import compiled

        kernel = compiled.softmax_block
    if label_adjustment is not None:
        label_adjustment = label_adjustment.to(work.dtype)
    for block in work:
        shift = None
        if adjustment is not None:
            shift = adjustment[block.place] if adjustment.dim() == 3 else work.along(adjustment, block.dim)
        value, remainder, sums = kernel(
            block.z, block.labels, block.weight, shift, label_adjustment, temperature, block.out, block.dim
        )
        work.done(block, value, sums, remainder)
    return work.value, work.remainder, work.negative


def seesaw_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    log_counts: Tensor,
    q: float,
    eps: float,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    work = _Work(logits, labels, weight, scale, gradient)
    kernel: Callable[..., tuple[Tensor, Tensor, Tensor]] = plain.seesaw_block
    if work.compiles:
        from eqbench.losses.fused import compiled

        kernel = compiled.seesaw_block
    for block in work:
        counts = work.along(log_counts, block.dim)
        value, remainder, sums = kernel(
            block.z, block.labels, block.weight, counts, q, math.log(eps), block.out, block.dim
        )
        work.done(block, value, sums, remainder)
    return work.value, work.remainder, work.negative


class _Work:
    """Cuts the arguments into blocks and adds up, in float64, what comes of them."""

    def __init__(
        self, logits: Tensor, labels: Tensor, weight: Tensor | None, scale: Tensor | None, gradient: Tensor
    ) -> None:
        from eqbench.losses.fused import compiled

        self.dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        self.logits, self.gradient, self.labels = logits, gradient, labels
        self.factor, self.late = 1.0, scale
        if scale is not None and not logits.is_cuda and FOLDABLE[0] <= scale.item() <= FOLDABLE[1]:
            self.factor, self.late = scale.item(), None
        self.weight = labels.new_ones(labels.shape, dtype=self.dtype) if weight is None else weight.to(self.dtype)
        self.dead = None if weight is None else self.weight == 0
        if self.dead is not None and not logits.is_cuda and not self.dead.any():
            self.dead = None
        if self.factor != 1.0:
            self.weight = self.weight * self.factor
        self.compiles = compiled.wanted(logits)
        self.value = torch.zeros((), dtype=torch.float64, device=logits.device)
        self.negative = torch.zeros(logits.shape[1], dtype=torch.float64, device=logits.device)
        self.remainder = torch.zeros_like(self.weight)

    def __iter__(self) -> Iterator[Block]:
        samples, columns, pixels = self.logits.shape
        if pixels != 1:
            for sample in range(samples):
                for part in self._parts(pixels, columns):
                    yield self._block((sample, slice(None), part), 0)
        else:
            for part in self._parts(samples, columns):
                yield self._block((part, slice(None), 0), 1)

    def _parts(self, length: int, columns: int) -> Iterator[slice]:
        """Even parts of so many rows, each about a block; on a GPU everything at once."""
        block = COMPILED_BLOCK if self.compiles else BLOCK
        count = 1 if self.logits.is_cuda else max(1, round(length * columns / block))
        step = max(1, -(-length // count))
        for start in range(0, length, step):
            yield slice(start, start + step)

    def _block(self, index: tuple[int | slice, ...], dim: int) -> Block:
        place = (index[0], index[2])
        z, out = self.logits[index].to(self.dtype), self.gradient[index]
        if self.dead is not None:
            z = z.masked_fill(self.dead[place].unsqueeze(dim), 0.0)
        if out.dtype != self.dtype:
            out = torch.empty_like(z)
        return Block(z, self.labels[place], self.weight[place], out, dim, index)

    def along(self, vector: Tensor, dim: int) -> Tensor:
        """(K,) as a factor of blocks."""
        vector = vector.to(self.dtype)
        return vector if dim == 1 else vector.unsqueeze(1)

    def done(self, block: Block, value: Tensor, negative: Tensor, remainder: Tensor | None = None) -> None:
        self.value += value.double() / self.factor
        self.negative += negative.double() / self.factor
        if remainder is not None:
            self.remainder[block.place[0], block.place[2]] = remainder / self.factor
        out = block.out if self.late is None else block.out.mul_(self.late)
        target = self.gradient[block.place]
        if out.dtype != target.dtype:
            target.copy_(out)
