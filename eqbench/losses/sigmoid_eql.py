"""Sigmoid equalization loss (EQL v2): classes whose positives were outweighed so far are pushed down less."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses.arguments import check_bool, check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["SigmoidEQL"]


class SigmoidEQL(SigmoidLoss):
    """Sigmoid-EQL (EQL v2): binary cross entropy with weights from accumulated gradients.

        L = loss_weight / normalizer * sum_i w_i sum_j ( y_ij w+_j + (1 - y_ij) w-_j ) BCE(z_ij, y_ij)
        w-_j = f(g_j),   w+_j = 1 + alpha (1 - f(g_j)),   f(x) = 1 / (1 + exp(-gamma (x - mu)))

    with BCE(z, t) = softplus(z) - t z and g_j = G+_j / (G-_j + 1e-10), the ratio of the gradients that class j
    received as a positive and as a negative in the steps before this one; 100 before any, where every weight is 1.
    g = 0 gives w- = 6.772e-5 and w+ = 4.99973; g = 1, a balanced class, 0.916827 and 1.332691.

    `objectness=True` is the form for two-stage detectors: one more column, whose positives are the samples of
    background, label C, and whose weights are 1. It has no statistics; scores are sigmoid(z_j) (1 - sigmoid(z_C)).

    After tztztztztz/eqlv2 (mmdet/models/losses/eqlv2.py) of Tan et al., "Equalization Loss v2", CVPR 2021; the TPAMI
    paper "The Equalization Losses" calls it Sigmoid-EQL. As there:

    - what is accumulated is |sigmoid(z) - y| times the weights, neither divided by the normalizer nor times
      `loss_weight`, and added, not averaged, over processes;
    - the ratio is not clamped, and background counts as a negative of every class;
    - the default normalizer is the number of samples (not ignored; the release has no ignored ones).

    mmdet's EQLV2Loss has the same formula, but keeps statistics per process by default and changes them in eval mode.

    Args:
        num_classes: C.
        gamma: slope of f, >= 0.
        mu: ratio at which f is 1/2.
        alpha: how much more the positives of a class of ratio 0 weigh, >= 0.
        objectness: the logits have C + 1 columns, the last for background.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, K) or (N, K, H, W) with K = C + 1 or C, labels (N,) or (N, H, W), C for background.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("sigmoid_eql", num_classes=2)
    >>> logits, labels = torch.zeros(4, 3, requires_grad=True), torch.tensor([0, 0, 0, 2])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.statistics.positive.tolist(), loss.statistics.negative.tolist()
    ([1.5, 0.0], [0.5, 2.0])
    """

    normalized = False
    initial_ratio = 100.0

    def __init__(
        self,
        *,
        num_classes: int,
        gamma: float = 12.0,
        mu: float = 0.8,
        alpha: float = 4.0,
        objectness: bool = True,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        check_bool("objectness", objectness)
        super().__init__(
            num_classes=num_classes,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            extra_columns=int(objectness),
        )
        self.gamma = check_number("gamma", gamma, at_least=0)
        self.mu = check_number("mu", mu)
        self.alpha = check_number("alpha", alpha, at_least=0)
        self.objectness = objectness

    def terms(self, batch: Batch) -> Terms:
        negative = torch.sigmoid(self.gamma * (self.statistics.ratio - self.mu))
        negative = torch.cat([negative, negative.new_ones(self.columns - self.num_classes)])
        terms = sigmoid_terms(batch, negative=negative, positive=1 + self.alpha * (1 - negative))
        tracked = slice(self.num_classes)
        return terms._replace(positive=terms.positive[tracked], negative=terms.negative[tracked])

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) sigmoid of the logits, times 1 - sigmoid of the objectness column."""
        scores = super().scores(logits)
        if not self.objectness:
            return scores
        return scores[:, :-1] * (1 - scores[:, -1:])

    def extra_repr(self) -> str:
        own = f"gamma={self.gamma}, mu={self.mu}, alpha={self.alpha}, objectness={self.objectness}"
        return f"{super().extra_repr()}, {own}"
