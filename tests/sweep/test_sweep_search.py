"""Searches: what they propose, that they never repeat themselves, and that a process started again goes on alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from eqbench.errors import InputError
from eqbench.sweep.objective import Constraint, Goal, Objective
from eqbench.sweep.schema import SearchConfig
from eqbench.sweep.search import Outcome, Search, build
from eqbench.sweep.space import Parameter, Space, Value

TAU = Parameter("loss.tau", "uniform", 0.25, 4)
LR = Parameter("train.lr", "loguniform", 1e-3, 1)
BATCH = Parameter("train.batch_size", "integer", 16, 64)
INDICATOR = Parameter("loss.indicator", "choice", values=("positive", "all"))
EPS = Parameter("loss.eps", "grid", values=(1e-5, 1e-4, 1e-3))
MIXED = Space((TAU, LR, BATCH, INDICATOR, EPS))
SMALL = Space((INDICATOR, EPS))
CONDITIONAL = Space(
    (
        Parameter("loss.name", "choice", values=("softmax_eql", "sigmoid_eql")),
        Parameter("loss.tau", "uniform", 0.25, 4, when={"loss.name": ("softmax_eql",)}),
        Parameter("loss.gamma", "uniform", 4, 20, when={"loss.name": ("sigmoid_eql",)}),
    )
)
FEW = Objective((Goal("val/few"),))
LOWEST = Objective((Goal("train/loss", maximize=False),))
BOTH = Objective((Goal("val/few"), Goal("val/many")))
OPTUNA = [("optuna", {"sampler": sampler, "startup_trials": 5}) for sampler in ("tpe", "nsgaii", "random", "qmc")]
EVERY = [("random", {}), *OPTUNA]
TUNE = [("hyperopt", {"n_initial_points": 5}), ("nevergrad", {})]


def search(
    name: str, space: Space, objective: Objective = FEW, options: Mapping[str, Any] | None = None, seed: int = 0
) -> Search:
    return build(SearchConfig(name, seed, dict(options or {})), space, objective, concurrent=2)


def ended(*scores: float, state: Any = "finished", **rest: Any) -> Outcome:
    return Outcome(state, scores or None, **rest)


def score(values: Mapping[str, Value]) -> float:
    """Best at tau 2 and a learning rate of 0.03."""
    tau, rate = values["loss.tau"], values["train.lr"]
    assert isinstance(tau, float)
    assert isinstance(rate, float)
    return 50 - 10 * (tau - 2) ** 2 - 5 * math.log10(rate / 0.03) ** 2


def run(proposing: Search, number: int, outcome: Callable[[Mapping[str, Value]], Outcome]) -> list[dict[str, Value]]:
    """Ask, try, tell; one after another."""
    tried = []
    for index in range(number):
        values = proposing.ask(index)
        assert values is not None
        proposing.tell(index, values, outcome(values))
        tried.append(values)
    return tried


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_proposals_lie_in_the_space_and_differ(name: str, options: dict[str, Any]) -> None:
    tried = run(search(name, MIXED, options=options), 12, lambda values: ended(score(values)))
    assert all(MIXED.contains(values) for values in tried)
    assert all(isinstance(values["train.batch_size"], int) for values in tried)
    assert all(one != other for one, other in itertools.combinations(tried, 2))


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_condition_decides_which_parameters_a_proposal_has(name: str, options: dict[str, Any]) -> None:
    tried = run(search(name, CONDITIONAL, options=options), 16, lambda values: ended(float(len(values))))
    assert all(CONDITIONAL.contains(values) for values in tried)
    assert {frozenset(values) for values in tried} == {
        frozenset({"loss.name", "loss.tau"}),
        frozenset({"loss.name", "loss.gamma"}),
    }


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_search_that_is_told_all_again_in_another_order_goes_on_alike(name: str, options: dict[str, Any]) -> None:
    first = search(name, MIXED, options=options)
    default = {**dict.fromkeys(MIXED.paths), "loss.tau": 1.0, "train.lr": 0.1, "train.batch_size": 32}
    default |= {"loss.indicator": "all", "loss.eps": 1e-4}
    first.tell(-1, default, ended(20.0))
    run(first, 8, lambda values: ended(score(values)))
    waiting = [first.ask(8), first.ask(9)]
    expected = first.ask(10)

    again = search(name, MIXED, options=options)
    for number, values in reversed(list(enumerate(waiting, start=8))):
        assert values is not None
        again.running(number, values)
    for record in reversed(first.records[:9]):
        assert record.outcome is not None
        again.tell(record.number, record.values, record.outcome)
    assert again.ask(10) == expected
    assert search(name, MIXED, options=options, seed=1).ask(10) != expected


def test_a_gaussian_process_is_rebuilt_alike_with_settings_in_progress() -> None:
    def prepared() -> Search:
        proposing = search("optuna", CONDITIONAL, options={"sampler": "gp", "startup_trials": 3})
        for number in range(4):
            proposing.tell(number, {"loss.name": "softmax_eql", "loss.tau": number / 2 + 1}, ended(float(number)))
        proposing.tell(4, {"loss.name": "softmax_eql", "loss.tau": 3.9}, ended(4.0, state="stopped"))
        proposing.running(5, {"loss.name": "sigmoid_eql", "loss.gamma": 5.0})
        return proposing

    assert prepared().ask(6) == prepared().ask(6) is not None


def test_a_random_setting_depends_on_its_number_and_the_seed_alone() -> None:
    fresh = search("random", MIXED, seed=3)
    assert fresh.ask(7) == MIXED.draw(np.random.default_rng([3, 7]))
    assert fresh.ask(7) == fresh.ask(7)


@pytest.mark.parametrize(("name", "options"), [*EVERY, ("grid", {})])
def test_a_small_space_is_tried_in_full_and_then_has_no_more(name: str, options: dict[str, Any]) -> None:
    proposing = search(name, SMALL, options=options)
    tried = run(proposing, 6, lambda values: ended(1.0 if values["loss.indicator"] == "all" else 0.0))
    assert sorted(map(str, tried)) == sorted(map(str, SMALL.grid()))
    assert proposing.ask(6) is None


def test_a_grid_goes_in_order_and_leaves_out_what_was_tried() -> None:
    proposing = search("grid", SMALL)
    settings = SMALL.grid()
    proposing.tell(-1, settings[1], ended(20.0))
    proposing.running(0, settings[0])
    assert [proposing.ask(number) for number in range(1, 6)] == [*settings[2:], None]


def test_settings_outside_the_space_are_ignored() -> None:
    proposing = search("optuna", MIXED)
    proposing.tell(-2, {}, ended(90.0))
    proposing.tell(-1, {"loss.tau": 9.0}, ended(90.0))
    assert proposing.records == []
    assert proposing.ask(0) is not None


def test_true_and_one_are_two_settings() -> None:
    space = Space((Parameter("loss.reduction", "choice", values=(1, True, None)),))
    proposing = search("optuna", space)
    tried = run(proposing, 3, lambda values: ended(1.0))
    assert sorted(str(values["loss.reduction"]) for values in tried) == ["1", "None", "True"]
    assert proposing.ask(3) is None


@pytest.mark.parametrize("objective", [FEW, LOWEST], ids=["maximize", "minimize"])
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_learns(sampler: str, objective: Objective) -> None:
    sign = 1 if objective is FEW else -1
    space = Space((TAU, LR))
    proposing = search("optuna", space, objective, {"sampler": sampler, "startup_trials": 8})
    tried = run(proposing, 40 if sampler == "tpe" else 14, lambda values: ended(sign * score(values)))
    assert np.median([score(values) for values in tried[-6:]]) > 42, "at random it is 38"


def test_genetic_search_crosses_the_best_of_the_first_generation() -> None:
    parameters = Space((EPS, *(Parameter(f"loss.p{number}", "uniform", 0, 1) for number in range(3))))
    proposing = search("optuna", parameters, options={"sampler": "nsgaii", "startup_trials": 6})
    first = run(proposing, 6, lambda values: ended(float(values["loss.p0"])))  # type: ignore[arg-type]
    children = [proposing.ask(number) for number in range(6, 12)]
    inherited = [
        sum(values[path] in [parent[path] for parent in first] for path in parameters.paths[1:])
        for values in children
        if values
    ]
    assert sum(inherited) >= 9, "three parameters each, most of them from a parent"


def test_several_goals_lead_towards_the_front() -> None:
    space = Space((TAU, LR))

    def outcome(values: Mapping[str, Value]) -> Outcome:
        tau, rate = values["loss.tau"], values["train.lr"]
        assert isinstance(tau, float)
        assert isinstance(rate, float)
        return ended(10 * tau - 50 * rate, 10 * (4 - tau) - 50 * rate)  # at every tau, a small rate is better

    proposing = search("optuna", space, BOTH, {"startup_trials": 6})
    tried = run(proposing, 40, outcome)
    rates = [float(values["train.lr"]) for values in tried]  # type: ignore[arg-type]
    assert np.median(rates[-15:]) < 0.015, "at random it is 0.03"
    failed = search("optuna", space, BOTH)
    run(failed, 14, lambda values: ended(state="failed"))


@pytest.mark.parametrize("sampler", ["tpe"])
def test_a_constraint_keeps_proposals_where_it_holds(sampler: str) -> None:
    objective = Objective((Goal("val/few"),), (Constraint("val/many", True, 70.0),))
    space = Space((TAU,))

    def outcome(values: Mapping[str, Value]) -> Outcome:
        tau = values["loss.tau"]
        assert isinstance(tau, float)
        return ended(10 * tau, violation=max(0.0, 10 * (tau - 2)))  # the higher tau the better, but only up to 2

    proposing = search("optuna", space, objective, {"sampler": sampler, "startup_trials": 8})
    tried = [float(values["loss.tau"]) for values in run(proposing, 24, outcome)]  # type: ignore[arg-type]
    assert 1.2 < np.median(tried[-8:]) < 2.4
    proposing.tell(0, {"loss.tau": tried[0]}, ended(10.0, violation=math.nan))
    assert proposing.ask(24) is not None


def test_tpe_keeps_away_from_stopped_and_failed_settings() -> None:
    space = Space((TAU,))

    def outcome(values: Mapping[str, Value]) -> Outcome:
        tau = values["loss.tau"]
        assert isinstance(tau, float)
        if tau > 2.5:
            return ended(state="failed")
        return ended(10.0, steps=[(1.0, 10.0)], state="stopped") if tau > 1.5 else ended(20.0, steps=[(1.0, 5.0)])

    proposing = search("optuna", space, options={"startup_trials": 8})
    tried = [float(values["loss.tau"]) for values in run(proposing, 40, outcome)]  # type: ignore[arg-type]
    assert sum(tau < 1.5 for tau in tried[-15:]) >= 8, "at random it is 5"


def test_settings_in_progress_are_kept_off() -> None:
    space = Space((TAU,))
    proposing = search("optuna", space, options={"startup_trials": 5})
    run(proposing, 12, lambda values: ended(-abs(float(values["loss.tau"]) - 2)))  # type: ignore[arg-type]
    at_once = [proposing.ask(number) for number in range(12, 18)]
    assert len({values["loss.tau"] for values in at_once if values}) == 6


def test_what_is_told_again_replaces_what_was_told() -> None:
    proposing = search("optuna", Space((TAU,)))
    proposing.tell(0, {"loss.tau": 1.0}, ended(10.0))
    proposing.tell(0, {"loss.tau": 1.0}, ended(20.0))
    assert [record.scores for record in proposing.records] == [(20.0,)]


def test_a_sampler_whose_state_cannot_be_rebuilt_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"sweep.search.sampler: 'cmaes', expected one of tpe, gp, nsgaii, random, qmc"
    ):
        search("optuna", MIXED, options={"sampler": "cmaes"})


def test_a_missing_package_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"hyperopt needs a package that is not installed: pip install hyperopt"):
        search("hyperopt", MIXED)


@pytest.mark.parametrize("name", ["ax", "hebo", "zoopt"])
def test_searches_of_ray_tune_that_learn_nothing_here_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} .*; use optuna, or one of bayesopt, bohb, hyperopt, nevergrad"):
        search(name, MIXED)


def test_a_space_that_a_search_of_ray_tune_cannot_have_is_refused() -> None:
    pytest.importorskip("bayes_opt")
    with pytest.raises(InputError, match=r"bayesopt refuses this space or its options: .*Integer"):
        search("bayesopt", MIXED)


@pytest.mark.parametrize(("name", "options"), TUNE)
def test_searches_of_ray_tune_learn_and_are_rebuilt(name: str, options: dict[str, Any]) -> None:
    pytest.importorskip(name)
    first = search(name, MIXED, options=options)
    tried = run(first, 24, lambda values: ended(score(values)))
    assert all(MIXED.contains(values) for values in tried)
    assert sum(map(score, tried[-6:])) > sum(map(score, tried[:6])) + 20
    again = search(name, MIXED, options=options)
    for record in reversed(first.records):
        assert record.outcome is not None
        again.tell(record.number, record.values, record.outcome)
    assert again.ask(24) == first.ask(24)


@pytest.mark.parametrize("maximize", [True, False])
def test_what_breaks_a_constraint_is_told_to_a_search_of_ray_tune_as_worse_than_the_worst(maximize: bool) -> None:
    pytest.importorskip("hyperopt")
    from eqbench.sweep.search.tune_search import TuneSearch

    goal = Goal("val/few", maximize)
    told = search("hyperopt", Space((TAU,)), Objective((goal,), (Constraint("val/many", True, 70.0),)))
    assert isinstance(told, TuneSearch)
    for number, (value, violation) in enumerate([(10.0, 0.0), (30.0, 0.0), (20.0, 2.0), (20.0, 1.0), (20.0, math.nan)]):
        told.tell(number, {"loss.tau": 1.0 + number / 4}, ended(value, violation=violation))
    expected = [10, 30, 8, 9, 20] if maximize else [10, 30, 32, 31, 20]
    assert told._scores(told.records) == dict(enumerate(map(float, expected)))


def test_an_option_of_a_search_of_ray_tune_is_checked() -> None:
    pytest.importorskip("hyperopt")
    with pytest.raises(InputError, match=r"sweep.search.n_inital_points: unknown option .* 'n_initial_points'"):
        search("hyperopt", MIXED, options={"n_inital_points": 3})
    with pytest.raises(InputError, match=r"sweep.search.mode: unknown option"):
        search("hyperopt", MIXED, options={"mode": "min"})
