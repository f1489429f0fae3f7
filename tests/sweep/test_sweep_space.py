"""Parameters and spaces: draws, conditions, grids, sizes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from eqbench.sweep.space import KINDS, Parameter, Space, same, spelled

TAU = Parameter("loss.tau", "uniform", 0.25, 4)
LR = Parameter("train.optimizer.lr", "loguniform", 1e-3, 1)
BATCH = Parameter("train.batch_size", "integer", 16, 18)
INDICATOR = Parameter("loss.indicator", "choice", values=("positive", "both", None, True))
EPS = Parameter("loss.eps", "grid", values=(1e-5, 1e-4))
NAME = Parameter("loss.name", "choice", values=("softmax_eql", "sigmoid_eql", "focal"))
GAMMA = Parameter("loss.gamma", "grid", values=(4, 12), when={"loss.name": ("sigmoid_eql",)})
MU = Parameter("loss.mu", "grid", values=(0.7, 0.8, 0.9), when={"loss.gamma": (12,), "loss.name": ("sigmoid_eql",)})
CONDITIONAL = Space((NAME, GAMMA, MU, EPS))


def drawn(parameter: Parameter, number: int = 2000) -> list[object]:
    generator = np.random.default_rng(0)
    return [parameter.draw(generator) for _ in range(number)]


@pytest.mark.parametrize("parameter", [TAU, LR, BATCH, INDICATOR, EPS], ids=lambda parameter: parameter.kind)
def test_draws_are_plain_values_that_the_parameter_takes(parameter: Parameter) -> None:
    for value in drawn(parameter):
        assert value is None or type(value) in (int, float, str, bool)
        assert parameter.takes(value)  # type: ignore[arg-type]


def test_uniform_draws_are_even_and_loguniform_ones_even_in_their_logarithm() -> None:
    values = np.array(drawn(TAU), dtype=float)
    assert abs(np.mean(values < (0.25 + 4) / 2) - 0.5) < 0.04
    logarithms = np.log10(np.array(drawn(LR), dtype=float))
    assert np.all(np.abs(np.histogram(logarithms, bins=3, range=(-3, 0))[0] / 2000 - 1 / 3) < 0.04)


def test_integers_include_both_ends_and_choices_every_value() -> None:
    assert set(drawn(BATCH)) == {16, 17, 18}
    assert {repr(value) for value in drawn(INDICATOR)} == {"'positive'", "'both'", "None", "True"}


def test_draws_depend_on_the_generator_alone() -> None:
    space = Space((TAU, LR, BATCH, INDICATOR))
    settings = [space.draw(np.random.default_rng([7, number])) for number in (3, 3, 4)]
    assert settings[0] == settings[1] != settings[2]


@pytest.mark.parametrize(
    ("parameter", "refused"),
    [
        (TAU, [0.2, 4.1, "1", True, None, math.nan]),
        (BATCH, [15, 19, 16.5, True]),
        (INDICATOR, ["negative", False, 1]),
        (EPS, [1e-3, None]),
    ],
    ids=lambda each: each.kind if isinstance(each, Parameter) else "",
)
def test_values_that_a_parameter_does_not_take(parameter: Parameter, refused: list[float]) -> None:
    assert [value for value in refused if parameter.takes(value)] == []


def test_what_a_kind_is() -> None:
    parameters = {each.kind: each for each in (TAU, LR, BATCH, INDICATOR, EPS)}
    assert set(parameters) == set(KINDS)
    assert {kind for kind, each in parameters.items() if each.numeric} == set(KINDS) - {"choice"}
    assert {kind for kind, each in parameters.items() if each.log} == {"loguniform"}
    assert {kind: each.size for kind, each in parameters.items()} == {
        "uniform": None,
        "loguniform": None,
        "integer": 3,
        "choice": 4,
        "grid": 2,
    }


def test_descriptions() -> None:
    assert LR.describe() == "loguniform 0.001 to 1"
    assert BATCH.describe() == "integer 16 to 18"
    assert INDICATOR.describe() == "one of positive, both, null, true"
    assert MU.describe() == "grid 0.7, 0.8, 0.9 when loss.gamma is 12 and loss.name is sigmoid_eql"


def test_true_is_not_one() -> None:
    assert not same(True, 1)
    assert same(2, 2.0)
    assert spelled(2.0) == "2"


# -- spaces ------------------------------------------------------------------------------------------------------


def test_conditions_reach_over_several_parameters() -> None:
    assert CONDITIONAL.active("loss.gamma", {"loss.name": "sigmoid_eql"})
    assert not CONDITIONAL.active("loss.gamma", {"loss.name": "focal"})
    assert not CONDITIONAL.active("loss.gamma", {})
    assert CONDITIONAL.active("loss.mu", {"loss.name": "sigmoid_eql", "loss.gamma": 12})
    assert not CONDITIONAL.active("loss.mu", {"loss.name": "sigmoid_eql", "loss.gamma": 4})
    assert not CONDITIONAL.active("loss.mu", {"loss.name": "focal", "loss.gamma": 12})
    with pytest.raises(KeyError):
        CONDITIONAL.active("loss.tau", {})


def test_a_draw_has_the_parameters_that_apply_and_no_other() -> None:
    generator = np.random.default_rng(0)
    settings = [CONDITIONAL.draw(generator) for _ in range(300)]
    assert all(CONDITIONAL.contains(values) for values in settings)
    assert {tuple(values) for values in settings} == {
        ("loss.name", "loss.eps"),
        ("loss.name", "loss.gamma", "loss.eps"),
        ("loss.name", "loss.gamma", "loss.mu", "loss.eps"),
    }


def test_contains() -> None:
    assert CONDITIONAL.contains({"loss.name": "focal", "loss.eps": 1e-5})
    assert not CONDITIONAL.contains({"loss.name": "focal", "loss.eps": 1e-5, "loss.gamma": 4})
    assert not CONDITIONAL.contains({"loss.name": "focal"})
    assert not CONDITIONAL.contains({"loss.name": "focal", "loss.eps": 2})


def test_grid_has_every_setting_once_the_last_parameter_fastest() -> None:
    grid = CONDITIONAL.grid()
    assert grid[:4] == [
        {"loss.name": "softmax_eql", "loss.eps": 1e-5},
        {"loss.name": "softmax_eql", "loss.eps": 1e-4},
        {"loss.name": "sigmoid_eql", "loss.gamma": 4, "loss.eps": 1e-5},
        {"loss.name": "sigmoid_eql", "loss.gamma": 4, "loss.eps": 1e-4},
    ]
    assert all(CONDITIONAL.contains(values) for values in grid)
    assert not any(a == b for a, b in itertools.combinations(grid, 2))
    assert len(grid) == CONDITIONAL.size == 12


def test_size_counts_values_that_decide_nothing_together() -> None:
    batch = Parameter("train.batch_size", "integer", 1, 1_000_000)
    few = Parameter("loss.eps", "grid", values=(1, 2, 3), when={"train.batch_size": (7, 8)})
    assert Space((batch, few)).size == 999_998 + 2 * 3
    assert Space((batch, TAU)).size is None
    assert Space((batch, Parameter("loss.indicator", "choice", values=("a", "b")))).size == 2_000_000


def test_grid_of_a_range_or_of_very_many_settings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\.tau: uniform 0\.25 to 4, expected choice or grid"):
        Space((EPS, TAU)).grid()
    many = tuple(Parameter(f"loss.p{i}", "grid", values=tuple(range(100))) for i in range(4))
    with pytest.raises(ValueError, match=r"100,000,000 settings, expected at most 100,000"):
        Space(many).grid()


def test_grid_agrees_with_all_combinations_where_there_are_no_conditions() -> None:
    space = Space((EPS, NAME, INDICATOR))
    combinations = itertools.product(EPS.values, NAME.values, INDICATOR.values)
    assert [tuple(values.values()) for values in space.grid()] == list(combinations)
