"""The paired bootstrap: how far the difference of two runs is chance in the choice of images, or of classes.

Resamples draw as many images (or classes) as there are, with replacement, and both runs are judged on the same draw.
The interval is that of the percentiles of B - A (Efron and Tibshirani, An Introduction to the Bootstrap, 1993), taken
further out by what the t-distribution is wider than the normal one and by the variance that n draws lack (the expanded
percentile interval; Hesterberg, What Teachers Should Know About the Bootstrap, arXiv:1411.5279): of few values the
plain percentiles are too narrow. It says nothing of other seeds: those need more runs.

Legend: R resamples, N images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from eqbench.evaluation.image_totals import RESAMPLES, ByImage
from eqbench.leaderboard.statistics import CONFIDENCE

Floats = NDArray[np.float64]

SEED = 0
FEWEST = 8
"""Images or classes. Of 8 values that are normal, t (3) or exponential, 5.7, 6.5 and 10.9 % of the intervals miss the
mean; with fewer it becomes more."""
ROUNDING = 1e-9
"""A difference of metrics up to this is none."""
DRAWN_AT_ONCE = 2**22


class Interval(NamedTuple):
    """The 95 % interval of a difference, and its two-sided p-value for no difference. NaN where there is none."""

    low: float
    high: float
    p: float


NONE = Interval(math.nan, math.nan, math.nan)


class GroupDifference(NamedTuple):
    """The mean of B - A over the `n` classes of a group that both runs have a number for."""

    group: str
    n: int
    difference: float
    interval: Interval


def over_images(a: ByImage, b: ByImage, resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Interval]:
    """The interval of B - A of every metric that both have, computed anew for each resample of their images."""
    parts: dict[str, list[Floats]] = {}
    for times in _draws(a.number, resamples, seed):
        of_a, of_b = a.resampled(times), b.resampled(times)
        for name in of_a.keys() & of_b.keys():
            parts.setdefault(name, []).append(of_b[name] - of_a[name])
    return {name: interval(np.concatenate(differences), a.number) for name, differences in parts.items()}


def over_classes(
    differences: Sequence[float], groups: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> list[GroupDifference]:
    """The mean of B - A over all classes (`all`) and over those of each group, classes drawn within the group.

    >>> [(each.group, each.n, each.difference) for each in over_classes([1.0, 2.0, float("nan")], ["few"] * 3)]
    [('all', 2, 1.5), ('few', 2, 1.5)]
    """
    values, names = np.asarray(differences, np.float64), np.asarray(groups, object)
    existing = ~np.isnan(values)
    members = {"all": existing} | {name: existing & (names == name) for name in dict.fromkeys(groups)}
    return [_mean_difference(name, values[chosen], resamples, seed) for name, chosen in members.items()]


def interval(differences: Floats, n: int) -> Interval:
    """Of the resamples' differences (R,) of `n` values each; those that do not exist are left out. If half of them are,
    there is none.

    The p-value is that at which the interval would end at zero. A difference of zero is on both sides of it, and the
    sample itself counts as one more resample, so that p is never 0.

    >>> interval(np.arange(1.0, 6.0), n=1000)
    Interval(low=1.09..., high=4.90..., p=0.333...)
    """
    existing = differences[~np.isnan(differences)]
    if 2 * len(existing) <= len(differences):
        return NONE
    existing[np.abs(existing) <= ROUNDING] = 0
    outside = ndtr(stdtrit(n - 1, (1 - CONFIDENCE) / 2) * math.sqrt(n / (n - 1)))
    low, high = np.quantile(existing, [outside, 1 - outside])
    fewer = min(np.count_nonzero(existing <= 0), np.count_nonzero(existing >= 0))
    return Interval(float(low), float(high), _p((fewer + 1) / (len(existing) + 1), n))


def smallest_p(resamples: int, n: int) -> float:
    """The p-value of a difference that all resamples agree on: as small as so many can make it."""
    return _p(1 / (resamples + 1), n)


def _p(share: float, n: int) -> float:
    """Of the share of resamples on one side of zero."""
    quantile = float(ndtri(min(share, 0.5))) * math.sqrt((n - 1) / n)
    return float(2 * stdtr(n - 1, quantile))


def _mean_difference(group: str, values: Floats, resamples: int, seed: int) -> GroupDifference:
    number = len(values)
    mean = math.fsum(values) / number if number else math.nan
    if number < FEWEST:
        return GroupDifference(group, number, mean, NONE)
    means = np.concatenate([times @ values / number for times in _draws(number, resamples, seed)])
    return GroupDifference(group, number, mean, interval(means, number))


def _draws(number: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of `number` is drawn, (some resamples, number) at a time; the same whatever their number."""
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // number)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(number, size=(rows, number))
        drawn += number * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)
