"""The paired bootstrap: how far the difference of two runs is chance in the choice of images, or of classes.

Resamples draw as many images (or classes) as there are, with replacement, and both runs are judged on the same draw;
the interval is that of the percentiles of B - A (Efron and Tibshirani, An Introduction to the Bootstrap, 1993). It says
nothing of other seeds: those need more runs.

Legend: R resamples, N images, Q sums that metrics are made of, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eqbench.leaderboard.statistics import CONFIDENCE

Floats = NDArray[np.float64]
Metrics = Callable[[Floats], Mapping[str, Floats]]
"""Sums (R, Q, C) to the metrics of each resample, (R,)."""

RESAMPLES = 2000
SEED = 0
FEWEST = 6
"""Images or classes. Of five differences with one sign even the exact sign test has p = 0.06; the bootstrap of so few
would still call them significant."""
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


def over_images(a: Any, b: Any, metrics: Metrics, resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Interval]:
    """The interval of B - A of every metric, which is computed anew for each resample.

    Args:
        a, b: (N, Q * C) scipy.sparse arrays: what each image adds to the sums, image by image the same in both.
        metrics: what makes metrics of sums (R, Q * C).
    """
    parts: dict[str, list[Floats]] = {}
    for times in _draws(a.shape[0], resamples, seed):
        of_a, of_b = (metrics((totals.T @ times.T).T) for totals in (a, b))
        for name in of_a:
            parts.setdefault(name, []).append(of_b[name] - of_a[name])
    return {name: interval(np.concatenate(differences)) for name, differences in parts.items()}


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


def interval(differences: Floats) -> Interval:
    """Of the resamples' differences (R,); those that do not exist are left out. If half of them are, there is none.

    The p-value is twice the smaller share of resamples on one side of zero, where a difference of zero is on both
    sides and the sample itself counts as one more resample, so that it is never 0.

    >>> interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    Interval(low=1.1, high=4.9, p=0.333...)
    """
    existing = differences[~np.isnan(differences)]
    if 2 * len(existing) <= len(differences):
        return NONE
    low, high = np.quantile(existing, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    fewer = min(np.count_nonzero(existing <= 0), np.count_nonzero(existing >= 0))
    return Interval(float(low), float(high), min(1.0, 2 * (fewer + 1) / (len(existing) + 1)))


def _mean_difference(group: str, values: Floats, resamples: int, seed: int) -> GroupDifference:
    number = len(values)
    mean = math.fsum(values) / number if number else math.nan
    if number < FEWEST:
        return GroupDifference(group, number, mean, NONE)
    means = np.concatenate([times @ values / number for times in _draws(number, resamples, seed)])
    return GroupDifference(group, number, mean, interval(means))


def _draws(number: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of `number` is drawn, (some resamples, number) at a time; the same whatever their number."""
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // number)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(number, size=(rows, number))
        drawn += number * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)
