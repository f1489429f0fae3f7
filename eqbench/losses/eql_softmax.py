"""Softmax form of the equalization loss: rare classes are mostly left out of other classes' denominators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eqbench.losses.arguments import check_logits, check_number
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.class_counts import check_per_class
from eqbench.losses.softmax import softmax_terms

__all__ = ["EQLSoftmax"]


class EQLSoftmax(Loss):
    """EQL, softmax form: samples of other classes seldom push a rare class down.

        L = loss_weight / normalizer * sum_i w_i * -log( e^{z_y} / sum_k u_ik e^{z_k} )
        u_ik = 1 - beta_ik T_k (1 - y_ik),  T_k = 1 if f_k < lambda_ else 0

    with y one-hot, f_k the frequency of class k, and beta_ik drawn anew for each sample and class in each call: 1 with
    probability `keep_probability`, else 0. So a rare class is left out of the denominator of another class's sample
    with that probability. For `keep_probability` 0 it is plain cross entropy, for 1 nothing is random. Random
    numbers come from torch's global generator. Inference uses the logits as they are.

    After Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, section on image
    classification (there gamma stands for `keep_probability`), and lib/loss/loss_impl/equalization_loss.py of
    zhangyongshun/BagofTricks-LT, whose draw per sample and class is kept; the authors' own release,
    tztztztztz/eql.detectron2, has the sigmoid form only, `eql` here. Other ports draw once per batch.
    What is usual for `lambda_` differs by data set: 4.3e-4 on ImageNet-LT, 5e-3 on CIFAR-100-LT of imbalance 100.

    Args:
        num_classes: C.
        class_frequency: (C,) f, >= 0, of whatever `lambda_` is to be compared with.
        lambda_: classes of a lower frequency are rare; >= 0.
        keep_probability: probability that a rare class is left out, in [0, 1].
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W); see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("eql_softmax", num_classes=3, class_frequency=[0.9, 0.099, 0.001], keep_probability=1.0)
    >>> logits, labels = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 2])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> logits.grad[0].tolist()  # class 2 is left out
    [-0.25, 0.25, 0.0]
    """

    random = True
    class_frequency: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_frequency: Tensor | Sequence[float],
        lambda_: float = 1.77e-3,
        keep_probability: float = 0.9,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        frequency = check_per_class("class_frequency", class_frequency, num_classes)
        self.lambda_ = check_number("lambda_", lambda_, at_least=0)
        self.keep_probability = check_number("keep_probability", keep_probability, at_least=0, at_most=1)
        self.random = 0 < self.keep_probability < 1
        self.register_buffer("class_frequency", frequency, persistent=False)

    def terms(self, batch: Batch) -> Terms:
        return softmax_terms(batch, self.adjustment(batch))

    def adjustment(self, batch: Batch) -> Tensor | None:
        """(N, C, ...) log u: -inf where a class is left out, else 0; None if none ever is."""
        if self.keep_probability == 0:
            return None
        rare = self.class_frequency < self.lambda_
        left_out = rare.view(1, -1, *[1] * (batch.labels.dim() - 1)).expand(batch.logits.shape)
        if self.random:
            draws = torch.rand(batch.logits.shape, dtype=torch.float32, device=batch.logits.device)
            left_out = left_out & (draws < self.keep_probability)
        left_out = left_out.scatter(1, batch.labels.unsqueeze(1), False)
        nothing = torch.zeros((), dtype=batch.dtype, device=batch.logits.device)
        return nothing.expand(batch.logits.shape).masked_fill(left_out, -torch.inf)

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) softmax of the logits as they are."""
        check_logits(logits, self.columns)
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        return torch.softmax(logits, dim=1, dtype=dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, lambda_={self.lambda_}, keep_probability={self.keep_probability}"
