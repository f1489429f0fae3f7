"""The losses as one writes them down: one-hot targets, autograd, statistics from the logits' gradient.

This is how the official releases do it. Each has `forward`, the value, and `collect`, to be called after backward
with the gradient that arrived at the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tests.benchmarks.loss_settings import IGNORED, Inputs


def one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, K) of the logits' dtype; a label beyond the columns, background, is a row of zeros."""
    target = torch.zeros_like(logits)
    foreground = (labels < logits.shape[1]).nonzero().squeeze(1)
    target[foreground, labels[foreground]] = 1
    return target


class Eager:
    """Accumulated |gradient| per column, of the column's samples and of the others; ratio limited to [0, 1]."""

    def __init__(self, columns: int, device: torch.device) -> None:
        self.positive = torch.zeros(columns, device=device)
        self.negative = torch.zeros(columns, device=device)
        self.ratio = torch.ones(columns, device=device)

    def forward(self, inputs: Inputs) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def collect(self, inputs: Inputs) -> None:
        logits = inputs.logits
        assert logits.grad is not None
        gradient = logits.grad.float().abs()
        target = self.target(inputs).to(gradient.dtype)
        others = [dim for dim in range(logits.dim()) if dim != 1]
        self.positive += (gradient * target).sum(dim=others)
        self.negative += (gradient * (1 - target)).sum(dim=others)
        self.ratio = (self.positive / (self.negative + 1e-10)).clamp(0, 1)

    def target(self, inputs: Inputs) -> Tensor:
        return one_hot(inputs.logits, inputs.labels)


class EagerBCE(Eager):
    def forward(self, inputs: Inputs) -> Tensor:
        logits = inputs.logits.float()
        target = one_hot(logits, inputs.labels)
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)


class EagerFocal(Eager):
    """gamma_j is the same for every class; `EagerEFL` lets it grow."""

    focal_gamma = 2.0
    alpha = 0.25

    def forward(self, inputs: Inputs) -> Tensor:
        logits = inputs.logits.float()
        target = one_hot(logits, inputs.labels)
        p = logits.sigmoid()
        p_t = p * target + (1 - p) * (1 - target)
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)
        return (self.weigh(cross_entropy, 1 - p_t) * alpha_t).sum() / len(logits)

    def weigh(self, cross_entropy: Tensor, error: Tensor) -> Tensor:
        return cross_entropy * error**self.focal_gamma


class EagerQualityFocal(EagerFocal):
    """The column of the label is trained towards the quality."""

    def forward(self, inputs: Inputs) -> Tensor:
        logits = inputs.logits.float()
        assert inputs.quality is not None
        target = one_hot(logits, inputs.labels) * inputs.quality[:, None]
        error = (logits.sigmoid() - target).abs()
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return self.weigh(cross_entropy, error).sum() / len(logits)


class _Equalized:
    """gamma_j = gamma + scale (1 - ratio_j), and the loss of a class times gamma_j / gamma."""

    focal_gamma: float
    ratio: Tensor
    scale_factor = 8.0

    def weigh(self, cross_entropy: Tensor, error: Tensor) -> Tensor:
        gamma = self.focal_gamma + self.scale_factor * (1 - self.ratio)
        return cross_entropy * error**gamma * (gamma / self.focal_gamma)


class EagerEFL(_Equalized, EagerFocal):
    pass


class EagerEQFL(_Equalized, EagerQualityFocal):
    pass


class EagerSoftmaxEQL(Eager):
    """Cross entropy of the logits plus log of what each column has received as positive."""

    eps = 1e-4

    def forward(self, inputs: Inputs) -> Tensor:
        prior = self.positive.clamp(min=self.eps).log()
        shape = [1, -1] + [1] * (inputs.logits.dim() - 2)
        return functional.cross_entropy(inputs.logits.float() + prior.view(shape), inputs.labels, ignore_index=IGNORED)

    def target(self, inputs: Inputs) -> Tensor:
        columns = inputs.logits.shape[1]
        labels = inputs.labels.where(inputs.labels != IGNORED, 0)  # their gradient is 0
        return functional.one_hot(labels, columns).movedim(-1, 1)


SPELLINGS = {
    "bce": EagerBCE,
    "focal": EagerFocal,
    "quality_focal": EagerQualityFocal,
    "efl": EagerEFL,
    "eqfl": EagerEQFL,
    "softmax_eql": EagerSoftmaxEQL,
}
