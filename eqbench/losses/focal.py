"""Focal loss: confident decisions weigh little."""

from __future__ import annotations

from eqbench.losses.arguments import check_alpha, check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["Focal"]


class Focal(SigmoidLoss):
    """Focal loss: confident decisions weigh little.

        L = loss_weight / normalizer * sum_i w_i sum_j -alpha_t (1 - p_t)^gamma log p_t

    with p_t = p and alpha_t = alpha for the label's column, p_t = 1 - p and alpha_t = 1 - alpha for the others. Lin
    et al., "Focal Loss for Dense Object Detection", ICCV 2017, divide by the number of positive anchors: pass that
    as `normalizer`.

    Args:
        num_classes: C.
        gamma: focusing exponent, >= 0.
        alpha: weight of positives, 0 to 1; None for no weights.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), C for background; see `Loss.forward`.
    Scores are sigmoid(z).

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("focal", num_classes=3)
    >>> logits, labels = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 3])
    >>> loss(logits, labels, normalizer=1).backward()
    >>> loss.commit()  # once per optimizer step
    >>> round(loss(logits, labels, normalizer=1).item(), 4)
    0.6931
    """

    def __init__(
        self,
        *,
        num_classes: int,
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        self.gamma = check_number("gamma", gamma, at_least=0)
        self.alpha = check_alpha("alpha", alpha)

    def terms(self, batch: Batch) -> Terms:
        ones = self.ones()
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        exponent = ones * self.gamma if self.gamma > 0 else None
        return sigmoid_terms(batch, negative=ones * negative, positive=ones * positive, exponent=exponent)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gamma={self.gamma}, alpha={self.alpha}"
