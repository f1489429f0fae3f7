"""References of the losses that count samples: seesaw, and a softmax per group of classes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .reference import Reference, Sample, cross_entropy, softmax


class Seesaw(Reference):
    """Cross entropy with S_ij = M_{y_i j} C_ij in front of e^{z_j}, and of (object, background) with objectness."""

    def __init__(
        self,
        num_classes: int,
        *,
        p: float = 0.8,
        q: float = 2.0,
        eps: float = 1e-2,
        objectness: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(num_classes, columns=num_classes + 2 * objectness, **base)
        self.background_column = num_classes + 1
        self.p, self.q, self.eps, self.objectness = p, q, eps, objectness

    def sample_loss(self, sample: Sample) -> Tensor:
        foreground = sample.label < self.num_classes
        total = torch.zeros((), dtype=torch.float64)
        if foreground:
            total = total + self.class_loss(sample.z[: self.num_classes], sample.label)
        if self.objectness:
            total = total + cross_entropy(sample.z[self.num_classes :], 0 if foreground else 1)
        return total

    def class_loss(self, z: Sequence[Tensor], label: int) -> Tensor:
        sigma = [each.item() for each in softmax([each.detach() for each in z])]
        factors = []
        for j in range(self.num_classes):
            mitigation = min(1.0, (max(self.samples[j], 1.0) / max(self.samples[label], 1.0)) ** self.p)
            compensation = max(1.0, sigma[j] / max(sigma[label], self.eps)) ** self.q
            factors.append(mitigation * compensation)
        return cross_entropy(z, label, factors)

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        classes = softmax(z[: self.num_classes])
        if not self.objectness:
            return classes
        return [each * softmax(z[self.num_classes :])[0] for each in classes]


class GroupSoftmax(Reference):
    """A softmax per group of classes with similar counts; all other samples are positives of its "others" column."""

    def __init__(
        self,
        num_classes: int,
        *,
        class_counts: Sequence[float],
        boundaries: Sequence[float] = (10, 100, 1000),
        others_ratio: float = 8.0,
        background: bool = False,
        **base: Any,
    ) -> None:
        edges = [0, *boundaries, float("inf")]
        groups = [[j for j, n in enumerate(class_counts) if low <= n < high] for low, high in itertools.pairwise(edges)]
        self.groups = [group for group in groups if group]
        super().__init__(num_classes, columns=num_classes + len(self.groups) + 2 * background, **base)
        self.background_column = self.columns - 1
        self.others_ratio, self.background = others_ratio, background

    def others_weight(self, group: Sequence[int]) -> float:
        inside = sum(self.samples[j] for j in group)
        others = sum(self.samples) - inside
        return 1.0 if others == 0 else min(1.0, self.others_ratio * inside / others)

    def group_weight(self, group: Sequence[int]) -> float:
        """All samples over those that the group keeps, at least those of steps with one sample of it."""
        total, inside = sum(self.samples), sum(self.samples[j] for j in group)
        if total == 0:
            return 1.0
        kept = inside + self.others_weight(group) * (total - inside)
        return total / max(kept, min((1 + self.others_ratio) * self.steps, total))

    def sample_loss(self, sample: Sample) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for g, group in enumerate(self.groups):
            z = [sample.z[j] for j in [*group, self.num_classes + g]]
            if sample.label in group:
                total = total + self.group_weight(group) * cross_entropy(z, group.index(sample.label))
            else:
                factor = self.group_weight(group) * self.others_weight(group)
                total = total + factor * cross_entropy(z, len(group))
        if self.background:
            total = total + cross_entropy(sample.z[-2:], int(sample.label == self.num_classes))
        return total

    def sample_scores(self, z: Sequence[Tensor]) -> list[Tensor]:
        scores = [torch.zeros((), dtype=torch.float64)] * self.num_classes
        for g, group in enumerate(self.groups):
            inside = softmax([z[j] for j in [*group, self.num_classes + g]])
            for place, j in enumerate(group):
                scores[j] = inside[place] * (softmax(z[-2:])[0] if self.background else 1.0)
        return scores
