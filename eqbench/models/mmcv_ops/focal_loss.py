"""Sigmoid focal loss (Lin et al., ICCV 2017) as mmcv's extension has it, in torch; mmdet calls it on GPUs.

Legend: N samples, C classes, p = sigmoid(logit). The loss of sample n and class c, where t is n's label, is

    -alpha (1 - p)^gamma log p              if c = t,
    -(1 - alpha) p^gamma log(1 - p)         otherwise,

times `weight[t]`. A label outside 0..C-1 is background: all classes are negatives. With class weights mmcv reads
behind the end of `weight` there; here background weighs 1. Logarithms are those of the logit, hence not cut off at
-87 as in mmcv's kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["sigmoid_focal_loss_backward", "sigmoid_focal_loss_forward"]


def sigmoid_focal_loss_forward(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Writes the losses (N, C) of logits `input` (N, C) and labels `target` (N,) to `output`.

    `weight` is (C,), or empty: no class weights. Computed in float32 at least.
    """
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    p = logits.sigmoid()
    positive = -alpha * (-logits).sigmoid() ** gamma * logsigmoid(logits)
    negative = -(1 - alpha) * p**gamma * logsigmoid(-logits)
    output.copy_(_chosen(positive, negative, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Writes the derivatives (N, C) of the losses of the forward by their logits to `grad_input`."""
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = -alpha * q**gamma * (q - gamma * p * logsigmoid(logits))
    negative = (1 - alpha) * p**gamma * (p - gamma * q * logsigmoid(-logits))
    grad_input.copy_(_chosen(positive, negative, target, weight))


def _chosen(positive: Tensor, negative: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """`positive` where the class is the label's and `negative` elsewhere (N, C), times the label's weight."""
    num_classes = positive.shape[1]
    classes = torch.arange(num_classes, device=target.device)
    values = torch.where(target[:, None] == classes, positive, negative)
    if not weight.numel():
        return values
    background = (target < 0) | (target >= num_classes)
    weight_N = torch.where(background, 1, weight[target.masked_fill(background, 0)])
    return values * weight_N[:, None]
