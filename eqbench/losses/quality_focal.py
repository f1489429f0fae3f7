"""Quality focal loss: the label's target is the quality of its box."""

from __future__ import annotations

from eqbench.losses.arguments import check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["QualityFocal"]


class QualityFocal(SigmoidLoss):
    """Quality focal loss: the target of the label's column is the quality of its box.

        L = loss_weight / normalizer * sum_i w_i ( |q_i - p_iy|^beta BCE(z_iy, q_i)
                                                   + sum_{j != y} p_ij^beta BCE(z_ij, 0) )

    with BCE(z, t) = softplus(z) - t z; Li et al., "Generalized Focal Loss", NeurIPS 2020. The factor |q - p|^beta
    is differentiated too, as in the release. For the statistics the label's column is the positive one, whatever q
    is.

    Args:
        num_classes: C.
        beta: focusing exponent, >= 0.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), C for background, quality like labels, in
    [0, 1], of no effect for background; see `Loss.forward`. Scores are sigmoid(z).

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("quality_focal", num_classes=3)
    >>> logits, quality = torch.zeros(2, 3, requires_grad=True), torch.tensor([0.5, 0.0])
    >>> loss(logits, torch.tensor([0, 3]), quality=quality).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.statistics.positive.tolist()  # 0.5, the sigmoid of class 0, is its quality already
    [0.0, 0.0, 0.0]
    """

    uses_quality = True

    def __init__(
        self, *, num_classes: int, beta: float = 2.0, loss_weight: float = 1.0, ignore_index: int = -1
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        self.beta = check_number("beta", beta, at_least=0)

    def terms(self, batch: Batch) -> Terms:
        ones = self.ones()
        return sigmoid_terms(batch, negative=ones, positive=ones, exponent=ones * self.beta if self.beta > 0 else None)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, beta={self.beta}"
