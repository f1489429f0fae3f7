"""References of the losses over one softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .reference import IGNORED, Reference, Sample, class_balanced_weights, cross_entropy, softmax


class SoftmaxReference(Reference):
    """Cross entropy with a factor m_yj in front of each e^{z_j}, m_yy = 1; soft labels mix the labels' losses.

        L = -sum_y t_y log( e^{z_y} / (e^{z_y} + sum_{j != y} m_yj e^{z_j}) )

    For m_yj = a_j / a_y this is cross entropy of z_j + log a_j.
    """

    def factor(self, label: int, j: int) -> float:
        return 1.0

    def sample_loss(self, sample: Sample) -> Tensor:
        if sample.target is None:
            return self.label_loss(sample.z, sample.label)
        total = torch.zeros((), dtype=torch.float64)
        for label, share in enumerate(sample.target):
            total = total + share * self.label_loss(sample.z, label)
        return total

    def label_loss(self, z: Sequence[Tensor], label: int) -> Tensor:
        return cross_entropy(z, label, [self.factor(label, j) for j in range(self.columns)])

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        return softmax(z)[: self.num_classes]


class CrossEntropy(SoftmaxReference):
    def __init__(self, num_classes: int, *, background: bool = False, **base: Any) -> None:
        super().__init__(num_classes, columns=num_classes + background, **base)


class SoftmaxEQL(SoftmaxReference):
    """m_yj = (max(I_j, eps) / max(I_y, eps))^tau with I the |gradient| received so far."""

    def __init__(
        self,
        num_classes: int,
        *,
        tau: float = 1.0,
        eps: float = 1e-4,
        indicator: str = "positive",
        background: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, columns=num_classes + background, **base)
        self.tau, self.eps, self.indicator = tau, eps, indicator

    def received(self, j: int) -> float:
        received = {
            "positive": self.positive[j],
            "negative": self.negative[j],
            "both": self.positive[j] + self.negative[j],
        }
        return max(received[self.indicator], self.eps)

    def factor(self, label: int, j: int) -> float:
        return (self.received(j) / self.received(label)) ** self.tau


class EQLSoftmax(SoftmaxReference):
    """u_k leaves rare classes out of the sum, each with probability keep_probability.

    `masked`, (N, K) lists of bool, is what the loss drew (u_k = 0); None is right for the probabilities 0 and 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        class_frequency: Sequence[float],
        lambda_: float = 1.77e-3,
        keep_probability: float = 0.9,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, **base)
        self.rare = [frequency < lambda_ for frequency in class_frequency]
        self.keep_probability = keep_probability
        self.masked: Sequence[Sequence[bool]] | None = None

    def sample_loss(self, sample: Sample) -> Tensor:
        factors = []
        for k in range(self.columns):
            drawn = self.keep_probability == 1 if self.masked is None else self.masked[sample.index][k]
            factors.append(1.0 - float(drawn and self.rare[k] and k != sample.label))
        return cross_entropy(sample.z, sample.label, factors)


class BalancedSoftmax(SoftmaxReference):
    def __init__(self, num_classes: int, *, class_counts: Sequence[float], **base: Any) -> None:
        super().__init__(num_classes, **base)
        self.counts = [max(n, 1) for n in class_counts]

    def factor(self, label: int, j: int) -> float:
        return self.counts[j] / self.counts[label]


class LogitAdjustment(SoftmaxReference):
    def __init__(self, num_classes: int, *, class_counts: Sequence[float], tau: float = 1.0, **base: Any) -> None:
        super().__init__(num_classes, **base)
        counts = [max(n, 1) for n in class_counts]
        self.log_prior = [math.log(n / sum(counts)) for n in counts]
        self.tau = tau

    def factor(self, label: int, j: int) -> float:
        return math.exp(self.tau * self.log_prior[j] - self.tau * self.log_prior[label])


class LDAM(SoftmaxReference):
    """Cross entropy of scale * z with the margin m_y taken off the label's; weighted once `deferred_steps` are over."""

    def __init__(
        self,
        num_classes: int,
        *,
        class_counts: Sequence[float],
        max_margin: float = 0.5,
        scale: float = 30.0,
        deferred_steps: int | None = None,
        beta: float = 0.9999,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, **base)
        counts = [max(n, 1) for n in class_counts]
        self.margins = [max_margin * (min(counts) / n) ** 0.25 for n in counts]
        weights = class_balanced_weights(counts, beta)
        mean = sum(n * weight for n, weight in zip(counts, weights, strict=True)) / sum(counts)
        self.weights = [weight / mean for weight in weights]
        self.scale, self.deferred_steps = scale, deferred_steps

    @property
    def reweighting(self) -> bool:
        return self.deferred_steps is not None and self.steps >= self.deferred_steps

    def label_loss(self, z: Sequence[Tensor], label: int) -> Tensor:
        scaled = [self.scale * (each - (self.margins[j] if j == label else 0.0)) for j, each in enumerate(z)]
        return (self.weights[label] if self.reweighting else 1.0) * cross_entropy(scaled, label)

    def default_normalizer(self, labels: Sequence[int]) -> float:
        seen = [label for label in labels if label != IGNORED]
        if self.reweighting and seen:
            return sum(self.weights[label] for label in seen)
        return super().default_normalizer(labels)

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        return softmax([self.scale * each for each in z])
