"""Equalized quality focal loss: equalized focal loss whose target is the quality of the box."""

from __future__ import annotations

from eqbench.losses.arguments import check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["EQFL"]


class EQFL(SigmoidLoss):
    """EQFL: quality focal loss with the exponents and factors of EFL.

        L = loss_weight / normalizer * sum_i w_i ( W_y |q_i - p_iy|^gamma_y BCE(z_iy, q_i)
                                                   + sum_{j != y} W_j p_ij^gamma_j BCE(z_ij, 0) )
        gamma_j = focal_gamma + scale_factor (1 - g_j),   W_j = gamma_j / focal_gamma

    with BCE(z, t) = softplus(z) - t z and g_j = G+_j / (G-_j + 1e-10), at most 1, 1 before any gradient, as in `efl`.

    After ModelTC/United-Perception (up/tasks/det/plugins/efl/models/losses/eqfl.py), the release of Li et al.,
    "Equalized Focal Loss for Dense Long-Tailed Object Detection", CVPR 2022: no alpha; the label's column is the
    positive one in the statistics, whatever q is; q is the IoU of the decoded box with its target, detached. Its
    `dynamic_normalizer`, off by default, is left out. Accumulation and processes: as in `efl`.

    Args:
        num_classes: C.
        focal_gamma: focusing exponent of a balanced class, > 0.
        scale_factor: by how much the exponent of a class of ratio 0 is larger, >= 0; the release's YOLOX: 4.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), C for background, quality like labels, in
    [0, 1], of no effect for background; see `Loss.forward`. Scores are sigmoid(z).

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("eqfl", num_classes=3)
    >>> logits, quality = torch.zeros(2, 3, requires_grad=True), torch.tensor([0.9, 0.0])
    >>> loss(logits, torch.tensor([0, 3]), quality=quality).backward()
    >>> loss.commit()  # once per optimizer step
    >>> [round(ratio, 4) for ratio in loss.statistics.ratio.tolist()]
    [0.6793, 0.0, 0.0]
    """

    uses_quality = True
    clamp_ratio = True

    def __init__(
        self,
        *,
        num_classes: int,
        focal_gamma: float = 2.0,
        scale_factor: float = 8.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        self.focal_gamma = check_number("focal_gamma", focal_gamma, above=0)
        self.scale_factor = check_number("scale_factor", scale_factor, at_least=0)

    def terms(self, batch: Batch) -> Terms:
        exponent = self.focal_gamma + self.scale_factor * (1 - self.statistics.ratio)
        factor = exponent / self.focal_gamma
        return sigmoid_terms(batch, negative=factor, positive=factor, exponent=exponent)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, focal_gamma={self.focal_gamma}, scale_factor={self.scale_factor}"
