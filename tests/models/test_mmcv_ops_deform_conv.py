"""Deformable convolution on torchvision: a convolution where nothing is deformed, and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from eqbench.models.mmcv_ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)

NONE = torch.empty(0)

PLAIN: dict[str, Any] = {"kW": 3, "kH": 3, "dW": 2, "dH": 1, "padW": 1, "padH": 2, "dilationW": 1, "dilationH": 2}
PLAIN |= {"group": 2, "deformable_group": 2, "im2col_step": 1}
MODULATED: dict[str, Any] = {"kernel_h": 3, "kernel_w": 3, "stride_h": 1, "stride_w": 2, "pad_h": 2, "pad_w": 1}
MODULATED |= {"dilation_h": 2, "dilation_w": 1, "group": 2, "deformable_group": 2}
TENSORS = {"input": (2, 4, 6, 7), "offset": (2, 36, 6, 4), "mask": (2, 18, 6, 4), "weight": (6, 2, 3, 3), "bias": (6,)}


def convolution_inputs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in TENSORS.items()}


def plain(values: dict[str, Tensor]) -> Tensor:
    output = torch.empty(2, 6, 6, 4, dtype=values["input"].dtype)
    deform_conv_forward(values["input"], values["weight"], values["offset"], output, NONE, NONE, **PLAIN)
    return output


def modulated(values: dict[str, Tensor]) -> Tensor:
    output = torch.empty(2, 6, 6, 4, dtype=values["input"].dtype)
    tensors = (values["input"], values["weight"], values["bias"], NONE, values["offset"], values["mask"])
    modulated_deform_conv_forward(*tensors, output, NONE, with_bias=True, **MODULATED)
    return output


def plain_gradients(values: dict[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    into = {name: torch.zeros_like(values[name]) for name in ("input", "offset", "weight")}
    tensors = (values["input"], values["offset"], upstream)
    deform_conv_backward_input(*tensors, into["input"], into["offset"], values["weight"], NONE, **PLAIN)
    deform_conv_backward_parameters(*tensors, into["weight"], NONE, NONE, scale=1, **PLAIN)
    return into


def modulated_gradients(values: dict[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    into = {name: torch.zeros_like(tensor) for name, tensor in values.items()}
    given = (values["input"], values["weight"], values["bias"], NONE, values["offset"], values["mask"], NONE)
    wanted = (into[name] for name in ("input", "weight", "bias", "offset", "mask"))
    modulated_deform_conv_backward(*given, *wanted, upstream, with_bias=True, **MODULATED)
    return into


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_without_offsets_it_is_a_convolution(dtype: torch.dtype) -> None:
    values = {name: tensor.to(dtype) for name, tensor in convolution_inputs().items()}
    values["offset"].zero_()
    values["mask"].fill_(0.5)
    expected = conv2d(values["input"].double(), values["weight"].double(), None, (1, 2), (2, 1), (2, 1), 2)
    tolerance = 1e-2 if dtype == torch.float16 else 1e-9
    torch.testing.assert_close(plain(values).double(), expected, rtol=tolerance, atol=tolerance)
    biased = 0.5 * expected + values["bias"].double()[:, None, None]
    torch.testing.assert_close(modulated(values).double(), biased, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("forward", "backward"), [(plain, plain_gradients), (modulated, modulated_gradients)])
def test_gradients_equal_finite_differences(
    forward: Callable[[dict[str, Tensor]], Tensor], backward: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]
) -> None:
    values = convolution_inputs()
    upstream = torch.randn(2, 6, 6, 4, dtype=torch.float64)
    for name, gradient in backward(values, upstream).items():
        for _ in range(5):
            direction = torch.randn_like(values[name])
            step = 1e-7  # so small that hardly a sample crosses from one cell into another, where it has a kink
            ahead, behind = (forward({**values, name: values[name] + sign * step * direction}) for sign in (1, -1))
            slope = ((ahead - behind) * upstream).sum() / (2 * step)
            torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-5)
