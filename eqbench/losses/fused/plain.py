"""One block of logits at a time, in in-place torch: the kernels that need no compiler.

Rows: R samples of K columns, z (R, K). Pixels: one sample's K columns of R pixels, z (K, R). `dim` is the dimension
of the columns. z is float32 or float64; finite values of dead samples, those of weight 0, are the caller's care.
`spare` are tensors of the shape of z to compute in: memory that is asked for and given back in every block may cost
more than what is computed in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LOG1P = (
    0.9999999705406569,
    -0.4999950151678725,
    0.33319271342500406,
    -0.2484436989245085,
    0.191114310805017,
    -0.13674769705361184,
    0.078361668016809,
    -0.02958850739179411,
    0.005253457796776874,
)
"""log1p(e) / e on [0, 1], ascending powers: Chebyshev interpolation of degree 8, relative error 1.8e-7 in float32."""


def log1p_of_fraction(e: Tensor, out: Tensor) -> Tensor:
    """log1p of e in [0, 1], to float32's precision for float32; several times as fast as torch.log1p."""
    if e.dtype == torch.float64:
        return torch.log1p(e, out=out)
    torch.mul(e, LOG1P[-1], out=out)
    for coefficient in LOG1P[-2::-1]:
        out.add_(coefficient).mul_(e)
    return out


def sigmoid_block(
    z: Tensor,
    labels: Tensor,
    weight: Tensor,
    negative: Tensor,
    exponent: Tensor | None,
    out: Tensor,
    dim: int,
    spare: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """Negatives of one block: the gradient into `out`; the sum of the values, and of the gradient by column."""
    columns, row = z.shape[dim], weight.unsqueeze(dim)
    softplus, power, other = spare
    inside = ((labels >= 0) & (labels < columns)).nonzero().squeeze(1)
    own = (inside, labels[inside]) if dim == 1 else (labels[inside], inside)
    log1p_of_fraction(torch.abs(z, out=other).neg_().exp_(), out=softplus)
    if exponent is not None:
        torch.clamp(z, max=0, out=power).sub_(softplus).mul_(exponent).exp_().mul_(negative).mul_(row)
        power[own] = 0.0
    softplus += torch.clamp(z, min=0, out=other)
    softplus[own] = 0.0
    torch.sigmoid(z, out=out)
    if exponent is None:
        out[own] = 0.0
        out.mul_(negative).mul_(row)
        value = softplus.mul_(negative).mul_(row)
    else:
        out += torch.neg(z, out=other).sigmoid_().mul_(exponent).mul_(softplus)
        out *= power
        value = softplus.mul_(power)
    return value.sum(), sums(out, dim)


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
    """Cross entropy of one block: values and |gradient| of the labels, (R,) each, and the gradient into `out`."""
    torch.mul(z, temperature, out=out)
    if adjustment is not None:
        out += adjustment
    column = labels.unsqueeze(dim)
    if label_adjustment is not None:
        out.scatter_add_(dim, column, label_adjustment[column])
    return _cross_entropy_(out, column, weight.unsqueeze(dim), temperature, dim)


def seesaw_block(
    z: Tensor,
    labels: Tensor,
    weight: Tensor,
    log_counts: Tensor,
    q: float,
    log_eps: float,
    out: Tensor,
    dim: int,
    spare: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """`softmax_block` of seesaw's logits; `log_counts` is a vector along the columns' dimension."""
    column = labels.unsqueeze(dim)
    log_share = torch.log_softmax(z, dim, out=spare[0])
    own = log_share.gather(dim, column).clamp_(min=log_eps)
    torch.sub(log_share, own, out=out)
    out.clamp_(min=0).mul_(q)
    counts = log_counts.flatten()
    out += torch.sub(log_counts, counts[labels].unsqueeze(dim), out=spare[1]).clamp_(max=0)
    out += z
    out.scatter_(dim, column, z.gather(dim, column))
    return _cross_entropy_(out, column, weight.unsqueeze(dim), 1.0, dim)


def _cross_entropy_(
    x: Tensor, column: Tensor, weight: Tensor, temperature: float, dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Turns logits x into gradients; the labels' own are 0 in the sums by column, then written."""
    top = x.amax(dim, keepdim=True)
    x.sub_(top)
    own = x.gather(dim, column)
    x.exp_().scatter_(dim, column, 0.0)
    others = x.sum(dim, keepdim=True)
    total = others + own.exp()
    # 1 - p_y as the sum of the others: exact also where p_y rounds to 1.
    remainder = others / total
    value = torch.where(remainder < 0.5, -torch.log1p(-remainder), total.log() - own) * weight
    factor = weight * temperature
    x *= factor / total
    remainder *= factor
    negative = sums(x, dim)
    x.scatter_(dim, column, -remainder)
    return value.sum(), remainder.squeeze(dim), negative


def sums(block: Tensor, dim: int) -> Tensor:
    """(K,) sums over the samples, in cascades: a running float32 sum of many samples would lose their last digits."""
    return block.sum(1 - dim)
