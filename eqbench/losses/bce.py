"""Binary cross entropy, one decision per class."""

from __future__ import annotations

from eqbench.losses.batch import Batch, Terms
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy(SigmoidLoss):
    """Binary cross entropy with sigmoid, summed over the classes: the baseline of the sigmoid losses.

        L = loss_weight / normalizer * sum_i w_i sum_j softplus(z_ij) - y_ij z_ij

    Summed over the classes, not averaged as torch's `binary_cross_entropy_with_logits` does by default. Background,
    label C, is all-zero targets.

    Args:
        num_classes: C.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W); see `Loss.forward`. Scores are sigmoid(z).

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("bce", num_classes=3)
    >>> logits, labels = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 3])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.statistics.positive.tolist(), loss.statistics.negative.tolist()
    ([0.25, 0.0, 0.0], [0.25, 0.5, 0.5])
    """

    def __init__(self, *, num_classes: int, loss_weight: float = 1.0, ignore_index: int = -1) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)

    def terms(self, batch: Batch) -> Terms:
        return sigmoid_terms(batch, negative=self.ones(), positive=self.ones())
