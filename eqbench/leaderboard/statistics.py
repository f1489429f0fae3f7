"""Statistics of the leaderboard: t-intervals, differences paired by seed, Holm's correction, ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
ALPHA = 0.05
ROUNDING = 1e-9
"""What is below this, or below this share of the values, is rounding: percentages are counts over totals, divided."""


class Estimate(NamedTuple):
    """A mean over `n` values; `mean ± half_width` is its 95 % t-interval. What does not exist is NaN."""

    mean: float
    half_width: float
    n: int


class Difference(NamedTuple):
    """A mean difference over `n` pairs, its 95 % t-interval, the p-value of the two-sided paired t-test."""

    mean: float
    half_width: float
    p: float
    n: int


class Standing(NamedTuple):
    """One row of a table of scores: its rank in each column (1 is best, NaN without a score), summed up.

    `borda` counts, over the columns, the rows beaten; a tie counts one half.
    """

    ranks: tuple[float, ...]
    mean_rank: float
    borda: float

    @property
    def complete(self) -> bool:
        return not any(math.isnan(rank) for rank in self.ranks)


def interval(values: Iterable[float]) -> Estimate:
    """Mean and 95 % t-interval; one value has no interval (NaN), no value has no mean.

    >>> interval([1.0, 2.0, 3.0])
    Estimate(mean=2.0, half_width=2.484..., n=3)
    """
    sample = list(values)
    n = len(sample)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    mean, error = _mean_and_standard_error(sample)
    return Estimate(mean, _half_width(error, n), n)


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Mean of `a - b` over the seeds that both have, with its 95 % t-interval and the paired t-test.

    Fewer than two pairs have neither interval nor p-value (NaN). Differences without variance are no evidence of how
    large chance is, since metrics move in steps: p = 1 if all are zero, NaN otherwise. What is not above rounding is
    zero.

    >>> paired_difference({0: 2.0, 1: 4.0, 2: 9.0}, {0: 1.0, 1: 2.0})
    Difference(mean=1.5, half_width=6.353..., p=0.204..., n=2)
    """
    seeds = [seed for seed in a if seed in b]
    n = len(seeds)
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, 0)
    rounding = ROUNDING * max(1.0, *(abs(value) for seed in seeds for value in (a[seed], b[seed])))
    mean, error = _mean_and_standard_error([a[seed] - b[seed] for seed in seeds])
    mean = 0.0 if abs(mean) <= rounding else mean
    if n == 1:
        return Difference(mean, math.nan, math.nan, 1)
    if error <= rounding:
        return Difference(mean, 0.0, 1.0 if mean == 0 else math.nan, n)
    return Difference(mean, _half_width(error, n), float(2 * stdtr(n - 1, -abs(mean) / error)), n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979); a NaN is no comparison, stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tested = sorted((p, position) for position, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for step, (p, position) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - step) * p))
        corrected[position] = largest
    return corrected


def standings(scores: Sequence[Sequence[float]]) -> list[Standing]:
    """Ranks, mean rank and Borda count of each row of a table; higher is better, NaN is a missing score.

    Ties share the mean of their ranks; scores that differ by rounding alone are tied. A row is ranked in a column among
    the rows that have a score there.

    >>> [standing.mean_rank for standing in standings([[3.0, 1.0], [2.0, 2.0], [1.0, float("nan")]])]
    [1.5, 1.5, 3.0]
    """
    table = np.asarray(scores, dtype=np.float64).reshape(len(scores), len(scores[0]) if scores else 0)
    ranks = np.full_like(table, np.nan)
    points = np.zeros_like(table)
    for column in range(table.shape[1]):
        present = ~np.isnan(table[:, column])
        ranks[present, column] = _ranks(table[present, column])
        points[present, column] = present.sum() - ranks[present, column]
    return [
        Standing(
            tuple(row.tolist()),
            float(np.nanmean(row)) if not np.isnan(row).all() else math.nan,
            float(beaten.sum()),
        )
        for row, beaten in zip(ranks, points, strict=True)
    ]


def best_first(rows: Sequence[Standing]) -> list[int]:
    """Positions of the rows from best to worst mean rank; ties keep their order.

    A row with fewer scores never comes before one with more: an incomplete row never before a complete one.
    """

    def key(position: int) -> tuple[int, float]:
        row = rows[position]
        missing = sum(math.isnan(rank) for rank in row.ranks)
        return missing, math.inf if math.isnan(row.mean_rank) else row.mean_rank

    return sorted(range(len(rows)), key=key)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks, the highest score first; ties share their mean. As `scipy.stats.rankdata`, whose import takes 0.5 s."""
    if not scores.size:
        return scores
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    below_the_last = -np.diff(falling) > ROUNDING * np.maximum(1.0, np.abs(falling[1:]))
    place = np.concatenate([[0], np.cumsum(below_the_last)])
    ties = np.bincount(place)
    ranks = np.empty_like(scores)
    ranks[order] = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return ranks


def _mean_and_standard_error(sample: Sequence[float]) -> tuple[float, float]:
    n = len(sample)
    # Rounding may put the mean of equal values one unit in the last place beside them.
    mean = min(max(math.fsum(sample) / n, min(sample)), max(sample))
    if n == 1:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in sample) / (n - 1)
    return mean, math.sqrt(variance / n)


def _half_width(error: float, n: int) -> float:
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error if n > 1 else math.nan
