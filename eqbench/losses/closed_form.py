"""The autograd function of all losses: a value with a gradient that was computed beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 2**20
"""Elements that are converted at a time where arithmetic is wider than storage."""


class ClosedForm(torch.autograd.Function):
    """Gives `value` the derivative `gradient`, times `scale` unless that is None, by the logits.

    A float16 gradient keeps its scale apart: divided by the normalizer it would underflow before a
    GradScaler's factor, which arrives in backward, could lift it.
    """

    @staticmethod
    def forward(ctx: Any, _logits: Tensor, value: Tensor, gradient: Tensor, scale: Tensor | None) -> Tensor:
        ctx.save_for_backward(gradient, scale)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("eqbench's losses have a first derivative only: not with create_graph=True")
        gradient, scale = ctx.saved_tensors
        factor = grad_output if scale is None else grad_output * scale
        # Multiplied where it lies unless somebody may ask again: a second buffer of this size would be the peak.
        target = gradient.clone() if torch._C._autograd._get_current_graph_task_keep_graph() else gradient
        return multiply_(target, factor), None, None, None


def multiply_(tensor: Tensor, factor: Tensor) -> Tensor:
    """`tensor` times the 0-dim `factor`, in place, computed in the wider dtype; nothing to do for 1."""
    if tensor.is_cuda:
        return _multiply_on_gpu_(tensor, factor)
    if factor == 1:
        return tensor
    if tensor.dtype == factor.dtype:
        return tensor.mul_(factor)
    rows = max(1, CHUNK * len(tensor) // max(1, tensor.numel()))
    for start in range(0, len(tensor), rows):
        part = tensor[start : start + rows]
        part.copy_(part.to(factor.dtype) * factor)
    return tensor


def _multiply_on_gpu_(tensor: Tensor, factor: Tensor) -> Tensor:
    from eqbench.losses import fused

    if fused.has_triton():
        from eqbench.losses.fused.triton_scale import scale_

        scale_(tensor, factor)
        return tensor
    return tensor.copy_(tensor.to(factor.dtype) * factor)
