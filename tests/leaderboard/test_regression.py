from __future__ import annotations

import math

import pytest

from eqbench.leaderboard.bootstrap import NONE, GroupDifference, Interval
from eqbench.leaderboard.regression import Change, judge

WORSE, UNSURE = Interval(-5.0, -1.0, 0.01), Interval(-5.0, 1.0, 0.3)


def classes(interval: Interval, difference: float = -2.0) -> list[GroupDifference]:
    return [GroupDifference("all", 40, difference, interval)]


@pytest.mark.parametrize(
    ("over_images", "over_classes", "tolerance", "sentence"),
    [
        ({"ap": WORSE}, [], 0.0, "a regression: ap -2.00, 95 % interval over images -5.00 to -1.00"),
        ({"ap": UNSURE}, [], 0.0, "no regression: ap -2.00, 95 % interval over images -5.00 to +1.00"),
        ({"ap": UNSURE}, classes(WORSE), 0.0, "no regression: ap -2.00, 95 % interval over images -5.00 to +1.00"),
        ({"ap": WORSE}, [], 3.0, "no regression: ap -2.00, 95 % interval over images -5.00 to -1.00; 3 is tolerated"),
        ({}, classes(WORSE), 0.0, "a regression: ap -2.00, 95 % interval over 40 classes -5.00 to -1.00"),
        ({}, classes(UNSURE), 0.0, "no regression: ap -2.00, 95 % interval over 40 classes -5.00 to +1.00"),
        ({}, classes(UNSURE, -3.0), 0.0, "a regression: ap -2.00 (without an interval; anything below 0 counts)"),
        ({}, classes(NONE), 0.0, "a regression: ap -2.00 (without an interval; anything below 0 counts)"),
        ({}, [], 1.5, "a regression: ap -2.00 (without an interval; more than 1.5 below counts)"),
        ({}, [], 2.5, "no regression: ap -2.00 (without an interval; more than 2.5 below counts)"),
    ],
)
def test_what_decides(
    over_images: dict[str, Interval], over_classes: list[GroupDifference], tolerance: float, sentence: str
) -> None:
    found = judge(Change("ap", 30.0, 28.0), over_images, over_classes, tolerance)
    assert found.sentence == sentence
    assert found.regression is sentence.startswith("a regression")


def test_rounding_is_no_regression() -> None:
    """The same share of right answers, summed up in two orders."""
    a = 100 * 0.3
    found = judge(Change("top1", a, a - 1e-13), {}, [], 0.0)
    assert found == (False, "no regression: top1 is the same")


def test_a_small_difference_is_shown() -> None:
    assert judge(Change("ap", 30.0, 29.9996), {}, [], 0.0).sentence.startswith("a regression: ap -0.0004 (without")


@pytest.mark.parametrize("values", [(math.nan, 30.0), (30.0, math.nan)])
def test_a_missing_main_metric_counts_as_worse(values: tuple[float, float]) -> None:
    assert judge(Change("ap", *values), {}, [], 0.0).regression
