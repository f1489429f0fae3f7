from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from eqbench.leaderboard.statistics import best_first, holm, interval, paired_difference, standings

NAN = math.nan
percentages = st.floats(0, 100)
whole_thousandths = st.integers(0, 100_000).map(lambda number: number / 1000)
samples = st.lists(percentages, min_size=2, max_size=12)
p_values = st.lists(st.floats(0, 1), max_size=12)


def seeds(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


# -- interval ------------------------------------------------------------------------------------------------


def test_interval_by_hand() -> None:
    mean, half_width, n = interval([90.0, 92.0, 94.0, 96.0, 98.0])
    # standard deviation sqrt(10), t(4, 0.975) = 2.776445
    assert (mean, n) == (94.0, 5)
    assert half_width == pytest.approx(2.776445 * math.sqrt(10 / 5), rel=1e-6)


@settings(deadline=None)
@given(samples)
def test_interval_is_that_of_scipy(values: list[float]) -> None:
    assume(max(values) - min(values) > 1e-3)
    mean, half_width, n = interval(values)
    low, high = stats.t.interval(0.95, n - 1, loc=stats.tmean(values), scale=stats.sem(values))
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


def test_one_value_has_no_interval_and_no_value_no_mean() -> None:
    assert interval([93.0])[::2] == (93.0, 1)
    assert math.isnan(interval([93.0]).half_width)
    assert interval([]).n == 0
    assert math.isnan(interval([]).mean)


@settings(deadline=None)
@given(percentages, st.integers(2, 50))
def test_equal_values_have_exactly_their_mean_and_no_width(value: float, n: int) -> None:
    assert interval([value] * n) == (value, 0.0, n)


@settings(deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_interval_does_not_depend_on_the_order(values: list[float], rng: random.Random) -> None:
    shuffled = rng.sample(values, len(values))
    assert interval(shuffled) == interval(values)


@settings(deadline=None)
@given(samples, st.floats(-100, 100))
def test_interval_moves_with_the_values(values: list[float], shift: float) -> None:
    moved, still = interval([value + shift for value in values]), interval(values)
    assert moved.mean == pytest.approx(still.mean + shift, abs=1e-9)
    assert moved.half_width == pytest.approx(still.half_width, abs=1e-9)


# -- paired difference ---------------------------------------------------------------------------------------


def test_paired_difference_by_hand() -> None:
    # differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 2 sqrt(3) = 3.4641 with 2 degrees of freedom
    mean, half_width, p, n = paired_difference({0: 11.0, 1: 22.0, 2: 33.0}, {2: 30.0, 1: 20.0, 0: 10.0})
    assert (mean, n) == (2.0, 3)
    assert half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    t = 2 * math.sqrt(3)
    assert p == pytest.approx(
        1 - t / math.sqrt(t * t + 2), rel=1e-9
    )  # Student's distribution for 2 degrees in closed form


@settings(deadline=None)
@given(st.lists(st.tuples(percentages, percentages), min_size=2, max_size=12))
def test_paired_difference_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    differences = [a - b for a, b in pairs]
    assume(max(differences) - min(differences) > 1e-3)
    a, b = map(list, zip(*pairs, strict=True))
    mine, scipys = paired_difference(seeds(a), seeds(b)), stats.ttest_rel(a, b)
    low, high = scipys.confidence_interval(0.95)
    assert mine.p == pytest.approx(scipys.pvalue, rel=1e-6, abs=1e-12)
    assert (mine.mean - mine.half_width, mine.mean + mine.half_width) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_only_common_seeds_are_paired() -> None:
    a, b = {0: 1.0, 1: 2.0, 2: 4.0, 7: 99.0}, {2: 1.0, 1: 1.0, 0: 1.0, 8: -99.0}
    assert paired_difference(a, b) == paired_difference({0: 1.0, 1: 2.0, 2: 4.0}, {0: 1.0, 1: 1.0, 2: 1.0})


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.5, math.nan), (-0.5, math.nan)])
def test_differences_without_variance_are_the_limit_of_the_test(shift: float, p: float) -> None:
    baseline = seeds([90.0, 91.0, 93.5])
    shifted = {seed: value + shift for seed, value in baseline.items()}
    assert paired_difference(shifted, baseline) == pytest.approx((shift, 0.0, p, 3), nan_ok=True)


@settings(deadline=None)
@given(st.integers(2, 2000), st.lists(st.integers(0, 2000), min_size=2, max_size=6), st.integers(-3, 3))
def test_equal_differences_of_counts_are_equal_whatever_rounding_makes_of_them(
    total: int, counts: list[int], more: int
) -> None:
    a = seeds([100 * (count + more) / total for count in counts])
    b = seeds([100 * count / total for count in counts])
    mean, half_width, p, n = paired_difference(a, b)
    assert mean == pytest.approx(100 * more / total)
    assert (half_width, n) == (0.0, len(counts))
    assert (mean == 0) == (more == 0)
    assert p == pytest.approx(1.0 if more == 0 else NAN, nan_ok=True)


