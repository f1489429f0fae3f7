"""Value, gradient and per-class sums of the hot losses in one pass over the logits.

On CPU in blocks that fit the cache, computed in plain in-place torch or, for the sigmoid losses, by a kernel under
torch.compile; on CUDA in Triton. `EQBENCH_FUSED` chooses on CPU: `plain`, `compile`, or `auto`, the default, which
compiles where it pays, from 2^20 logits on, if there is a C++ compiler. The choice depends on that setting, on
shapes and on the machine, so a run resumed on the same machine computes as before.

Shapes: N samples, K columns, P pixels of a sample, 1 without pixels.
"""

from __future__ import annotations

import functools
import importlib.util
import os

import torch
from torch import Tensor

from eqbench.errors import nearest
from eqbench.losses.fused import blocks

__all__ = ["has_triton", "mode", "seesaw_sums", "sigmoid_sums", "softmax_sums"]

MODES = ("auto", "compile", "plain")


def mode() -> str:
    """What the environment variable EQBENCH_FUSED says.

    Raises:
        ValueError: something else than auto, compile or plain.
    """
    chosen = os.environ.get("EQBENCH_FUSED", "auto")
    if chosen not in MODES:
        raise ValueError(f"EQBENCH_FUSED: {chosen!r}: expected {', '.join(MODES)}{nearest(chosen, MODES)}")
    return chosen


@functools.cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def sigmoid_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    negative: Tensor,
    exponent: Tensor | None,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    """All columns but the label's as negatives: v = w u p^G softplus(z), g = w u p^G (p + G (1 - p) softplus(z)).

    Args:
        logits: (N, K, P), any strides.
        labels: (N, P) int64; the column that is left out, its gradient set to 0; none if not in 0..K-1.
        weight: (N, P) w; a sample of weight 0 counts nowhere, whatever its logits; None for ones.
        negative: (K,) u, or (N, K, P).
        exponent: (K,) G; None for 0.
        scale: 0-dim factor of what is written to `gradient`; None for 1.
        gradient: (N, K, P), the logits' dtype; every element is written.

    Returns:
        Scalar float64 sum of v, and (K,) float64 sums of g, without the scale.
    """
    if _on_triton(logits) and negative.dim() == 1:
        from eqbench.losses.fused import triton_sigmoid

        return triton_sigmoid.sigmoid_sums(
            logits, labels, weight, negative.float(), _float(exponent), _or_one(scale, logits), gradient
        )
    return blocks.sigmoid_sums(logits, labels, weight, negative, exponent, scale, gradient)


def softmax_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    adjustment: Tensor | None,
    label_adjustment: Tensor | None,
    temperature: float,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross entropy of z'_j = temperature z_j + adjustment_j + [j = y] label_adjustment_y.

    Args:
        logits: (N, K, P), any strides.
        labels: (N, P) int64, 0..K-1; anything legal where the weight is 0.
        weight: (N, P) w; a sample of weight 0 counts nowhere, whatever its logits; None for ones.
        adjustment: (K,), or (N, K, P), where -inf takes a column out; None for zeros.
        label_adjustment: (K,), None for zeros.
        temperature: factor of the logits.
        scale: 0-dim factor of what is written to `gradient`; None for 1.
        gradient: (N, K, P), the logits' dtype; every element is written.

    Returns:
        Scalar float64 sum of the samples' values; (N, P) w * temperature * (1 - p_y), the |gradient| of the labels;
        (K,) float64 sums of the gradient of all other samples. The sums are without the scale.
    """
    if _on_triton(logits) and (adjustment is None or adjustment.dim() == 1):
        from eqbench.losses.fused import triton_softmax

        return triton_softmax.softmax_sums(
            logits,
            labels,
            weight,
            _float(adjustment),
            _float(label_adjustment),
            temperature,
            _or_one(scale, logits),
            gradient,
        )
    return blocks.softmax_sums(logits, labels, weight, adjustment, label_adjustment, temperature, scale, gradient)


def seesaw_sums(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    log_counts: Tensor,
    q: float,
    eps: float,
    scale: Tensor | None,
    gradient: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross entropy of z'_j = z_j + min(0, c_j - c_y) + q max(0, log s_j - log max(s_y, eps)) for j != y.

    c is `log_counts` (K,), s = softmax(z), a constant in the gradient. Else as `softmax_sums`.
    """
    if _on_triton(logits):
        from eqbench.losses.fused import triton_softmax

        return triton_softmax.seesaw_sums(
            logits, labels, weight, log_counts.float(), q, eps, _or_one(scale, logits), gradient
        )
    return blocks.seesaw_sums(logits, labels, weight, log_counts, q, eps, scale, gradient)


def _on_triton(logits: Tensor) -> bool:
    return logits.is_cuda and logits.dtype != torch.float64 and has_triton()


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()


def _or_one(scale: Tensor | None, logits: Tensor) -> Tensor:
    return torch.ones((), device=logits.device) if scale is None else scale
