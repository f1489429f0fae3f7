"""The sigmoid kernel of `plain` under torch.compile: one loop over a block where `plain` has three dozen.

Compiled on first use, in some seconds; torch keeps the result in its cache on disk, so that the next process loads
it. Shapes are dynamic. Without a working C++ compiler the plain kernel takes over, with one warning. The softmax
kernels have no such form: compiled, they were not faster.

Rows: z (R, K); pixels: z (K, R). A label's own column is 0 in what the compiled function writes.
"""

from __future__ import annotations

import functools
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from eqbench.losses.fused import plain

SMALLEST = 2**20
"""Logits in a call from which on `auto` compiles."""
OPTIONS: dict[str, Any] = {
    # By default intermediate results of long expressions go to memory, here of the size of the logits.
    "realize_opcount_threshold": 10_000,
    "realize_reads_threshold": 10_000,
    "realize_acc_reads_threshold": 10_000,
    "cpp.enable_floating_point_contract_flag": "fast",
}
VERSIONS = 64
"""Of a function at most: one each for strides, absent arguments and sizes that coincide."""

log = logging.getLogger(__name__)
_called: set[Callable[..., Tensor]] = set()
_unusable: set[Callable[..., Tensor]] = set()


def wanted(logits: Tensor) -> bool:
    """Whether blocks of these logits go to the compiled kernel."""
    from eqbench.losses import fused

    if logits.device.type != "cpu" or logits.dtype == torch.float64:
        return False
    mode = fused.mode()
    return mode == "compile" or (mode == "auto" and logits.numel() >= SMALLEST)


def sigmoid_block(
    z: Tensor,
    labels: Tensor,
    weight: Tensor,
    negative: Tensor,
    exponent: Tensor | None,
    out: Tensor,
    dim: int,
    spare: Callable[[], Sequence[Tensor]],
) -> tuple[Tensor, Tensor]:
    """As `plain.sigmoid_block`, which needs what `spare` gives."""
    value = _call(_rows if dim == 1 else _pixels, z, labels.int(), weight, negative, exponent, out)
    if value is None:
        return plain.sigmoid_block(z, labels, weight, negative, exponent, out, dim, spare())
    return value.sum(dtype=torch.float64), plain.sums(out, dim)


def _rows(*arguments: Any) -> Tensor:
    return _sigmoid(1, *arguments)


def _pixels(*arguments: Any) -> Tensor:
    return _sigmoid(0, *arguments)


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


@functools.cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(  # type: ignore[call-overload, no-any-return]
        function, dynamic=True, fullgraph=True, options=OPTIONS, recompile_limit=VERSIONS
    )


def _call(function: Callable[..., Tensor], *arguments: Any) -> Tensor | None:
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
        message = f"sigmoid losses run without torch.compile, slower: {type(error).__name__}: {reason}"
        warnings.warn(message, stacklevel=2)
        return None
    if function not in _called:
        _called.add(function)
        log.info("sigmoid kernel: compiled, or loaded from torch's cache, in %.1f s", time.perf_counter() - start)
    return result
