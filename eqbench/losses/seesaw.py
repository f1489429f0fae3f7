"""Seesaw loss: a rare class is punished less by samples of frequent ones, and more where it is mistaken for them."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses import fused
from eqbench.losses.arguments import check_bool, check_logits, check_number
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.columns import as_columns, label_sums
from eqbench.losses.fused.memory import empty_gradient

__all__ = ["Seesaw"]


class Seesaw(Loss):
    """Seesaw loss: frequent classes push rare ones down less, unless a rare one is mistaken for the label.

        L = loss_weight / normalizer * sum_i w_i -log( e^{z_y} / (e^{z_y} + sum_{j != y} S_ij e^{z_j}) )
        S_ij = M_yj C_ij,   M_yj = min(1, (N_j / N_y)^p),   C_ij = max(1, s_ij / max(s_iy, eps))^q

    with s = softmax(z), whose factors count as constants in the gradient, and N_j >= 1 the samples of class j seen in
    the steps before this one, by weight (`statistics.samples`). M is the mitigation factor, C the compensation factor.

    `objectness=True` is the form for two-stage detectors: two more columns, object and background. L is of the
    foreground samples over the first C columns, plus cross entropy of object against background of all samples.
    Scores are softmax(z_1..C) times the softmax of the last two.

    After SeesawLoss of open-mmlab/mmdetection, the release of Wang et al., "Seesaw Loss for Long-Tailed Instance
    Segmentation", CVPR 2021. What differs: N counts the steps before this one,
    over all processes; the release counts the current batch too, each process its own. It returns two losses, of
    which this is the sum.

    Args:
        num_classes: C.
        p: exponent of the mitigation factor, >= 0.
        q: exponent of the compensation factor, >= 0.
        eps: lower limit of the label's share s_iy in the compensation factor, > 0.
        objectness: the logits have C + 2 columns, and label C is background.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, K) or (N, K, H, W) with K = C or C + 2, labels (N,) or (N, H, W); see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("seesaw", num_classes=2)
    >>> logits, labels = torch.zeros(4, 2, requires_grad=True), torch.tensor([0, 0, 0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.statistics.samples.tolist(), round(loss(logits, labels).item(), 4)
    ([3.0, 1.0], 0.4338)
    """

    frozen_factors = True

    def __init__(
        self,
        *,
        num_classes: int,
        p: float = 0.8,
        q: float = 2.0,
        eps: float = 1e-2,
        objectness: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        check_bool("objectness", objectness)
        super().__init__(
            num_classes=num_classes,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            extra_columns=2 * objectness,
            background_label=objectness,
            track_samples=True,
        )
        self.p = check_number("p", p, at_least=0)
        self.q = check_number("q", q, at_least=0)
        self.eps = check_number("eps", eps, above=0)
        self.objectness = objectness

    def terms(self, batch: Batch) -> Terms:
        logits, classes = as_columns(batch.logits, batch.logits), slice(self.num_classes)
        labels, weight = batch.labels.reshape(logits.shape[0], logits.shape[2]), batch.sample_weight
        weight = None if weight is None else weight.reshape(labels.shape)
        gradient = empty_gradient(batch.logits)
        target = as_columns(gradient, batch.logits)
        assert self.statistics.samples is not None
        log_counts = self.p * self.statistics.samples[classes].clamp(min=1).log()
        background = labels == self.num_classes
        ones = torch.ones_like(labels, dtype=batch.dtype)
        of_classes = (ones if weight is None else weight).masked_fill(background, 0.0) if self.objectness else weight
        own = labels.clamp(max=self.num_classes - 1)
        value, remainder, negative = fused.seesaw_sums(
            logits[:, classes], own, of_classes, log_counts, self.q, self.eps, batch.scale, target[:, classes]
        )
        if self.objectness:
            last = slice(self.num_classes, None)
            value += fused.softmax_sums(
                logits[:, last], background.long(), weight, None, None, 1.0, batch.scale, target[:, last]
            )[0]
        return Terms(value, gradient, label_sums(own, remainder, len(negative)), negative, batch.scale is not None)

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) softmax of the class columns, times the share of object if there is that column."""
        check_logits(logits, self.columns)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        scores = logits[:, : self.num_classes].softmax(1)
        return scores * logits[:, self.num_classes :].softmax(1)[:, :1] if self.objectness else scores

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}, q={self.q}, eps={self.eps}, objectness={self.objectness}"
