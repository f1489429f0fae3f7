"""Counts and frequencies per class, which a loss is given, and the weights that follow from them.

Shapes: C foreground classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from eqbench.losses.arguments import check_integer, check_is_tensor


def check_per_class(name: str, values: Tensor | Sequence[float], num_classes: int) -> Tensor:
    """`values`, a finite number >= 0 per class, as a (C,) float64 tensor of its own on the CPU.

    Raises:
        ValueError: they are not numbers, not as many as classes, or one is out of range.

    >>> check_per_class("class_counts", [3, 0], num_classes=2)
    tensor([3., 0.], dtype=torch.float64)
    >>> check_per_class("class_counts", [3, -1], num_classes=2)
    Traceback (most recent call last):
    ValueError: class_counts: -1.0 for class 1: expected a finite number >= 0
    """
    check_integer("num_classes", num_classes, at_least=1)
    expected = f"expected a tensor or a sequence of {num_classes} numbers, one per class"
    if isinstance(values, Tensor):
        check_is_tensor(name, values)
        given = values.detach()
    else:
        # A list, since torch takes no NumPy array with negative strides.
        listed = values.tolist() if hasattr(values, "tolist") else values
        try:
            given = torch.as_tensor(listed, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise ValueError(f"{name}: {values!r}: {expected}") from None
    if given.is_meta:
        raise ValueError(f"{name}: on meta: {expected}")
    if given.dtype == torch.bool or given.is_complex():
        raise ValueError(f"{name}: dtype {given.dtype}: {expected}")
    if given.shape != (num_classes,):
        raise ValueError(f"{name}: shape {tuple(given.shape)}: {expected}")
    numbers = given.to("cpu", torch.float64, copy=True)
    refused = ~(numbers.isfinite() & (numbers >= 0))
    if refused.any():
        first = int(refused.nonzero()[0])
        raise ValueError(f"{name}: {numbers[first].item()!r} for class {first}: expected a finite number >= 0")
    return numbers


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """(C,) class weights by the effective number of samples, with mean 1.

        c_j proportional to (1 - beta) / (1 - beta^{n_j}),  sum_j c_j = C

    after Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019. beta = 0 gives every
    class the weight 1; beta near 1 the inverse of its count. A class without samples counts as if it had one.

    >>> effective_number_weights(torch.tensor([1.0, 4.0]), beta=0.5).tolist()
    [1.3043478260869565, 0.6956521739130435]
    """
    # 1 - beta^n as -expm1(n log beta): exact where beta^n is nearly 1, as with rare classes.
    log_beta = math.log(beta) if beta > 0 else -math.inf
    weights = -1 / torch.expm1(counts.double().clamp(min=1) * log_beta)
    return weights * (len(weights) / weights.sum())
