"""Slow, explicit loops in Python floats: softmax losses and their gradient statistics, straight from the formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class SoftmaxReference:
    """Cross entropy with m_yj in front of e^{z_j}, one sample and one column at a time.

        L = loss_weight / normalizer * sum_i w_i * -log( e^{z_y} / sum_j m_yj e^{z_j} ),   m_yy = 1
        m_yj = (max(I_j, eps) / max(I_y, eps))^tau

    tau = 0 is plain cross entropy. Totals cover every column, background too.
    """

    columns: int
    tau: float = 0.0
    eps: float = 1e-4
    indicator: str = "positive"
    loss_weight: float = 1.0
    positive: list[float] = field(default_factory=list)
    negative: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.positive = [0.0] * self.columns
        self.negative = [0.0] * self.columns

    def received(self, column: int) -> float:
        choices = {
            "positive": self.positive[column],
            "negative": self.negative[column],
            "both": self.positive[column] + self.negative[column],
        }
        return max(choices[self.indicator], self.eps)

    def step(
        self,
        logits: Sequence[Sequence[float]],
        labels: Sequence[int],
        weights: Sequence[float] | None = None,
        normalizer: float | None = None,
    ) -> tuple[float, list[list[float]]]:
        """Value and gradient of one step; its |gradient| is added to the totals afterwards."""
        weights = weights or [1.0] * len(labels)
        normalizer = normalizer or sum(label >= 0 for label in labels)
        value, gradients = 0.0, []
        for row, label, weight in zip(logits, labels, weights, strict=True):
            gradient = [0.0] * self.columns
            if label >= 0:
                scale = weight * self.loss_weight / normalizer
                terms = []
                for column in range(self.columns):
                    factor = (self.received(column) / self.received(label)) ** self.tau
                    terms.append((1.0 if column == label else factor) * math.exp(row[column]))
                value += scale * -math.log(terms[label] / math.fsum(terms))
                for column in range(self.columns):
                    others = math.fsum(terms) - terms[label] if column == label else terms[column]
                    gradient[column] = (-1 if column == label else 1) * scale * others / math.fsum(terms)
            gradients.append(gradient)
        for gradient, label in zip(gradients, labels, strict=True):
            for column in range(self.columns):
                side = self.positive if column == label else self.negative
                side[column] += abs(gradient[column])
        return value, gradients
