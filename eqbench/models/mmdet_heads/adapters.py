"""Our losses as mmdet's heads call them.

Shapes: N samples (regions, or places of one or all levels of a feature pyramid), K columns of logits, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eqbench.losses.base import Loss


class ClassificationLoss(nn.Module):
    """A loss in the place of a head's `loss_cls`; mmdet's contract for losses of one's own.

    mmdet divides some losses after it computed them (`divisor`), and a run with several workers or micro-batches
    multiplies them with the batch's share of the step. Both are in the `normalizer` that the loss is told, and taken
    out of its value again: so statistics are of the gradient as trained.

    Args:
        loss: computes value and scores.
        use_sigmoid: read by dense heads when they are built: they have C columns then, otherwise C + 1.
    """

    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True

    def __init__(self, loss: Loss, use_sigmoid: bool = True) -> None:
        super().__init__()
        self.loss = loss
        self.use_sigmoid = use_sigmoid
        self.share = 1.0
        """The value will be multiplied by this after the head returned it."""
        self.divisor: float | Tensor = 1.0
        """The head divides the value by this."""

    def get_cls_channels(self, num_classes: int) -> int:
        """Columns of logits that the head must have."""
        if num_classes != self.loss.num_classes:
            raise ValueError(f"num_classes: {num_classes}: expected the loss's {self.loss.num_classes}")
        return self.loss.columns

    def get_accuracy(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Nothing: mmdet would log it in each step."""
        return {}

    def forward(
        self,
        logits: Tensor,
        target: Tensor | tuple[Tensor, Tensor],
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        **_: Any,
    ) -> Tensor:
        """The loss, a scalar; with `reduction_override="none"` that of each sample, (N, 1), which counts nowhere.

        Args:
            logits: (N, K).
            target: labels (N,); or labels and qualities (N,); or qualities (N, C), 0 but for the label's.
            weight: (N,).
            avg_factor: what the sum is divided by; None for a sum.
        """
        labels, quality = self.targets(target)
        if reduction_override == "none":
            return self._each(logits, labels, weight, quality)
        scale = self.share / self.divisor
        value: Tensor = self.loss(
            self.logits(logits),
            labels,
            weight=weight,
            normalizer=(1.0 if avg_factor is None else avg_factor) / scale,
            quality=quality,
        )
        return value / scale

    def logits(self, given: Tensor) -> Tensor:
        """Logits from what the head calls scores."""
        return given

    def targets(self, target: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Labels, and quality for a loss that uses it."""
        if isinstance(target, tuple):
            labels, quality = target
        elif target.dim() == 2:
            quality, labels = target.max(1)
        else:
            return target, None
        return labels, quality.detach().clamp(0, 1) if self.loss.uses_quality else None

    @torch.no_grad()
    def _each(self, logits: Tensor, labels: Tensor, weight: Tensor | None, quality: Tensor | None) -> Tensor:
        # The loss sums over its samples, so each is a call of its own; without gradients none is recorded.
        values = [
            self.loss(
                logits[index],
                labels[index],
                weight=None if weight is None else weight[index],
                normalizer=1.0,
                quality=None if quality is None else quality[index],
            )
            for index in (slice(start, start + 1) for start in range(len(labels)))
        ]
        return torch.stack(values).unsqueeze(1) if values else logits.new_zeros(0, 1)


class RegionLoss(ClassificationLoss):
    """For heads of two-stage detectors."""

    def get_activation(self, logits: Tensor) -> Tensor:
        """(N, C + 1) scores; the last column, background, which is dropped, is 0."""
        scores = self.loss.scores(logits)
        return torch.cat((scores, scores.new_zeros(len(scores), 1)), 1)


class DenseLoss(ClassificationLoss):
    """For heads of one-stage detectors."""

    def get_activation(self, logits: Tensor) -> Tensor:
        """(N, C) scores."""
        return self.loss.scores(logits)


class ActivatedLoss(DenseLoss):
    """For a head whose scores are probabilities already (TOOD): their logits are what the loss takes."""

    def logits(self, given: Tensor) -> Tensor:
        """log(p / (1 - p)), p kept away from 0 and 1 by less than its own precision."""
        p = given.float().clamp(1e-12, 1 - 1e-6)
        return p.log() - (1 - p).log()
