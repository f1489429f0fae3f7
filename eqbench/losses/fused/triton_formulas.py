"""What the kernels compute of a tile (pixels, columns) and of its samples; each program inlines it."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from eqbench.losses.fused.plain import LOG1P

__all__ = [
    "LN2",
    "exp",
    "masked",
    "negatives",
    "offsets_of",
    "own_x",
    "sample_ends",
    "samples_of",
    "seesaw_x",
    "shifts_at",
    "store_gradient",
]

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
# log2(1 + e) / e on [0, 1], ascending powers.
LOG2_1P = tl.constexpr(tuple(coefficient * 1.4426950408889634 for coefficient in LOG1P))
TERMS = tl.constexpr(len(LOG1P))


@triton.jit
def samples_of(labels, weights, pixel, pixels, WEIGHTED: tl.constexpr):
    """Which of a tile's samples exist, their labels and weights; 0 for those that do not."""
    inside = pixel < pixels
    label = tl.load(labels + pixel, mask=inside, other=0).to(tl.int32)
    weight = tl.load(weights + pixel, mask=inside, other=0.0) if WEIGHTED else tl.where(inside, 1.0, 0.0)
    return inside, label, weight


@triton.jit
def offsets_of(p, k, pixel_stride, column_stride, WIDE: tl.constexpr):
    """Of a tile's elements from its first, in 32 bits where that is enough."""
    if WIDE:
        p = p.to(tl.int64)
        k = k.to(tl.int64)
    return p[:, None] * pixel_stride + k[None, :] * column_stride


@triton.jit
def exp(x):
    """One instruction more than exp2; tl.exp spends five on subnormal results, which are 0 here."""
    return tl.exp2(x * LOG2E)


@triton.jit
def negatives(z, exponent, FOCAL: tl.constexpr):
    """Value p^G softplus(z), in units of ln 2, and slope p^G (p + G (1 - p) softplus(z)), without a division."""
    scaled = z * LOG2E
    e = tl.exp2(-tl.abs(scaled))
    log = e * LOG2_1P[TERMS - 1] + LOG2_1P[TERMS - 2]
    for term in tl.static_range(3, TERMS + 1):
        log = log * e + LOG2_1P[TERMS - term]
    log = log * e
    value = tl.maximum(scaled, 0.0) + log
    # 1 / (1 + e), the larger of p and 1 - p; the smaller is e times that.
    larger = tl.exp2(-log)
    smaller = larger * e
    slope = tl.where(z >= 0, larger, smaller)
    if FOCAL:
        power = tl.exp2(exponent * (tl.minimum(scaled, 0.0) - log))
        slope += exponent * LN2 * tl.where(z >= 0, smaller, larger) * value
        slope *= power
        value *= power
    return value, slope


@triton.jit
def shifts_at(shifts, place, MODE: tl.constexpr):
    """(columns,) what is added to x. MODE: 1 with shifts, 2 with label shifts, 3 with both, 0 without."""
    return tl.load(shifts + place) if MODE % 2 == 1 else tl.zeros_like(place).to(tl.float32)


@triton.jit
def masked(x, valid, label, column):
    """-inf at the label, and everywhere in a sample that does not count."""
    return tl.where(valid[:, None] & (label[:, None] != column[None, :]), x, float("-inf"))


@triton.jit
def own_x(z, label, valid, shifts, label_shifts, temperature, SEESAW: tl.constexpr, MODE: tl.constexpr):
    """The label's x from its z, and the label's shift."""
    shift = shifts_at(shifts, label, MODE)
    x = z
    if not SEESAW:
        x = z * temperature + shift
    if MODE >= 2:
        x += tl.load(label_shifts + label)
    return tl.where(valid, x, 0.0), shift


@triton.jit
def seesaw_x(z, shift, own_shift, log_total, bar, q):
    """Mitigation by log counts, compensation by what log s = z - log_total is over `bar` = log max(s_y, eps)."""
    over = tl.maximum(z - log_total[:, None] - bar[:, None], 0.0)
    return z + tl.minimum(shift[None, :] - own_shift[:, None], 0.0) + q * over


@triton.jit
def sample_ends(others, own, top, weight, temperature):
    """Loss, remainder and factor from exp(x - top) to the gradient, of each sample."""
    total = others + exp(own - top)
    inverse = 1.0 / total
    rest = others * inverse
    # log1p(-rest) is log(p) less what p is too large by; near p = 1, where that matters, 1 + rest is 1 / p.
    p = 1.0 - rest
    confident = rest < 0.5
    log = tl.log(tl.where(confident, p, total))
    loss = tl.where(confident, (rest - (1.0 - p)) * (1.0 + rest) - log, log - (own - top))
    factor = weight * temperature
    return loss * weight, rest * factor, factor * inverse


@triton.jit
def store_gradient(target, e, share, remainder, label, column, inside, output_scale):
    """What belongs to e = exp(x - top) times the factor `share`; minus the remainder at the label."""
    own = (0.0 - remainder * output_scale)[:, None]
    g = tl.where(label[:, None] == column[None, :], own, e * (share * output_scale)[:, None])
    tl.store(target, g.to(target.dtype.element_ty), mask=inside)