def test_what_differs_by_rounding_is_the_same() -> None:
    a, b = seeds([82.22222222222221, 50.0]), seeds([82.22222222222223, 50.0])
    assert paired_difference(a, b) == (0.0, 0.0, 1.0, 2)
    assert paired_difference({0: a[0]}, {0: b[0]}).mean == 0.0


@settings(deadline=None)
@given(st.integers(2, 100_000), st.integers(0, 1))
def test_the_smallest_step_of_a_metric_is_no_rounding(total: int, first: int) -> None:
    one_more = 100 / total
    assert paired_difference(seeds([50.0 + one_more, 50.0]), seeds([50.0, 50.0])).half_width > 0
    assert standings([[50.0], [50.0 + one_more]])[first].ranks == (2.0 - first,)


def test_fewer_than_two_pairs_have_no_p_value() -> None:
    mean, half_width, p, n = paired_difference({0: 2.0, 1: 5.0}, {1: 4.0, 2: 1.0})
    assert (mean, n) == (1.0, 1)
    assert math.isnan(half_width)
    assert math.isnan(p)
    assert paired_difference({0: 1.0}, {1: 1.0}).n == 0


@settings(deadline=None)
@given(st.lists(st.tuples(percentages, percentages), min_size=2, max_size=12))
def test_paired_difference_changes_its_sign_with_the_order(pairs: list[tuple[float, float]]) -> None:
    a, b = (seeds(list(values)) for values in zip(*pairs, strict=True))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.mean, there.half_width) == (-back.mean, back.half_width)
    assert there.p == pytest.approx(back.p, nan_ok=True)
    assert math.isnan(there.p) == (there.half_width == 0 and there.mean != 0)


# -- Holm ----------------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04: times 4, 3, 2, 1 = .02 .03 .06 .04, and the last is raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_not_tested() -> None:
    corrected = holm([0.01, NAN, 0.04])
    assert corrected[::2] == pytest.approx([0.02, 0.04])
    assert math.isnan(corrected[1])
    assert holm([]) == []


@settings(deadline=None)
@given(p_values)
def test_holm_raises_keeps_the_order_and_is_at_most_bonferroni(values: list[float]) -> None:
    corrected = holm(values)
    for raw, p in zip(values, corrected, strict=True):
        assert raw <= p <= max(raw, min(1.0, len(values) * raw))
    in_order = [p for _, p in sorted(zip(values, corrected, strict=True))]
    assert all(first <= second for first, second in pairwise(in_order))


# -- ranks ---------------------------------------------------------------------------------------------------


def test_standings_by_hand() -> None:
    placed = standings(
        [
            [70.0, 30.0, 50.0],  # ranks 2, 1.5, 3
            [80.0, 30.0, 60.0],  # ranks 1, 1.5, 2
            [60.0, 10.0, 90.0],  # ranks 3, 3, 1
        ]
    )
    assert [row.ranks for row in placed] == [(2.0, 1.5, 3.0), (1.0, 1.5, 2.0), (3.0, 3.0, 1.0)]
    assert [row.mean_rank for row in placed] == pytest.approx([6.5 / 3, 1.5, 7 / 3])
    assert [row.borda for row in placed] == [2.5, 4.5, 2.0]
    assert best_first(placed) == [1, 0, 2]


def test_scores_that_differ_by_rounding_are_tied() -> None:
    scores = [82.22222222222221, 82.22222222222223, 90.0, 82.22222222222222]
    assert [row.ranks for row in standings([[score] for score in scores])] == [(3.0,), (3.0,), (1.0,), (3.0,)]


def test_an_incomplete_row_is_never_before_a_complete_one() -> None:
    placed = standings([[NAN, 99.0], [50.0, 10.0], [NAN, NAN], [60.0, 20.0]])
    assert [row.complete for row in placed] == [False, True, False, True]
    assert [row.mean_rank for row in placed[:2]] == [1.0, 2.5]
    assert math.isnan(placed[2].mean_rank)
    assert [row.borda for row in placed] == [2.0, 0.0, 0.0, 2.0]
    assert best_first(placed) == [3, 1, 0, 2]


def test_ties_keep_their_order() -> None:
    assert best_first(standings([[1.0], [2.0], [1.0], [2.0]])) == [1, 3, 0, 2]


def test_no_rows_and_no_columns() -> None:
    assert standings([]) == []
    assert [row.complete for row in standings([[], []])] == [True, True]


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_borda_shares_out_all_pairs_and_agrees_with_the_mean_rank(rows: int, columns: int, data: st.DataObject) -> None:
    table = data.draw(st.lists(st.lists(percentages, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    placed = standings(table)
    assert sum(row.borda for row in placed) == columns * rows * (rows - 1) / 2
    assert [row.borda for row in placed] == pytest.approx([columns * (rows - row.mean_rank) for row in placed])


@given(st.lists(st.integers(0, 30).map(lambda k: 100 * k / 30) | whole_thousandths, min_size=1, max_size=12))
def test_ranks_are_those_of_scipy(scores: list[float]) -> None:
    assert [standing.ranks[0] for standing in standings([[score] for score in scores])] == list(
        stats.rankdata([-score for score in scores])
    )
