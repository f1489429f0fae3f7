"""Optuna: a study in memory, built anew from all that is known whenever a setting is asked for.

A sampler's own state would be lost with the process: each proposal has a fresh one, seeded with the proposal's number.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from eqbench.errors import InputError, nearest
from eqbench.sweep.search.base import Record, Search
from eqbench.sweep.search.encoding import bounds, decode, encode, listed

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from eqbench.sweep.objective import Objective
    from eqbench.sweep.space import Parameter, Space, Value

__all__ = ["OptunaSearch"]

SAMPLERS = ("tpe", "gp", "nsgaii", "random")
ATTEMPTS = 8
"""To get a setting that is new from a sampler; then it is drawn at random."""
STEPS_PER_EPOCH = 1000
"""Optuna counts steps in whole numbers."""
GENERATION = "NSGAIISampler:generation"
"""Where Optuna's NSGA-II keeps a trial's generation."""


class OptunaSearch(Search):
    """Settings from a sampler of Optuna, which learns from those that have ended and keeps off those in progress.

    Args:
        sampler: `tpe`, `gp` (Gaussian process), `nsgaii` (genetic) or `random`.
        startup_trials: settings at random before the sampler learns; for `nsgaii` the size of a generation.

    Raises:
        InputError: there is no such sampler, or it keeps a state that cannot be built anew (`cmaes`).
    """

    def __init__(
        self, space: Space, objective: Objective, seed: int = 0, sampler: str = "tpe", startup_trials: int = 10
    ) -> None:
        super().__init__(space, objective, seed)
        if sampler not in SAMPLERS:
            known = (*SAMPLERS, "qmc")
            expected = f"expected one of {', '.join(known)}{nearest(sampler, known)}"
            raise InputError(f"sweep.search.sampler: {sampler!r}, {expected}")
        self.sampler = sampler
        self.startup_trials = startup_trials
        self._generation_size = max(2, startup_trials)

    def propose(self, number: int) -> dict[str, Value] | None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Optuna calls experimental
            for attempt in range(ATTEMPTS):
                if self.is_new(values := self._suggest(number, attempt)):
                    return values
        return self.draw(number)

    def _suggest(self, number: int, attempt: int) -> dict[str, Value]:
        seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
        trial = self._study(seed).ask()
        values: dict[str, Value] = {}
        for parameter in self.space.parameters:
            if self.space.active(parameter.path, values):
                values[parameter.path] = _suggest(trial, parameter)
        return values

    def _study(self, seed: int) -> Study:
        study = optuna.create_study(
            directions=["maximize" if goal.maximize else "minimize" for goal in self.objective.goals],
            sampler=self._sampler(seed),
        )
        records = self.records
        any_scores = any(record.scores for record in records)
        completed = 0
        for record in records:
            trial = self._trial(record, any_scores, generation=completed // self._generation_size)
            completed += trial.state is TrialState.COMPLETE
            study.add_trial(trial)
        return study

    def _sampler(self, seed: int) -> BaseSampler:
        match self.sampler:
            case "tpe":
                return TPESampler(seed=seed, n_startup_trials=self.startup_trials)
            case "gp":
                return GPSampler(seed=seed, n_startup_trials=self.startup_trials, warn_independent_sampling=False)
            case "nsgaii":
                return NSGAIISampler(seed=seed, population_size=self._generation_size)
            case "random":
                return RandomSampler(seed=seed)
        raise AssertionError(self.sampler)

    def _trial(self, record: Record, any_scores: bool, generation: int) -> FrozenTrial:
        """A setting as Optuna has it.

        One that was stopped counts as pruned where the sampler uses pruned ones (TPE), elsewhere by its last score. One
        that has failed counts as pruned at once, worse than any other; as long as no other has a score, it is left out.
        """
        outcome, scores = record.outcome, record.scores
        pruned = outcome is not None and outcome.state == "stopped" and self.sampler == "tpe" and len(scores or ()) == 1
        details: dict[str, Any] = {}
        if outcome is None:
            state = TrialState.RUNNING
        elif scores is None:
            state = TrialState.PRUNED if any_scores and self.sampler == "tpe" else TrialState.FAIL
        elif pruned:
            state = TrialState.PRUNED
            details["intermediate_values"] = {round(epoch * STEPS_PER_EPOCH): score for epoch, score in outcome.steps}
        else:
            state = TrialState.COMPLETE
            details["values"] = scores
        if scores is not None and outcome is not None and self.objective.constraints:
            details["constraints"] = {"violation": max(0.0, outcome.violation)}  # max: NaN counts as 0
        return create_trial(
            state=state,
            params={path: encode(self.space[path], value) for path, value in record.values.items()},
            distributions={path: _distribution(self.space[path]) for path in record.values},
            system_attrs={GENERATION: generation},
            **details,
        )


def _suggest(trial: Trial, parameter: Parameter) -> Value:
    path = parameter.path
    code: Any
    match _distribution(parameter):
        case FloatDistribution() as range_:
            code = trial.suggest_float(path, range_.low, range_.high, log=range_.log)
        case IntDistribution() as range_:
            code = trial.suggest_int(path, range_.low, range_.high)
        case CategoricalDistribution() as choice:
            code = trial.suggest_categorical(path, choice.choices)
    return decode(parameter, code)


def _distribution(parameter: Parameter) -> FloatDistribution | IntDistribution | CategoricalDistribution:
    """Of a grid, the positions are numbers, so that neighbours are near; of a choice they are mere names."""
    if listed(parameter):
        last = len(parameter.values) - 1
        return IntDistribution(0, last) if parameter.kind == "grid" else CategoricalDistribution(range(last + 1))
    low, high = bounds(parameter)
    if parameter.kind == "integer":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=parameter.log)
