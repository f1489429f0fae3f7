"""Logit adjustment: cross entropy of logits shifted by the logarithm of the class prior."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eqbench.losses.arguments import check_number
from eqbench.losses.class_counts import check_per_class
from eqbench.losses.cross_entropy import CrossEntropy

__all__ = ["LogitAdjustment"]


class LogitAdjustment(CrossEntropy):
    """Logit-adjusted cross entropy: a rare class must win by a margin that grows with its rarity.

        L = loss_weight / normalizer * sum_i w_i * -log( pi_y^tau e^{z_y} / sum_j pi_j^tau e^{z_j} )
        pi_j = max(n_j, 1) / sum_k max(n_k, 1)

    with n_j the training samples of class j. tau = 0 is plain cross entropy, tau = 1 consistent with the balanced
    error and the same as `balanced_softmax`. Inference uses the logits as they are.

    After utils.py (mode "loss") of google-research/google-research/logit_adjustment, the release of Menon et al.,
    "Long-tail Learning via Logit Adjustment", ICLR 2021. What differs: the release adds log(pi^tau + 1e-12); here
    instead a class without samples counts as if it had one. The paper's other form, subtracting the adjustment from
    the logits of a plainly trained model, needs no loss.

    Args:
        num_classes: C.
        class_counts: (C,) training samples per class, >= 0.
        tau: exponent of the prior, >= 0.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), or soft labels; see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("logit_adjustment", num_classes=2, class_counts=[80, 20], tau=0.5)
    >>> logits, labels = torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> [round(slope, 4) for slope in logits.grad[:, 0].tolist()]
    [-0.1667, 0.3333]
    """

    class_counts: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_counts: Tensor | Sequence[float],
        tau: float = 1.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        counts = check_per_class("class_counts", class_counts, num_classes)
        self.tau = check_number("tau", tau, at_least=0)
        self.register_buffer("class_counts", counts, persistent=False)

    def adjustment(self) -> Tensor:
        """(C,) tau * log pi, float64."""
        counts = self.class_counts.clamp(min=1)
        return self.tau * (counts / counts.sum()).log()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, tau={self.tau}"
