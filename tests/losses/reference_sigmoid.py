"""References of the losses over sigmoids: one binary decision per column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .reference import Reference, Sample, binary_cross_entropy, class_balanced_weights, cross_entropy, sigmoid, softmax


class SigmoidReference(Reference):
    """A sum over the columns; label C, background, is a positive of no column."""

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        raise NotImplementedError

    def sample_loss(self, sample: Sample) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for j in range(self.columns):
            total = total + self.column_loss(sample, j)
        return total

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        return [sigmoid(z[j]) for j in range(self.num_classes)]


class BinaryCrossEntropy(SigmoidReference):
    def column_loss(self, sample: Sample, j: int) -> Tensor:
        return binary_cross_entropy(sample.z[j], float(j == sample.label))


class Focal(SigmoidReference):
    """alpha_t (1 - p_t)^gamma (-log p_t)."""

    def __init__(self, num_classes: int, *, gamma: float = 2.0, alpha: float | None = 0.25, **base: Any) -> None:
        super().__init__(num_classes, **base)
        self.gamma, self.alpha = gamma, alpha

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        return focal(sample.z[j], j == sample.label, self.gamma, self.alpha)


class QualityFocal(SigmoidReference):
    def __init__(self, num_classes: int, *, beta: float = 2.0, **base: Any) -> None:
        super().__init__(num_classes, **base)
        self.beta = beta

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        return quality_focal(sample.z[j], sample.quality if j == sample.label else 0.0, self.beta)


class EQL(SigmoidReference):
    """Negatives of rare classes are left out where the sample is foreground."""

    def __init__(
        self, num_classes: int, *, class_frequency: Sequence[float], lambda_: float = 1.77e-3, **base: Any
    ) -> None:
        super().__init__(num_classes, **base)
        self.rare = [frequency < lambda_ for frequency in class_frequency]

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        foreground = sample.label < self.num_classes
        if foreground and self.rare[j] and j != sample.label:
            return torch.zeros((), dtype=torch.float64)
        return binary_cross_entropy(sample.z[j], float(j == sample.label))


class SigmoidEQL(SigmoidReference):
    """Weights from the ratio of the sums of weighted |p - y|; the objectness column is positive for background."""

    normalized = False
    initial_ratio = 100.0

    def __init__(
        self,
        num_classes: int,
        *,
        gamma: float = 12.0,
        mu: float = 0.8,
        alpha: float = 4.0,
        objectness: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, columns=num_classes + objectness, **base)
        self.gamma, self.mu, self.alpha = gamma, mu, alpha

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        is_class, is_label = j < self.num_classes, j == sample.label
        f = 1 / (1 + math.exp(-self.gamma * (self.ratio(j) - self.mu))) if is_class else 1.0
        factor = 1 + self.alpha * (1 - f) if is_label else f
        return factor * binary_cross_entropy(sample.z[j], float(is_label))

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        foreground = 1 - sigmoid(z[-1]) if self.columns > self.num_classes else 1.0
        return [sigmoid(z[j]) * foreground for j in range(self.num_classes)]


class EFL(SigmoidReference):
    clamped = True

    def __init__(
        self,
        num_classes: int,
        *,
        focal_gamma: float = 2.0,
        focal_alpha: float | None = 0.25,
        scale_factor: float = 8.0,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, **base)
        self.focal_gamma, self.focal_alpha, self.scale_factor = focal_gamma, focal_alpha, scale_factor

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        gamma = self.focal_gamma + self.scale_factor * (1 - self.ratio(j))
        return gamma / self.focal_gamma * focal(sample.z[j], j == sample.label, gamma, self.focal_alpha)


class EQFL(SigmoidReference):
    clamped = True

    def __init__(self, num_classes: int, *, focal_gamma: float = 2.0, scale_factor: float = 8.0, **base: Any) -> None:
        super().__init__(num_classes, **base)
        self.focal_gamma, self.scale_factor = focal_gamma, scale_factor

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        gamma = self.focal_gamma + self.scale_factor * (1 - self.ratio(j))
        quality = sample.quality if j == sample.label else 0.0
        return gamma / self.focal_gamma * quality_focal(sample.z[j], quality, gamma)


class Federated(SigmoidReference):
    """Binary cross entropy over the columns in `subset`, or over the label and the sample's `negatives`.

    `subset` is what the loss drew; None stands for all columns (num_sampled >= C).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        class_frequency: Sequence[float],
        num_sampled: int = 50,
        power: float = 0.5,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, **base)
        self.num_sampled = num_sampled
        self.subset: set[int] | None = None

    def column_loss(self, sample: Sample, j: int) -> Tensor:
        if sample.negatives is not None:
            counts = j == sample.label or sample.negatives[j]
        else:
            counts = self.subset is None or j in self.subset
        return float(counts) * binary_cross_entropy(sample.z[j], float(j == sample.label))


class ClassBalanced(Reference):
    """A loss weighted per sample by the inverse effective number of its class."""

    def __init__(
        self,
        num_classes: int,
        *,
        class_counts: Sequence[float],
        beta: float = 0.9999,
        form: str = "softmax",
        gamma: float = 2.0,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, **base)
        self.weights = class_balanced_weights(class_counts, beta)
        self.form, self.gamma = form, gamma

    def sample_loss(self, sample: Sample) -> Tensor:
        if self.form == "softmax":
            return self.weights[sample.label] * cross_entropy(sample.z, sample.label)
        total = torch.zeros((), dtype=torch.float64)
        for j in range(self.columns):
            gamma = self.gamma if self.form == "focal" else 0.0
            total = total + focal(sample.z[j], j == sample.label, gamma, None)
        return self.weights[sample.label] * total

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        return softmax(z) if self.form == "softmax" else [sigmoid(each) for each in z]


def focal(z: Tensor, is_label: bool, gamma: float, alpha: float | None) -> Tensor:
    p_t = sigmoid(z) if is_label else sigmoid(-z)
    complement = sigmoid(-z) if is_label else sigmoid(z)
    alpha_t = 1.0 if alpha is None else alpha if is_label else 1 - alpha
    return -alpha_t * complement**gamma * torch.log(p_t)


def quality_focal(z: Tensor, quality: float, beta: float) -> Tensor:
    """|q - p|^beta times the binary cross entropy to the soft target q; q = 0 for a negative."""
    return (quality - sigmoid(z)).abs() ** beta * binary_cross_entropy(z, quality)
