"""Weighted binary cross entropy and its focal forms in closed form: the shared part of the sigmoid losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from eqbench.losses import fused
from eqbench.losses.arguments import check_logits
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.columns import as_columns, label_sums
from eqbench.losses.fused.memory import empty_gradient


class SigmoidLoss(Loss):
    """Base of losses with one binary decision per class; label C, background, is a positive of no column."""

    def __init__(
        self, *, num_classes: int, loss_weight: float = 1.0, ignore_index: int = -1, extra_columns: int = 0
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            extra_columns=extra_columns,
            background_label=True,
        )

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) sigmoid of the logits."""
        check_logits(logits, self.columns)
        return torch.sigmoid(logits if logits.dtype == torch.float64 else logits.float())

    def ones(self) -> Tensor:
        """(K,) float64, weights of columns that are all alike."""
        return self.statistics.positive.new_ones(self.columns)


def sigmoid_terms(batch: Batch, *, negative: Tensor, positive: Tensor, exponent: Tensor | None = None) -> Terms:
    """Sum over the columns of binary terms, of which the label's own is the positive one.

    With p = sigmoid(z), G the exponent and BCE(z, t) = softplus(z) - t z:

        negatives            n_j p^G BCE(z, 0)
        positive             m_y (1 - p)^G BCE(z, 1)
        positive of quality  m_y |q - p|^G BCE(z, q)

    Args:
        batch: with quality for the quality form.
        negative: (K,) weights n, or (N, K, ...).
        positive: (K,) weights m.
        exponent: (K,) G >= 0; None for 0.
    """
    logits = as_columns(batch.logits, batch.logits)
    labels, weight = batch.labels.reshape(logits.shape[0], logits.shape[2]), batch.sample_weight
    weight = None if weight is None else weight.reshape(labels.shape)
    gradient = empty_gradient(batch.logits)
    target = as_columns(gradient, batch.logits)
    if negative.dim() > 1:
        negative = as_columns(negative, batch.logits)
    value, others = fused.sigmoid_sums(logits, labels, weight, negative, exponent, batch.scale, target)

    own = labels.clamp(max=logits.shape[1] - 1)
    samples, pixels = (torch.arange(length, device=own.device) for length in own.shape)
    # Not gather and scatter_, which on CPU make a float32 copy of all half-precision logits.
    place = (samples.unsqueeze(1), own, pixels)
    z = logits[place].to(batch.dtype)
    quality = None if batch.quality is None else batch.quality.reshape(labels.shape)
    power = None if exponent is None else exponent.to(batch.dtype)[own]
    values, slopes = positive_terms(z, power, quality)
    factor = positive.to(batch.dtype)[own]
    live = labels < logits.shape[1]
    if weight is not None:
        factor, live = factor * weight, live & (weight != 0)
    values = torch.where(live, values * factor, 0.0)
    slopes = torch.where(live, slopes * factor, 0.0)
    written = slopes if batch.scale is None else slopes * batch.scale
    target[place] = torch.where(live, written.to(target.dtype), target[place])
    value = value + values.sum(dtype=torch.float64)
    return Terms(value, gradient, label_sums(own, slopes.abs(), len(others)), others, batch.scale is not None)


def positive_terms(z: Tensor, exponent: Tensor | None, quality: Tensor | None) -> tuple[Tensor, Tensor]:
    """Value and derivative of the label's own term, elementwise."""
    p, rest = torch.sigmoid(z), torch.sigmoid(-z)
    if quality is None:
        loss = -logsigmoid(z)
        if exponent is None:
            return loss, -rest
        power = torch.exp(exponent * logsigmoid(-z))
        return power * loss, -power * (rest + exponent * p * loss)
    distance = quality * rest - (1 - quality) * p
    loss = quality * -logsigmoid(z) + (1 - quality) * -logsigmoid(-z)
    if exponent is None:
        return loss, -distance
    size = distance.abs().clamp(min=torch.finfo(z.dtype).tiny)
    power = size**exponent
    slope = exponent * (power / size) * distance.sign() * p * rest * loss
    return power * loss, -(slope + power * distance)


def bias_of(prior: float) -> float:
    """The bias with which the sigmoid of a logit is `prior`: -log((1 - prior) / prior)."""
    return -math.log((1 - prior) / prior)


def is_sigmoid(loss: Loss) -> bool:
    """The loss makes one binary decision per column, so that a bias can say how rare positives are."""
    return isinstance(loss, SigmoidLoss) or scores_are_sigmoid(loss)


def scores_are_sigmoid(loss: Loss) -> bool:
    """The loss has C columns, and its scores are their sigmoids."""
    if loss.columns != loss.num_classes:
        return False
    device = loss.statistics.positive.device
    logits = torch.linspace(-4, 4, 3 * loss.columns, device=device).reshape(3, loss.columns)
    return torch.allclose(loss.scores(logits), logits.sigmoid(), atol=1e-6)
