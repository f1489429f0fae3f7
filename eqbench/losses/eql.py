"""Equalization loss of 2020: samples of other classes do not push rare classes down."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eqbench.losses.arguments import check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.class_counts import check_per_class
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["EQL"]


class EQL(SigmoidLoss):
    """EQL, sigmoid form: samples of other classes do not push a rare class down, only background does.

        L = loss_weight / normalizer * sum_i w_i sum_j u_ij (softplus(z_ij) - y_ij z_ij)
        u_ij = 1 - E_i T_j (1 - y_ij),   T_j = 1 if f_j < lambda_ else 0

    with E_i = 1 for samples of a foreground class and 0 for background: background pushes all classes down, other
    classes spare those rarer than `lambda_`. Nothing is accumulated that the weights would depend on.

    After tztztztztz/eql.detectron2 (projects/EQL/eql/fast_rcnn.py), the release of Tan et al., "Equalization Loss
    for Long-Tailed Object Recognition", CVPR 2020, which agrees with the paper. It divides by the number of sampled
    RoIs, which is the default `normalizer`: the samples not ignored; the release has no ignored ones. In detection
    f_j is the number of training images with class j over the number of annotated images; lambda_ is 1.77e-3 for
    LVIS v0.5, 1.1e-3 in the release's configuration for v1. For OpenImages the release compares 1652 with instance
    counts: pass counts as `class_frequency` there.

    Args:
        num_classes: C.
        class_frequency: (C,), f, >= 0. In a suite the data set gives it.
        lambda_: classes of a lower frequency are spared, >= 0.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), C for background; see `Loss.forward`.
    Scores are sigmoid(z).

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("eql", num_classes=3, class_frequency=[0.9, 0.1, 0.001])
    >>> logits, labels = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 3])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.statistics.negative.tolist()  # of class 2 from background alone
    [0.25, 0.5, 0.25]
    """

    rare: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_frequency: Tensor | Sequence[float],
        lambda_: float = 1.77e-3,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        self.lambda_ = check_number("lambda_", lambda_, at_least=0)
        frequency = check_per_class("class_frequency", class_frequency, num_classes)
        self.register_buffer("rare", frequency < self.lambda_, persistent=False)

    def terms(self, batch: Batch) -> Terms:
        foreground = (batch.labels < self.num_classes).unsqueeze(1)
        rare = self.rare.view(-1, *[1] * (batch.logits.dim() - 2))
        weights = torch.where(foreground & rare, 0.0, 1.0).to(batch.dtype)
        return sigmoid_terms(batch, negative=weights, positive=self.ones())

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, lambda_={self.lambda_}, rare={int(self.rare.sum())}"
