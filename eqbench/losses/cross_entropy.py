"""Softmax cross entropy, optionally of logits shifted per class; the plain one is the baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses.arguments import check_bool, check_logits
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.softmax import softmax_terms

__all__ = ["CrossEntropy"]


class CrossEntropy(Loss):
    """Softmax cross entropy, the baseline.

        L = loss_weight / normalizer * sum_i w_i * -log softmax(z_i)[y_i]

    Soft labels t_ij in place of labels: L_i = -sum_j t_ij log softmax(z_i)_j; a sample's |gradient| in column j counts
    as positive by t_ij and as negative by 1 - t_ij.

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

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("cross_entropy", num_classes=3)
    >>> logits, labels = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> round(loss(logits, labels).item(), 4), [round(ratio, 2) for ratio in loss.statistics.ratio.tolist()]
    (1.0986, [2.0, 2.0, 0.0])
    """

    soft_labels = True

    def __init__(
        self, *, num_classes: int, background: bool = False, loss_weight: float = 1.0, ignore_index: int = -1
    ) -> None:
        check_bool("background", background)
        super().__init__(
            num_classes=num_classes,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            extra_columns=int(background),
            background_label=background,
            track_background=background,
        )
        self.background = background

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

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, background={self.background}"
