"""What a loss gets and gives for one forward call.

Shapes: N samples, K logit columns, L tracked columns (C, or C + 1); `...` is nothing, or H, W.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Validated arguments of one forward call.

    Attributes:
        logits: (N, K, ...) as given, detached.
        labels: (N, ...) int64; 0 where ignored; for soft labels the class of the largest share.
        ignored: (N, ...) bool, or None if certainly no sample is ignored.
        weight: (N, ...) in `dtype`, 0 where ignored; None stands for ones.
        quality: (N, ...) in `dtype`, for losses with `uses_quality`.
        negatives: (N, C, ...) bool, for losses with `uses_negatives`, if given.
        soft: (N, K, ...) in `dtype`, soft labels, for losses with `soft_labels`, if given.
        dtype: what to compute in: float64 for float64 logits, else float32.
        scale: 0-dim, `loss_weight / normalizer`; for losses that write it into the gradient in the same pass.
    """

    logits: Tensor
    labels: Tensor
    ignored: Tensor | None
    weight: Tensor | None
    quality: Tensor | None
    dtype: torch.dtype
    negatives: Tensor | None = None
    soft: Tensor | None = None
    scale: Tensor | None = None

    @property
    def samples(self) -> Tensor:
        """Scalar: how many samples are not ignored."""
        if self.ignored is None:
            return torch.full((), self.labels.numel(), dtype=self.dtype, device=self.labels.device)
        return (~self.ignored).sum().to(self.dtype)

    @property
    def sample_weight(self) -> Tensor | None:
        """(N, ...) in `dtype`: weights, 0 where ignored; None if all are 1."""
        if self.weight is None and self.ignored is not None:
            return (~self.ignored).to(self.dtype)
        return self.weight

    def weighted(self, factor: Tensor) -> Batch:
        """The same batch with sample weights multiplied by `factor` (N, ...)."""
        weight = factor.to(self.dtype) if self.weight is None else self.weight * factor
        if self.ignored is not None:
            weight = weight.masked_fill(self.ignored, 0)
        return replace(self, weight=weight)


class Terms(NamedTuple):
    """What a loss gives for one batch: sums over its samples, weighted, not divided by the normalizer."""

    value: Tensor
    """Scalar."""
    gradient: Tensor
    """(N, K, ...) derivative of `value` by the logits; times `batch.scale` if `scaled`. Given away: scaled in place."""
    positive: Tensor
    """(L,) per tracked column, L = C or C + 1: sum of |gradient| over the samples labelled so, without the scale."""
    negative: Tensor
    """(L,) sum of |gradient| over all other samples, without the scale."""
    scaled: bool = False
    """`gradient` carries `batch.scale`, which its pass over the logits multiplied in."""
