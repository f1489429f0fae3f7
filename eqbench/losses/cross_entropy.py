"""Softmax cross entropy, optionally of logits shifted per class; the plain one is the baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses.arguments import check_logits
from eqbench.losses.base import Batch, Loss, Terms

__all__ = ["CrossEntropy", "softmax_terms"]


class CrossEntropy(Loss):
    """Softmax cross entropy, the baseline.

        L = loss_weight / normalizer * sum_i w_i * -log softmax(z_i)[y_i]

    Gradient statistics are those of what is trained, (softmax(z) - y) * w * loss_weight / normalizer; nothing
    depends on them here.

    Args:
        num_classes: C.
        background: the logits have C + 1 columns, the last for background, label C. Statistics and scores are of
            the C foreground classes; what the background column receives is in `statistics.background`.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, K) or (N, K, H, W) with K = C or C + 1, labels (N,) or (N, H, W); see `Loss.forward`.

    >>> loss = CrossEntropy(num_classes=3)
    >>> logits = torch.zeros(2, 3, requires_grad=True)
    >>> value = loss(logits, torch.tensor([0, 1]))
    >>> value.backward()
    >>> loss.commit()
    >>> round(value.item(), 4), [round(r, 2) for r in loss.statistics.ratio.tolist()]
    (1.0986, [2.0, 2.0, 0.0])
    """

    def __init__(
        self, *, num_classes: int, background: bool = False, loss_weight: float = 1.0, ignore_index: int = -1
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            extra_columns=int(background),
            background_label=background,
            track_background=background,
        )

    def adjustment(self) -> Tensor | None:
        """(K,) what training adds to the logits of each column; None for nothing."""
        return None

    def terms(self, batch: Batch) -> Terms:
        return softmax_terms(batch, self.adjustment())

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) softmax of the logits as they are, background left out."""
        check_logits(logits, self.columns)
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        return torch.softmax(logits, dim=1, dtype=dtype)[:, : self.num_classes]


def softmax_terms(batch: Batch, adjustment: Tensor | None = None) -> Terms:
    """Cross entropy of softmax(logits + adjustment), its gradient softmax - y, and sums of |gradient| per column.

    One (N, K, ...) buffer is log-probabilities, probabilities and gradient in turn.
    """
    logits, column = batch.logits, batch.labels.unsqueeze(1)
    columns = logits.shape[1]
    if adjustment is not None:
        logits = logits + adjustment.to(batch.dtype).view(columns, *[1] * (logits.dim() - 2))
    log_probability = torch.log_softmax(logits, dim=1, dtype=batch.dtype)
    label_loss = -log_probability.gather(1, column)
    gradient = log_probability.exp_().scatter_(1, column, 0.0)
    if batch.ignored is not None:
        gradient.masked_fill_(batch.ignored.unsqueeze(1), 0.0)
    # 1 - p_y as the sum of the others: exact also where p_y rounds to 1. It is 0 for an ignored sample.
    remainder = gradient.sum(dim=1, keepdim=True)
    losses = torch.where(remainder < 0.5, -torch.log1p(-remainder), label_loss)
    if batch.weight is not None:
        weight = batch.weight.unsqueeze(1)
        gradient *= weight
        remainder = remainder * weight
        losses = losses * weight
    negative = gradient.sum(dim=[dim for dim in range(gradient.dim()) if dim != 1])
    positive = torch.zeros(columns, dtype=torch.float64, device=logits.device)
    positive.index_add_(0, batch.labels.flatten(), remainder.flatten().double())
    gradient.scatter_(1, column, -remainder)
    return Terms(losses.sum(), gradient, positive, negative)
