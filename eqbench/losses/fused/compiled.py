"""The kernels of `plain` under torch.compile: one loop over a block where `plain` has a dozen.

Compiled on first use, in about ten seconds each; torch keeps the result in its cache on disk, so that the next
process loads it. Shapes are dynamic. Without a working C++ compiler the plain kernels take over, with one warning.

Rows: z (R, K); pixels: z (K, R). A label's own column is 0 in what the compiled functions write.
"""

from __future__ import annotations

import functools
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eqbench.losses.fused import plain

SMALLEST = 2**20
"""Logits in a call from which on `auto` compiles."""

log = logging.getLogger(__name__)


def wanted(logits: Tensor) -> bool:
    """Whether blocks of these logits go to the compiled kernels."""
    from eqbench.losses import fused

    if logits.device.type != "cpu" or logits.dtype == torch.float64:
        return False
    mode = fused.mode()
    return mode == "compile" or (mode == "auto" and logits.numel() >= SMALLEST)


def sigmoid_block(
    z: Tensor, labels: Tensor, weight: Tensor, negative: Tensor, exponent: Tensor | None, out: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    kernel = _sigmoid_rows if dim == 1 else _sigmoid_pixels
    found = _call(kernel, z, labels.int(), weight, negative, exponent, out)
    if found is None:
        return plain.sigmoid_block(z, labels, weight, negative, exponent, out, dim)
    return found.sum(dtype=torch.float64), plain.sums(out, dim)


def softmax_block(
    z: Tensor,
    labels: Tensor,
    weight: Tensor,
    adjustment: Tensor | None,
    label_adjustment: Tensor | None,
    temperature: float,
    out: Tensor,
    dim: int,
) -> tuple[Tensor, Tensor, Tensor]:
    own = temperature * z.gather(dim, labels.unsqueeze(dim)).squeeze(dim)
    if adjustment is not None:
        own += adjustment.flatten()[labels]
    if label_adjustment is not None:
        own += label_adjustment[labels]
    kernel = _softmax_rows if dim == 1 else _softmax_pixels
    factor = weight * temperature
    found = _call(kernel, z, labels.int(), own, weight, factor, adjustment, temperature, out)
    if found is None:
        return plain.softmax_block(z, labels, weight, adjustment, label_adjustment, temperature, out, dim)
    return _with_labels(found, labels, out, dim)


def seesaw_block(
    z: Tensor, labels: Tensor, weight: Tensor, log_counts: Tensor, q: float, log_eps: float, out: Tensor, dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    own = z.gather(dim, labels.unsqueeze(dim)).squeeze(dim)
    counts = log_counts.flatten()[labels]
    kernel = _seesaw_rows if dim == 1 else _seesaw_pixels
    found = _call(kernel, z, labels.int(), own, weight, counts, log_counts, q, log_eps, out)
    if found is None:
        return plain.seesaw_block(z, labels, weight, log_counts, q, log_eps, out, dim)
    return _with_labels(found, labels, out, dim)


def _with_labels(found: tuple[Tensor, Tensor], labels: Tensor, out: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    value, remainder = found
    negative = plain.sums(out, dim)
    out.scatter_(dim, labels.unsqueeze(dim), -remainder.unsqueeze(dim))
    return value.sum(dtype=torch.float64), remainder, negative


# -- what is compiled --------------------------------------------------------------------------------------------


def _sigmoid(
    dim: int, z: Tensor, labels: Tensor, weight: Tensor, negative: Tensor, exponent: Tensor | None, out: Tensor
) -> Tensor:
    columns = torch.arange(z.shape[dim], dtype=torch.int32).unsqueeze(1 - dim)
    row = weight.unsqueeze(dim)
    e = torch.exp(-z.abs())
    log1p = _log1p_of_fraction(e)
    softplus = z.clamp(min=0) + log1p
    inverse = 1 / (1 + e)
    p, rest = torch.where(z >= 0, inverse, e * inverse), torch.where(z >= 0, e * inverse, inverse)
    factor = negative * row
    if exponent is not None:
        factor = factor * torch.exp(exponent * (z.clamp(max=0) - log1p))
    factor = torch.where((labels.unsqueeze(dim) != columns) & (row != 0), factor, 0.0)
    slope = p if exponent is None else p + exponent * rest * softplus
    out.copy_(factor * slope)
    return (factor * softplus).sum(dim)


def _log1p_of_fraction(e: Tensor) -> Tensor:
    """`plain.log1p_of_fraction` with its coefficients in the code: as variables they would be loaded every time."""
    result = 0.078361668016809 + e * (-0.02958850739179411 + e * 0.005253457796776874)
    result = -0.2484436989245085 + e * (0.191114310805017 + e * (-0.13674769705361184 + e * result))
    return e * (0.9999999705406569 + e * (-0.4999950151678725 + e * (0.33319271342500406 + e * result)))


def _cross_entropy(
    x: Tensor, labels: Tensor, own: Tensor, weight: Tensor, factor: Tensor, out: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    columns = torch.arange(x.shape[dim], dtype=torch.int32).unsqueeze(1 - dim)
    x = torch.where(labels.unsqueeze(dim) != columns, x, -torch.inf)
    top = torch.maximum(x.amax(dim), own)
    e = torch.exp(x - top.unsqueeze(dim))
    others = e.sum(dim)
    own = own - top
    total = others + own.exp()
    remainder = others / total
    out.copy_(e * (factor / total).unsqueeze(dim))
    value = torch.where(remainder < 0.5, -torch.log1p(-remainder), total.log() - own)
    return value * weight, remainder * factor


def _softmax(
    dim: int,
    z: Tensor,
    labels: Tensor,
    own: Tensor,
    weight: Tensor,
    factor: Tensor,
    adjustment: Tensor | None,
    temperature: float,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    x = temperature * z
    if adjustment is not None:
        x = x + adjustment
    return _cross_entropy(x, labels, own, weight, factor, out, dim)


def _seesaw(
    dim: int,
    z: Tensor,
    labels: Tensor,
    own: Tensor,
    weight: Tensor,
    counts: Tensor,
    log_counts: Tensor,
    q: float,
    log_eps: float,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    top = z.amax(dim)
    log_total = top + (z - top.unsqueeze(dim)).exp().sum(dim).log()
    # log s_j - log max(s_y, eps) = z_j - max(z_y, log eps + log_total)
    floor = torch.maximum(own, log_eps + log_total)
    x = z + q * (z - floor.unsqueeze(dim)).clamp(min=0) + (log_counts - counts.unsqueeze(dim)).clamp(max=0)
    return _cross_entropy(x, labels, own, weight, weight, out, dim)


def _sigmoid_rows(*arguments: Any) -> Tensor:
    return _sigmoid(1, *arguments)


def _sigmoid_pixels(*arguments: Any) -> Tensor:
    return _sigmoid(0, *arguments)


def _softmax_rows(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _softmax(1, *arguments)


def _softmax_pixels(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _softmax(0, *arguments)


def _seesaw_rows(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _seesaw(1, *arguments)


def _seesaw_pixels(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _seesaw(0, *arguments)


# -- how it is called ----------------------------------------------------------------------------------------------


OPTIONS: dict[str, Any] = {
    # By default intermediate results of long expressions go to memory, here of the size of the logits.
    "realize_opcount_threshold": 10_000,
    "realize_reads_threshold": 10_000,
    "realize_acc_reads_threshold": 10_000,
    "cpp.enable_floating_point_contract_flag": "fast",
}
VERSIONS = 64
"""Of a function at most: one each for strides, absent arguments and sizes that coincide."""


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(  # type: ignore[call-overload, no-any-return]
        function, dynamic=True, fullgraph=True, options=OPTIONS, recompile_limit=VERSIONS
    )


_called: set[Callable[..., Any]] = set()
_unusable: set[Callable[..., Any]] = set()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the compiled function returns; None, from now on, if it cannot be compiled here."""
    # A dimension of 1 would be compiled for itself.
    if function in _unusable or 1 in arguments[0].shape:
        return None
    start = time.perf_counter()
    try:
        result = _compiled(function)(*arguments)
    except Exception as error:
        _unusable.add(function)
        reason = str(error).strip().split("\n")[0]
        warnings.warn(
            f"{function.__name__.strip('_')}: runs without torch.compile, slower: {type(error).__name__}: {reason}",
            stacklevel=2,
        )
        return None
    if function not in _called:
        _called.add(function)
        seconds = time.perf_counter() - start
        log.info("%s: compiled, or loaded from torch's cache, in %.1f s", function.__name__.strip("_"), seconds)
    return result
