"""Equalized focal loss: the rarer the positives of a class so far, the more its easy negatives are discounted."""

from __future__ import annotations

from eqbench.losses.arguments import check_alpha, check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["EFL"]


class EFL(SigmoidLoss):
    """EFL: focal loss that discounts easy negatives the more, the rarer the positives of a class so far.

        L = loss_weight / normalizer * sum_i w_i sum_j -alpha_t (gamma_j / focal_gamma) (1 - p_t)^gamma_j log p_t
        gamma_j = focal_gamma + scale_factor (1 - g_j)

    with p_t = p and alpha_t = focal_alpha for the label's column, p_t = 1 - p and alpha_t = 1 - focal_alpha for the
    others, and g_j = G+_j / (G-_j + 1e-10), at most 1, the ratio of the gradients that class j received as a
    positive and as a negative in the steps before this one; 1 before any, so that the first step is focal loss.

    After ModelTC/United-Perception (up/tasks/det/plugins/efl/models/losses/efl.py), the release of Li et al.,
    "Equalized Focal Loss for Dense Long-Tailed Object Detection", CVPR 2022, which agrees with the paper:

    - what is accumulated is the gradient as trained, with alpha_t, factor, normalizer and `loss_weight`;
    - the release divides by the number of positive anchors over all processes: pass that as `normalizer`;
    - the release gathers gradients in hooks, per level of the feature pyramid, and warns that fp16 "gives unexpected
      results". Here they are computed in closed form, in float32, of whatever one call is given;
    - over processes gradients are averaged, the release adds them; the ratios are the same.

    Args:
        num_classes: C.
        focal_gamma: focusing exponent of a balanced class, > 0.
        focal_alpha: weight of positives, 0 to 1; None for no weights.
        scale_factor: by how much the exponent of a class of ratio 0 is larger, >= 0; the release's YOLOX: 4.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), C for background; see `Loss.forward`.
    Scores are sigmoid(z).

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("efl", num_classes=3)
    >>> logits, labels = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 3])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> [round(ratio, 4) for ratio in loss.statistics.ratio.tolist()]  # from now on, those below 1 focus more
    [0.3333, 0.0, 0.0]
    >>> round(loss(logits, labels).item(), 4)
    0.013
    """

    clamp_ratio = True

    def __init__(
        self,
        *,
        num_classes: int,
        focal_gamma: float = 2.0,
        focal_alpha: float | None = 0.25,
        scale_factor: float = 8.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        self.focal_gamma = check_number("focal_gamma", focal_gamma, above=0)
        self.focal_alpha = check_alpha("focal_alpha", focal_alpha)
        self.scale_factor = check_number("scale_factor", scale_factor, at_least=0)

    def terms(self, batch: Batch) -> Terms:
        exponent = self.focal_gamma + self.scale_factor * (1 - self.statistics.ratio)
        factor = exponent / self.focal_gamma
        positive, negative = (1.0, 1.0) if self.focal_alpha is None else (self.focal_alpha, 1 - self.focal_alpha)
        return sigmoid_terms(batch, negative=factor * negative, positive=factor * positive, exponent=exponent)

    def extra_repr(self) -> str:
        own = f"focal_gamma={self.focal_gamma}, focal_alpha={self.focal_alpha}, scale_factor={self.scale_factor}"
        return f"{super().extra_repr()}, {own}"
