"""Softmax equalization loss: each class's logit is shifted by the gradient it has received so far."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from eqbench.losses.arguments import check_choice, check_number
from eqbench.losses.cross_entropy import CrossEntropy

__all__ = ["SoftmaxEQL"]

Indicator = Literal["positive", "negative", "both"]


class SoftmaxEQL(CrossEntropy):
    """Softmax-EQL: cross entropy in which classes compete in proportion to the gradient they have received.

    With I_j the |gradient| that class j accumulated in the steps before this one,

        L = loss_weight / normalizer * sum_i -log( e^{z_y} / (e^{z_y} + sum_{j != y} m_yj e^{z_j}) )
        m_yj = (max(I_j, eps) / max(I_y, eps))^tau

    It is computed as cross entropy of z'_j = z_j + tau * log(max(I_j, eps)), which is the same number: numerator
    and denominator are multiplied by max(I_y, eps)^tau. So this is logit adjustment whose prior is accumulated
    gradient instead of class counts. Before any evidence every I is eps and the loss is plain cross entropy.
    Inference uses the logits as they are.

    After `softmax_eql` of ModelTC/United-Perception (up/tasks/cls/models/losses/cls_loss.py), the release of Tan
    et al., "The Equalization Losses: Gradient-Driven Training for Long-tailed Object Recognition", TPAMI 2023.
    What differs:

    - `indicator="both"` is G+ + G-. The release's `pos_and_neg` adds the ratio G+/G- to G-, evidently a mistake.
    - Over processes, gradients are averaged, so totals do not depend on the number of workers. The release sums
      them: its totals on 8 GPUs are 8 times these. The factors m depend on ratios of I, which are the same; only
      `eps`, to which I is compared, can tell.
    - `background=True`: the release has no background column. Here background is one more class of the softmax,
      with accumulated gradients of its own (`statistics.background`) for its factors.

    Args:
        num_classes: C.
        tau: exponent, >= 0; 0 gives plain cross entropy.
        eps: lower limit of I, > 0, in units of the normalised gradient.
        indicator: I is G+ ("positive"), G- ("negative") or G+ + G- ("both").
        background: the logits have C + 1 columns, the last for background, label C.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, K) or (N, K, H, W) with K = C or C + 1, labels (N,) or (N, H, W); see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("softmax_eql", num_classes=3)
    >>> logits, labels = torch.zeros(4, 3, requires_grad=True), torch.tensor([0, 0, 0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> round(loss(logits, labels).item(), 4)  # log 3 = 1.0986 before
    0.5625
    """

    def __init__(
        self,
        *,
        num_classes: int,
        tau: float = 1.0,
        eps: float = 1e-4,
        indicator: Indicator = "positive",
        background: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(
            num_classes=num_classes, background=background, loss_weight=loss_weight, ignore_index=ignore_index
        )
        check_choice("indicator", indicator, get_args(Indicator))
        self.tau = check_number("tau", tau, at_least=0)
        self.eps = check_number("eps", eps, above=0)
        self.indicator = indicator

    def adjustment(self) -> Tensor:
        """(K,) tau * log(max(I, eps)), float64."""
        positive, negative = self.statistics.positive, self.statistics.negative
        if self.statistics.background is not None:
            positive = torch.cat([positive, self.statistics.background[:1]])
            negative = torch.cat([negative, self.statistics.background[1:]])
        received = {"positive": positive, "negative": negative, "both": positive + negative}[self.indicator]
        return self.tau * received.clamp(min=self.eps).log()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, tau={self.tau}, eps={self.eps}, indicator={self.indicator!r}"
