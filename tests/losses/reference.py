"""Slow, explicit references of the losses: loops over samples and classes in float64, gradients by autograd.

Written from the formulas alone, sharing nothing with eqbench: no vectorised sums, no closed-form gradients, no
rearranged logarithms. The losses themselves are in reference_sigmoid, reference_softmax and reference_groups.
Shapes: N samples, C foreground classes, K logit columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -1


@dataclass(frozen=True)
class Sample:
    """One sample: `z` are its K logits as 0-dim float64 tensors; `target` is its soft label, then `label` is unused."""

    index: int
    z: Sequence[Tensor]
    label: int
    quality: float
    target: Sequence[float] | None
    negatives: Sequence[bool] | None


class Reference:
    """Value, gradient and statistics of a loss, step by step; a subclass says what one sample's loss is.

        value = loss_weight / normalizer * sum_i w_i sample_loss(i),   over samples that are not ignored
        positive_j += |g_ij| if sample i has label j,   negative_j += |g_ij| otherwise

    with g the gradient of the value, or of the value without loss_weight / normalizer if not `normalized`.
    Totals cover every column; what a step computes depends on the steps before it alone.
    """

    normalized = True
    initial_ratio = 1.0
    clamped = False

    def __init__(self, num_classes: int, *, columns: int | None = None, loss_weight: float = 1.0) -> None:
        self.num_classes = num_classes
        self.columns = num_classes if columns is None else columns
        self.loss_weight = loss_weight
        self.positive = [0.0] * self.columns
        self.negative = [0.0] * self.columns
        self.samples = [0.0] * (num_classes + 1)  # per label, background last: weighted counts of earlier steps
        self.steps = 0
        self.background_column = num_classes  # whose positives are the samples of label C; it need not exist

    def sample_loss(self, sample: Sample) -> Tensor:
        raise NotImplementedError

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        raise NotImplementedError

    def default_normalizer(self, labels: Sequence[int]) -> float:
        return float(max(sum(label != IGNORED for label in labels), 1))

    def ratio(self, column: int) -> float:
        if self.positive[column] + self.negative[column] == 0:
            return self.initial_ratio
        ratio = self.positive[column] / (self.negative[column] + 1e-10)
        return min(ratio, 1.0) if self.clamped else ratio

    def step(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | None = None,
        quality: Tensor | None = None,
        negatives: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """Value and (N, K, ...) float64 gradient of one step, which is then added to the totals."""
        leaf = flat(logits.detach()).double().cpu().requires_grad_()
        soft = labels.is_floating_point()
        targets = flat(labels).tolist() if soft else [None] * len(leaf)
        names = [0] * len(leaf) if soft else labels.flatten().tolist()
        weights = [1.0] * len(leaf) if weight is None else weight.flatten().tolist()
        qualities = [1.0] * len(leaf) if quality is None else quality.flatten().tolist()
        allowed = [None] * len(leaf) if negatives is None else flat(negatives).tolist()
        total = torch.zeros((), dtype=torch.float64)
        for i, row in enumerate(leaf.unbind()):
            if names[i] != IGNORED:
                sample = Sample(i, row.unbind(), names[i], qualities[i], targets[i], allowed[i])
                total = total + weights[i] * self.sample_loss(sample)
        divisor = self.default_normalizer(names) if normalizer is None else normalizer
        scale = self.loss_weight / divisor
        gradient = torch.autograd.grad(total, leaf)[0] if total.requires_grad else torch.zeros_like(leaf)
        self._accumulate(gradient.tolist(), names, targets, weights, scale if self.normalized else 1.0)
        return scale * total.item(), unflat(scale * gradient, logits)

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) float64."""
        rows = [torch.stack(self.sample_scores(row.unbind())) for row in flat(logits.detach()).double().cpu().unbind()]
        return unflat(torch.stack(rows), logits)

    def _accumulate(
        self,
        gradient: Sequence[Sequence[float]],
        labels: Sequence[int],
        targets: Sequence[Sequence[float] | None],
        weights: Sequence[float],
        scale: float,
    ) -> None:
        for i, label in enumerate(labels):
            if label == IGNORED:
                continue
            target, own = targets[i], label if label < self.num_classes else self.background_column
            for j in range(self.columns):
                share = target[j] if target is not None else float(j == own)
                self.positive[j] += share * abs(scale * gradient[i][j])
                self.negative[j] += (1 - share) * abs(scale * gradient[i][j])
            self.samples[label] += weights[i]
        self.steps += any(label != IGNORED for label in labels)


def flat(tensor: Tensor) -> Tensor:
    """(N, K, ...) as (samples, K): each pixel is a sample."""
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1])


def unflat(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `flat`, with the columns of `rows` and otherwise the shape of `like`."""
    return rows.reshape(like.shape[0], *like.shape[2:], rows.shape[1]).movedim(-1, 1)


def sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def binary_cross_entropy(z: Tensor, target: float) -> Tensor:
    """-t log p - (1 - t) log(1 - p) with p = sigmoid(z)."""
    return target * torch.log1p(torch.exp(-z)) + (1 - target) * torch.log1p(torch.exp(z))


def softmax(z: Sequence[Tensor]) -> list[Tensor]:
    total = sum((torch.exp(each) for each in z), start=torch.zeros((), dtype=torch.float64))
    return [torch.exp(each) / total for each in z]


def cross_entropy(z: Sequence[Tensor], label: int, factors: Sequence[float | Tensor] | None = None) -> Tensor:
    """-log( e^{z_y} / (e^{z_y} + sum_{j != y} m_j e^{z_j}) ); m_j are the `factors`, 1 by default."""
    others = torch.zeros((), dtype=torch.float64)
    for j, each in enumerate(z):
        if j != label:
            others = others + (1.0 if factors is None else factors[j]) * torch.exp(each - z[label])
    return torch.log1p(others)


def class_balanced_weights(counts: Sequence[float], beta: float) -> list[float]:
    """Inverse effective numbers of samples (1 - beta) / (1 - beta^n), scaled to the sum C."""
    inverse = [(1 - beta) / (1 - beta ** max(n, 1)) for n in counts]
    return [len(inverse) * each / sum(inverse) for each in inverse]
