"""Checks of what users pass to a loss; each error names the argument, its value and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from eqbench.errors import nearest

SOFT_TOLERANCE = 1e-2
"""How far soft labels, in half precision too, may be from summing to 1."""


def check_number(
    name: str,
    value: float,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> float:
    """`value`, a number of Python or NumPy, as a float, if it is finite and in range.

    >>> check_number("tau", 1, at_least=0)
    1.0
    >>> check_number("beta", 1, at_least=0, below=1)
    Traceback (most recent call last):
    ValueError: beta: 1: expected a finite number >= 0 and < 1
    """
    number = _as_float(value)
    if not math.isfinite(number) or not (at_least <= number <= at_most and above < number < below):
        bounds = ((">=", at_least), (">", above), ("<=", at_most), ("<", below))
        limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound))
        raise ValueError(f"{name}: {value!r}: expected a finite number {limits}".rstrip())
    return number


def check_alpha(name: str, value: float | None) -> float | None:
    """A weight of positives against negatives, 0 to 1, or None for no weights."""
    return None if value is None else check_number(name, value, at_least=0, at_most=1)


def check_integer(name: str, value: int, *, at_least: int | None = None) -> int:
    """`value`, an integer of Python or NumPy, as an int, if it is in range."""
    if not is_integer(value) or (at_least is not None and value < at_least):
        bound = "" if at_least is None else f" >= {at_least}"
        raise ValueError(f"{name}: {value!r}: expected an integer{bound}")
    return int(value)


def is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_bool(name: str, value: bool) -> bool:
    """`value`, if it is True or False: what merely counts as true, as the text "no" does, is a mistake."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: {value!r}: expected True or False")
    return value


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """`value` is one of `choices`.

    >>> check_choice("form", "sofmax", ["softmax", "focal"])
    Traceback (most recent call last):
    ValueError: form: 'sofmax': expected one of 'softmax', 'focal'; did you mean 'softmax'?
    """
    if not isinstance(value, str) or value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: {value!r}: expected one of {expected}{nearest(value, choices)}")


def check_logits(logits: Tensor, columns: int) -> None:
    check_is_tensor("logits", logits)
    if logits.is_meta:
        raise ValueError("logits: on meta: expected a device with data")
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
    check_is_tensor("labels", labels)
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


def check_is_tensor(name: str, value: Tensor) -> None:
    """`value` is a tensor, and a dense one; what else it has to be is for others to check."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: {type(value).__name__}: expected a torch.Tensor")
    if value.layout != torch.strided:
        raise ValueError(f"{name}: layout {value.layout}: expected torch.strided")


def _check_tensor(name: str, tensor: Tensor, shape: Sequence[int], logits: Tensor, dtype: str, meaning: str) -> None:
    check_is_tensor(name, tensor)
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
        return
    check_is_tensor("normalizer", normalizer)
    if normalizer.dim() != 0:
        raise ValueError(f"normalizer: shape {tuple(normalizer.shape)}: expected a number or a 0-dim tensor")
    if normalizer.is_complex() or normalizer.dtype == torch.bool:
        raise ValueError(f"normalizer: dtype {normalizer.dtype}: expected a real number")
    if normalizer.is_meta:
        raise ValueError("normalizer: on meta: expected a device with data")
    _refuse("normalizer", normalizer, (normalizer <= 0) | normalizer.isinf(), "expected a finite number > 0")


def check_labels(labels: Tensor, ignored: Tensor, num_labels: int, ignore_index: int) -> None:
    outside = ((labels < 0) | (labels >= num_labels)) & ~ignored
    _refuse("labels", labels, outside, f"expected 0 to {num_labels - 1}, or ignore_index {ignore_index}")


def _as_float(value: object) -> float:
    """NaN for what is not a number, or too large for one."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _refuse(name: str, values: Tensor, refused: Tensor, expected: str) -> None:
    """No value may be refused; asserted on the device where asking would wait for it. NaN passes, to be counted."""
    if refused.is_cuda:
        torch._assert_async(~refused.any(), f"{name}: a value out of range: {expected}")
    elif refused.any():
        raise ValueError(f"{name}: {values[refused][0].item()!r}: {expected}")
