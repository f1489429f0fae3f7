"""Objectives: scores, constraints, the best trial, the Pareto front."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from eqbench.sweep.objective import Constraint, Goal, Objective, best, front

FEW = Objective((Goal("val/few"),))
BOTH = Objective((Goal("val/few"), Goal("val/many")))
LIMITED = Objective((Goal("val/few"),), (Constraint("val/many", True, -0.5, relative=True),))


def trial(number: int, few: float, many: float = 0.0, **changes: Any) -> Any:
    kind = {-2: "baseline", -1: "default"}.get(number, "proposed")
    metrics = {"val/few": few, "val/many": many}
    return SimpleNamespace(**{"number": number, "kind": kind, "status": "finished", "metrics": metrics, **changes})


def numbers(trials: list[Any]) -> list[int]:
    return [each.number for each in trials]


def test_metrics_that_it_needs() -> None:
    objective = Objective(BOTH.goals, (*LIMITED.constraints, Constraint("val/top1", False, 3)))
    assert objective.metrics == ("val/few", "val/many", "val/top1")
    assert objective.several
    assert objective.relative
    assert not FEW.several
    assert not FEW.relative


def test_scores_are_missing_as_soon_as_one_is() -> None:
    assert BOTH.scores({"val/few": 1, "val/many": 2, "val/top1": 3}) == (1.0, 2.0)
    assert BOTH.scores({"val/few": 1}) is None
    assert BOTH.scores({"val/few": 1, "val/many": math.nan}) is None
    assert BOTH.scores({"val/few": math.inf, "val/many": 1}) is None


@pytest.mark.parametrize(
    ("constraint", "value", "expected"),
    [
        (Constraint("m", True, 10), 10, 0),
        (Constraint("m", True, 10), 8, 2),
        (Constraint("m", False, 10), 12, 2),
        (Constraint("m", False, 10), 9, 0),
        (Constraint("m", True, -0.5, relative=True), 19.5, 0),
        (Constraint("m", True, -0.5, relative=True), 19, 0.5),
        (Constraint("m", False, 1, relative=True), 22, 1),
        (Constraint("m", True, 10), math.nan, math.nan),
    ],
)
def test_violation_is_what_is_missing(constraint: Constraint, value: float, expected: float) -> None:
    violation = Objective((Goal("m"),), (constraint,)).violation({"m": value}, {"m": 20})
    assert violation == pytest.approx(expected, nan_ok=True)


def test_violation_adds_up_and_is_unknown_without_the_numbers() -> None:
    objective = Objective((Goal("a"),), (Constraint("a", True, 10), Constraint("b", True, 10)))
    assert objective.violation({"a": 7, "b": 8}, None) == 5
    assert math.isnan(objective.violation({"a": 70}, None))
    assert math.isnan(LIMITED.violation({"val/many": 3}, None))
    assert math.isnan(LIMITED.violation({"val/many": 3}, {}))
    assert FEW.violation({}, None) == 0


def test_rounding_is_no_violation() -> None:
    constraint = Constraint("m", True, -0.1, relative=True)
    assert 0.8 - 0.1 > 0.7
    assert Objective((Goal("m"),), (constraint,)).violation({"m": 0.7}, {"m": 0.8}) == 0


def test_descriptions() -> None:
    assert BOTH.describe() == "maximize val/few and maximize val/many"
    assert LIMITED.describe() == "maximize val/few subject to val/many >= baseline - 0.5"
    limits = (Constraint("a", False, 3e-5), Constraint("b", True, 0.0, True), Constraint("c", False, 2, True))
    assert Objective((Goal("train/loss", maximize=False),), limits).describe() == (
        "minimize train/loss subject to a <= 3e-05 and b >= baseline and c <= baseline + 2"
    )
    assert Constraint("a", True, -3).describe() == "a >= -3"
    assert Constraint("a", True, 1 / 3).describe() == f"a >= {1 / 3!r}"


# -- the best ----------------------------------------------------------------------------------------------------


def test_best_is_the_finished_feasible_one_with_the_highest_score() -> None:
    trials = [trial(0, 10, 50), trial(1, 30, 20), trial(2, 20, 49.6), trial(3, 99, 99, status="stopped")]
    assert best(FEW, trials, None).number == 1  # type: ignore[union-attr]
    assert best(LIMITED, trials, {"val/many": 50}).number == 2  # type: ignore[union-attr]
    assert best(LIMITED, trials, {"val/many": 90}) is None
    assert best(LIMITED, trials, None) is None
    assert best(FEW, [], None) is None


def test_best_of_a_goal_to_minimize() -> None:
    lowest = Objective((Goal("val/few", maximize=False),))
    assert best(lowest, [trial(0, 3), trial(1, 2), trial(2, 4)], None).number == 1  # type: ignore[union-attr]


def test_of_equals_the_first_is_the_best_and_the_default_before_any() -> None:
    assert best(FEW, [trial(2, 10), trial(1, 10), trial(3, 5)], None).number == 1  # type: ignore[union-attr]
    assert best(FEW, [trial(1, 10), trial(-1, 10)], None).number == -1  # type: ignore[union-attr]


def test_the_baseline_is_no_candidate() -> None:
    assert best(FEW, [trial(-2, 90), trial(-1, 10)], None).number == -1  # type: ignore[union-attr]
    assert numbers(front(BOTH, [trial(-2, 90, 90), trial(-1, 10, 10)], None)) == [-1]


def test_a_missing_score_is_never_the_best() -> None:
    assert best(FEW, [trial(0, math.nan), trial(1, -5)], None).number == 1  # type: ignore[union-attr]
    assert best(FEW, [trial(0, math.nan)], None) is None


def test_front_has_what_nothing_beats_by_the_first_goal() -> None:
    trials = [trial(0, 10, 50), trial(1, 30, 20), trial(2, 20, 40), trial(3, 20, 30), trial(4, 10, 50), trial(5, 9, 49)]
    assert numbers(front(BOTH, trials, None)) == [1, 2, 0, 4]
    assert best(BOTH, trials, None) is None
    assert numbers(front(FEW, trials, None)) == [1]


def test_front_agrees_with_the_definition() -> None:
    points = [(a * 7 % 11, a * 5 % 13) for a in range(40)]
    mixed = Objective((Goal("val/few"), Goal("val/many", maximize=False)))
    found = set(numbers(front(mixed, [trial(i, *point) for i, point in enumerate(points)], None)))
    for index, (few, many) in enumerate(points):
        beaten = any(f >= few and m <= many and (f, m) != (few, many) for f, m in points)
        assert (index in found) is not beaten
