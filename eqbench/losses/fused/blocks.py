"""Row blocks that fit the cache: every block is read once, and what is computed of it stays near.

Shapes: N samples, K columns, P pixels of a sample, 1 without pixels. A block is R samples without pixels, z (R, K), or
R pixels of one sample, z (K, R); of small images it is all pixels of some of them, as samples, z (R, K).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from eqbench.losses.fused import compiled, plain

BLOCK = 2**19
"""Logits in a block of the plain kernels, which pass over it a dozen times: 2 MiB of float32."""
COMPILED_BLOCK = 2**21
"""The same of the compiled kernels, which pass over it once or twice."""
SMALL_IMAGE = 2**16
"""Logits of an image from which on its pixels are a block of their own."""
FOLDABLE = (1e-12, 1e12)
"""Scales that may be multiplied into a gradient before its sums are taken, and divided out of them again."""


Place = tuple[int | slice, slice, int | slice]


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
    place: Place
    """Of the block in (N, K, P)."""
    alive: Tensor | None = None
    """(R,) the samples of it that count, where not all do."""


def sigmoid_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    negative: Tensor,
    exponent: Tensor | None,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    compiles = compiled.wanted(logits) and negative.dim() == 1
    work = _Work(logits, labels, weight, scale, gradient, COMPILED_BLOCK if compiles else BLOCK)
    for block in work:
        factor = work.part(negative, block) if negative.dim() == 3 else work.along(negative, block)
        power = None if exponent is None else work.along(exponent, block)
        given = (block.z, block.labels, block.weight, factor, power, block.out, block.dim)
        if compiles:
            value, sums = compiled.sigmoid_block(*given, functools.partial(work.spare, block, 3))
        else:
            value, sums = plain.sigmoid_block(*given, work.spare(block, 3))
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
    work = _Work(logits, labels, weight, scale, gradient, BLOCK)
    if label_adjustment is not None:
        label_adjustment = label_adjustment.to(work.dtype)
    for block in work:
        shift = None
        if adjustment is not None:
            shift = work.part(adjustment, block) if adjustment.dim() == 3 else work.along(adjustment, block)
        value, remainder, sums = plain.softmax_block(
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
    work = _Work(logits, labels, weight, scale, gradient, BLOCK)
    for block in work:
        counts, spare = work.along(log_counts, block), work.spare(block, 2)
        value, remainder, sums = plain.seesaw_block(
            block.z, block.labels, block.weight, counts, q, math.log(eps), block.out, block.dim, spare
        )
        work.done(block, value, sums, remainder)
    return work.value, work.remainder, work.negative


class _Work:
    """Cuts the arguments into blocks and adds up, in float64, what comes of them."""

    def __init__(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        scale: Tensor | None,
        gradient: Tensor,
        block: int,
    ) -> None:
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
        self._size = block
        self._memory: dict[int, Tensor] = {}
        self.value = torch.zeros((), dtype=torch.float64, device=logits.device)
        self.negative = torch.zeros(logits.shape[1], dtype=torch.float64, device=logits.device)
        self.remainder = torch.zeros_like(self.weight)

    def __iter__(self) -> Iterator[Block]:
        samples, columns, pixels = self.logits.shape
        block = self._size
        if pixels == 1:
            for part in self._parts(samples, columns / block):
                yield self._block((part, slice(None), 0), 1)
        elif columns * pixels < SMALL_IMAGE:
            for part in self._parts(samples, columns * pixels / block):
                yield self._block((part, slice(None), slice(None)), 1)
        else:
            for sample in range(samples):
                for part in self._parts(pixels, columns / block):
                    yield self._block((sample, slice(None), part), 0)

    def _parts(self, length: int, blocks: float) -> Iterator[slice]:
        """`length` things, each of them so many blocks, in even parts of about a block; on a GPU all at once."""
        count = 1 if self.logits.is_cuda else max(1, round(length * blocks))
        step = max(1, -(-length // count))
        for start in range(0, length, step):
            yield slice(start, start + step)

    def _block(self, place: Place, dim: int) -> Block:
        across = (place[0], place[2])
        z, out = _rows(self.logits[place]), self.gradient[place]
        labels, weight = self.labels[across].flatten(), self.weight[across].flatten()
        dead, alive = None if self.dead is None else self.dead[across].flatten(), None
        if dead is not None and dim == 1 and not z.is_cuda:
            # In detection most samples may be background, which some losses have no term for.
            alive = (~dead).nonzero().squeeze(1)
            z, labels, weight = z[alive], labels[alive], weight[alive]
        elif dead is not None:
            z = z.masked_fill(dead.unsqueeze(dim), 0.0)
        if z.dtype != self.dtype:
            z = self._borrow(-1, z.shape).copy_(z)
        if alive is not None or out.dtype != self.dtype or out.dim() == 3:
            out = self._borrow(-2, z.shape)
        return Block(z, labels, weight, out, dim, place, alive)

    def part(self, tensor: Tensor, block: Block) -> Tensor:
        """A block's part of (N, K, P)."""
        part = _rows(tensor[block.place])
        return part if block.alive is None else part[block.alive]

    def along(self, vector: Tensor, block: Block) -> Tensor:
        """(K,) as a factor of a block."""
        vector = vector.to(self.dtype)
        return vector if block.dim == 1 else vector.unsqueeze(1)

    def spare(self, block: Block, number: int) -> list[Tensor]:
        """So many tensors like the block to compute in, the same memory for every block."""
        return [self._borrow(index, block.z.shape) for index in range(number)]

    def _borrow(self, index: int, shape: Sequence[int]) -> Tensor:
        size = math.prod(shape)
        if index not in self._memory or self._memory[index].numel() < size:
            self._memory[index] = self.logits.new_empty(size, dtype=self.dtype)
        return self._memory[index][:size].view(shape)

    def done(self, block: Block, value: Tensor, negative: Tensor, remainder: Tensor | None = None) -> None:
        self.value += value.double() / self.factor
        self.negative += negative.double() / self.factor
        target = self.gradient[block.place]
        out = block.out if self.late is None else block.out.mul_(self.late)
        if block.alive is None:
            if out.data_ptr() != target.data_ptr():
                target.copy_(_like(out, target))
        elif target.dim() == 2:
            target.zero_()[block.alive] = out.to(target.dtype)
        else:
            rows = out.new_zeros(target.shape[0] * target.shape[2], target.shape[1])
            rows[block.alive] = out
            target.copy_(_like(rows, target))
        if remainder is not None:
            of_block = self.remainder[block.place[0], block.place[2]]
            counted = slice(None) if block.alive is None else block.alive
            rows = of_block.new_zeros(of_block.numel())
            rows[counted] = remainder / self.factor
            of_block.copy_(rows.view_as(of_block))


def _rows(part: Tensor) -> Tensor:
    """(R, K) of whole images (R', K, P); other parts as they are."""
    return part.movedim(1, -1).reshape(-1, part.shape[1]) if part.dim() == 3 else part


def _like(rows: Tensor, target: Tensor) -> Tensor:
    """The inverse of `_rows`."""
    if target.dim() == 2:
        return rows
    return rows.view(target.shape[0], target.shape[2], target.shape[1]).movedim(-1, 1)
