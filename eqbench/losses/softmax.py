"""Cross entropy of shifted logits in closed form: the shared part of the softmax losses."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses import fused
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.columns import as_columns, label_sums
from eqbench.losses.fused.memory import empty_gradient


def softmax_terms(
    batch: Batch,
    adjustment: Tensor | None = None,
    *,
    label_adjustment: Tensor | None = None,
    temperature: float = 1.0,
) -> Terms:
    """Cross entropy of z'_j = temperature z_j + adjustment_j + [j = y] label_adjustment_y.

    Its gradient is temperature (softmax(z') - y), which is also what is summed per column.

    Args:
        batch: its soft labels, if any, take the place of y.
        adjustment: (K,), or (N, K, ...) with -inf for columns that a sample leaves out, never its label's.
        label_adjustment: (K,); not for soft labels.
        temperature: factor of the logits.
    """
    if batch.soft is not None:
        return _soft_terms(batch, batch.soft, adjustment, temperature)
    logits = as_columns(batch.logits, batch.logits)
    if adjustment is not None and adjustment.dim() > 1:
        adjustment = as_columns(adjustment, batch.logits)
    labels, weight = batch.labels.reshape(logits.shape[0], logits.shape[2]), batch.sample_weight
    gradient = empty_gradient(batch.logits)
    value, remainder, negative = fused.softmax_sums(
        logits,
        labels,
        None if weight is None else weight.reshape(labels.shape),
        adjustment,
        label_adjustment,
        temperature,
        batch.scale,
        as_columns(gradient, batch.logits),
    )
    return Terms(value, gradient, label_sums(labels, remainder, len(negative)), negative, batch.scale is not None)


def _soft_terms(batch: Batch, soft: Tensor, adjustment: Tensor | None, temperature: float) -> Terms:
    shifted = batch.logits.to(batch.dtype) * temperature
    if adjustment is not None:
        shifted += adjustment.to(batch.dtype).view(-1, *[1] * (shifted.dim() - 2))
    log_share = shifted.log_softmax(1)
    value = -torch.where(soft > 0, soft * log_share, 0.0).sum(1, keepdim=True)
    gradient = log_share.exp().sub_(soft).mul_(temperature)
    if batch.weight is not None:
        weight = batch.weight.unsqueeze(1)
        value, gradient = (torch.where(weight != 0, each * weight, 0.0) for each in (value, gradient))
    magnitude, others = gradient.abs(), [dim for dim in range(gradient.dim()) if dim != 1]
    positive = (magnitude * soft).sum(others, dtype=torch.float64)
    negative = (magnitude * (1 - soft)).sum(others, dtype=torch.float64)
    return Terms(value.sum(dtype=torch.float64), gradient, positive, negative)
