"""Checks of what users pass to a loss; each error names the argument, its value and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SOFT_TOLERANCE = 1e-2
"""How far soft labels, in half precision too, may be from summing to 1."""


def check_number(name: str, value: float, *, at_least: float = -math.inf, above: float = -math.inf) -> float:
    """`value` as a float, if it is a finite number in range.

    >>> check_number("tau", -1, at_least=0)
    Traceback (most recent call last):
    ValueError: tau: -1: expected a finite number >= 0
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < at_least or value <= above:
        bound = f" >= {at_least:g}" if at_least > -math.inf else f" > {above:g}" if above > -math.inf else ""
        raise ValueError(f"{name}: {value!r}: expected a finite number{bound}")
    return float(value)


def check_alpha(name: str, value: float | None) -> float | None:
    """A weight of positives against negatives, 0 to 1, or None for no weights."""
    if value is None:
        return None
    if check_number(name, value, at_least=0) > 1:
        raise ValueError(f"{name}: {value!r}: expected 0 to 1, or None")
    return float(value)


def check_integer(name: str, value: int, *, at_least: int | None = None) -> None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or (at_least is not None and value < at_least):
        bound = "" if at_least is None else f" >= {at_least}"
        raise ValueError(f"{name}: {value!r}: expected an integer{bound}")


def check_logits(logits: Tensor, columns: int) -> None:
    if logits.dim() not in (2, 4) or logits.shape[1] != columns:
        shapes = f"(N, {columns}) or (N, {columns}, H, W)"
        raise ValueError(f"logits: shape {tuple(logits.shape)}: expected {shapes}")
    if not logits.is_floating_point():
        raise ValueError(f"logits: dtype {logits.dtype}: expected a floating dtype")


def check_samples(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    quality: Tensor | None,
    negatives: Tensor | None,
    num_classes: int,
    *,
    soft: bool,
) -> None:
    """Shapes, dtypes and devices of what is given per sample, and the ranges of all but hard labels."""
    shape = (logits.shape[0], *logits.shape[2:])
    if soft and labels.is_floating_point():
        _check_tensor("labels", labels, logits.shape, logits, "floating", "soft labels, as many as logits")
        _refuse("labels", labels, (labels < 0) | (labels > 1), "expected 0 to 1")
        totals = labels.sum(1, dtype=torch.float32)
        _refuse("labels", totals, (totals - 1).abs() > SOFT_TOLERANCE, "sum over the columns: expected 1")
    else:
        _check_tensor("labels", labels, shape, logits, "int64", "one per sample")
    for name, tensor in (("weight", weight), ("quality", quality)):
        if tensor is not None:
            _check_tensor(name, tensor, shape, logits, "floating", "one per sample")
    if weight is not None:
        _refuse("weight", weight, weight < 0, "expected >= 0")
    if quality is not None:
        _refuse("quality", quality, (quality < 0) | (quality > 1), "expected 0 to 1")
    if negatives is not None:
        wanted = (logits.shape[0], num_classes, *logits.shape[2:])
        _check_tensor("negatives", negatives, wanted, logits, "bool", "one per sample and class")


def _check_tensor(name: str, tensor: Tensor, shape: Sequence[int], logits: Tensor, dtype: str, meaning: str) -> None:
    if tensor.shape != torch.Size(shape):
        raise ValueError(f"{name}: shape {tuple(tensor.shape)}: expected {tuple(shape)}, {meaning}")
    if tensor.device != logits.device:
        raise ValueError(f"{name}: on {tensor.device}: expected {logits.device}, where the logits are")
    if dtype == "floating" and not tensor.is_floating_point():
        raise ValueError(f"{name}: dtype {tensor.dtype}: expected a floating dtype")
    if dtype != "floating" and tensor.dtype != getattr(torch, dtype):
        raise ValueError(f"{name}: dtype {tensor.dtype}: expected torch.{dtype}")


def check_normalizer(normalizer: float | Tensor | None) -> None:
    if not isinstance(normalizer, Tensor):
        if normalizer is not None:
            check_number("normalizer", normalizer, above=0)
    elif normalizer.dim() != 0:
        raise ValueError(f"normalizer: shape {tuple(normalizer.shape)}: expected a number or a 0-dim tensor")
    else:
        _refuse("normalizer", normalizer, normalizer <= 0, "expected > 0")


def check_labels(labels: Tensor, ignored: Tensor, num_labels: int, ignore_index: int) -> None:
    outside = ((labels < 0) | (labels >= num_labels)) & ~ignored
    _refuse("labels", labels, outside, f"expected 0 to {num_labels - 1}, or ignore_index {ignore_index}")


def _refuse(name: str, values: Tensor, refused: Tensor, expected: str) -> None:
    """No value may be refused; asserted on the device where asking would wait for it. NaN passes, to be counted."""
    if refused.is_cuda:
        torch._assert_async(~refused.any(), f"{name}: a value out of range: {expected}")
    elif refused.any():
        raise ValueError(f"{name}: {values[refused][0].item()!r}: {expected}")
