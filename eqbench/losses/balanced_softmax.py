"""Balanced softmax: cross entropy of logits shifted by the logarithm of the class counts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eqbench.losses.class_counts import check_per_class
from eqbench.losses.cross_entropy import CrossEntropy

__all__ = ["BalancedSoftmax"]


class BalancedSoftmax(CrossEntropy):
    """Balanced softmax: cross entropy in which a class competes in proportion to its number of samples.

        L = loss_weight / normalizer * sum_i w_i * -log( n_y e^{z_y} / sum_j n_j e^{z_j} )

    with n_j the training samples of class j, at least 1. It is the likelihood of a classifier that is trained
    where labels are as frequent as n and tested where all are equally frequent; inference uses the logits as they
    are. `logit_adjustment` with tau = 1 is the same loss.

    After loss/BalancedSoftmaxLoss.py of jiawei-ren/BalancedMetaSoftmax-Classification, the release of Ren et al.,
    "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020. What differs: the release takes the
    logarithm of 0 for a class without samples, which so never competes; here it counts as if it had one sample.
    The meta sampler of the paper is no part of the loss.

    Args:
        num_classes: C.
        class_counts: (C,) training samples per class, >= 0.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), or soft labels; see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("balanced_softmax", num_classes=2, class_counts=[90, 10])
    >>> logits, labels = torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> [round(slope, 4) for slope in logits.grad[:, 0].tolist()]  # equal logits train as 9 to 1
    [-0.05, 0.45]
    """

    class_counts: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_counts: Tensor | Sequence[float],
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        counts = check_per_class("class_counts", class_counts, num_classes)
        self.register_buffer("class_counts", counts, persistent=False)

    def adjustment(self) -> Tensor:
        """(C,) log max(n, 1), float64."""
        return self.class_counts.clamp(min=1).log()
