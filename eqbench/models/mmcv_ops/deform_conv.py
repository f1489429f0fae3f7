"""Deformable convolution (Dai et al., ICCV 2017; modulated: Zhu et al., CVPR 2019) as mmcv's extension has it.

Legend: N images, I input and O output channels, kernel kH x kW, output h x w, G offset groups, g weight groups.
`offset` is (N, 2 G kH kW, h, w), y before x, in cells; `mask` is (N, G kH kW, h, w). Both packages lay them out
alike and sample zeros outside the image. Half precision is computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How the kernel moves, pairs for height and width, and how channels are grouped."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    def flat(self) -> tuple[int, ...]:
        """In the order of torchvision's operator."""
        return *self.stride, *self.padding, *self.dilation, self.groups, self.offset_groups


def deform_conv_forward(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    _columns: Tensor,
    _ones: Tensor,
    **options: int,
) -> None:
    """Writes the convolution (N, O, h, w) of `input` (N, I, H, W) with `weight` (O, I/g, kH, kW) to `output`.

    `_columns` and `_ones` are scratch memory of mmcv's kernels, not used here; `options` are `dH`, `dW` (stride),
    `padH`, `padW`, `dilationH`, `dilationW`, `group`, `deformable_group`, and the unused `kH`, `kW`, `im2col_step`.
    """
    output.copy_(_forward(input, weight, offset, None, None, _plain(options)))


def deform_conv_backward_input(
    input: Tensor,  # noqa: A002
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    _columns: Tensor,
    **options: int,
) -> None:
    """Writes the gradients of the input and the offsets, given that of the output; see the forward."""
    gradients = _backward(grad_output, input, weight, offset, None, None, _plain(options))
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,  # noqa: A002
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    _columns: Tensor,
    _ones: Tensor,
    *,
    scale: float,
    **options: int,
) -> None:
    """Adds `scale` times the gradient of the weight to `grad_weight` (O, I/g, kH, kW); see the forward."""
    # The gradient of the weight does not depend on the weight; only its shape is looked at.
    gradients = _backward(grad_output, input, torch.zeros_like(grad_weight), offset, None, None, _plain(options))
    grad_weight.add_(gradients[1].to(grad_weight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor,
    _ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    _columns: Tensor,
    *,
    with_bias: bool,
    **options: int,
) -> None:
    """Writes the convolution (N, O, h, w), each sample multiplied by its `mask`, plus `bias` (O,), to `output`.

    `_ones` and `_columns` are not used; `options` are `stride_h`, `stride_w`, `pad_h`, `pad_w`, `dilation_h`,
    `dilation_w`, `group`, `deformable_group`, and the unused `kernel_h`, `kernel_w`.
    """
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, _modulated(options)))


def modulated_deform_conv_backward(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor,
    _ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    _columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **options: int,
) -> None:
    """Writes the five gradients, given that of the output; without a bias, `grad_bias` stays as it is."""
    bias_or_none = bias if with_bias else None
    gradients = _backward(grad_output, input, weight, offset, mask, bias_or_none, _modulated(options))
    destinations = (grad_input, grad_weight, grad_offset, grad_mask, grad_bias)
    for destination, gradient in zip(destinations[: 5 if with_bias else 4], gradients, strict=False):
        destination.copy_(gradient)


def _plain(options: dict[str, int]) -> Geometry:
    return Geometry(
        stride=(options["dH"], options["dW"]),
        padding=(options["padH"], options["padW"]),
        dilation=(options["dilationH"], options["dilationW"]),
        groups=options["group"],
        offset_groups=options["deformable_group"],
    )


def _modulated(options: dict[str, int]) -> Geometry:
    return Geometry(
        stride=(options["stride_h"], options["stride_w"]),
        padding=(options["pad_h"], options["pad_w"]),
        dilation=(options["dilation_h"], options["dilation_w"]),
        groups=options["group"],
        offset_groups=options["deformable_group"],
    )


def _forward(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    import torchvision  # noqa: F401

    arguments = _arguments(input, weight, offset, mask, bias, geometry)
    output: Tensor = torch.ops.torchvision.deform_conv2d(*arguments)
    return output


def _backward(
    grad_output: Tensor,
    input: Tensor,  # noqa: A002
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: Geometry,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, weight, offset, mask and bias."""
    import torchvision  # noqa: F401

    arguments = _arguments(input, weight, offset, mask, bias, geometry)
    gradients: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = torch.ops.torchvision._deform_conv2d_backward(
        grad_output.to(arguments[0].dtype), *arguments
    )
    return gradients


def _arguments(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: Geometry,
) -> tuple[Any, ...]:
    """What torchvision's operator takes: without a mask a placeholder and False, without a bias zeros."""
    dtype = torch.promote_types(input.dtype, torch.float32)
    mask_or_placeholder = input.new_zeros(len(input), 1) if mask is None else mask
    bias_or_zeros = weight.new_zeros(len(weight)) if bias is None else bias
    tensors = (tensor.to(dtype) for tensor in (input, weight, offset, mask_or_placeholder, bias_or_zeros))
    return *tensors, *geometry.flat(), mask is not None
