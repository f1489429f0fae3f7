"""The searches that Ray Tune offers by name, each a package of its own: hyperopt, nevergrad, bayesopt, bohb.

They keep what they proposed in memory, and a process that is started again has lost it. So each proposal has a fresh
one, to which all known settings are repeated: as points to begin with, then their results.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ray import tune
from ray.tune.search import SEARCH_ALG_IMPORT

from eqbench.errors import EnvironmentProblem, InputError, nearest
from eqbench.sweep.search.base import Record, Search
from eqbench.sweep.search.encoding import bounds, decode, encode, listed

if TYPE_CHECKING:
    from ray.tune.search import Searcher

    from eqbench.sweep.objective import Objective
    from eqbench.sweep.schema import SearchConfig
    from eqbench.sweep.space import Parameter, Space, Value

__all__ = ["TuneSearch"]

SCORE = "score"
ATTEMPTS = 4
"""To get a setting that is new; then it is drawn at random."""


@dataclass(frozen=True)
class _Package:
    """Modules that a search imports, what to install for them, and its argument for a seed."""

    modules: tuple[str, ...]
    install: str
    seed: str | None = None


PACKAGES = {
    "bayesopt": _Package(("bayes_opt",), "bayesian-optimization==1.4.3", "random_state"),
    "bohb": _Package(("hpbandster", "ConfigSpace"), "hpbandster ConfigSpace", "seed"),
    "hyperopt": _Package(("hyperopt",), "hyperopt", "random_state_seed"),
    "nevergrad": _Package(("nevergrad",), "nevergrad"),
}
REFUSED = {
    "ax": "proposes the same whatever it is told of earlier trials",
    "hebo": "needs NumPy below 1.25, and eqbench a newer one",
    "zoopt": "stops proposing after a few settings",
}
"""Others that Ray Tune has by name, and why they are of no use here."""
SUPPLIED = frozenset(
    {
        "analysis",
        "metric",
        "mode",
        "optimizer_kwargs",
        "points_to_evaluate",
        "space",
    }
)
"""Arguments of their constructors that are not options of a sweep file."""
NEVERGRAD: dict[str, Any] = {"optimizer": "OnePlusOne", "budget": None}
"""Options and their defaults: the name of an optimizer, and for how many settings it is to plan."""


class TuneSearch(Search):
    """Settings from a search of Ray Tune, for one goal; what breaks a constraint counts as worse than the worst.

    Its options are the arguments of Ray Tune's class (`n_initial_points` of hyperopt, for instance).

    Raises:
        InputError: its package is not installed, it has no such option, or it cannot search such a space.
    """

    def __init__(self, config: SearchConfig, space: Space, objective: Objective, concurrent: int) -> None:
        super().__init__(space, objective, config.seed)
        self.name = config.name
        self.concurrent = concurrent
        self._options = dict(config.options)
        self._free = {each.path: each for each in space.parameters if each.size != 1}
        self._check_package()
        self._check_options()
        try:
            with _apart(seed=0):
                self._searcher(0, [])
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            raise InputError(f"sweep.search: {self.name} refuses this space or its options: {reason}") from error

    def propose(self, number: int) -> dict[str, Value] | None:
        for attempt in range(ATTEMPTS):
            seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
            try:
                with _apart(seed):
                    codes = self._informed(seed).suggest(f"new {number}")
            except Exception as error:
                raise EnvironmentProblem(f"search {self.name}: {type(error).__name__}: {error}") from error
            if not isinstance(codes, dict):  # it has no more, or waits for results of what is in progress
                break
            if self.is_new(values := self._decoded(codes)):
                return values
        return self.draw(number)

    def _informed(self, seed: int) -> Searcher:
        """A search that has heard of all known settings: those that have ended, then those in progress."""
        records = sorted(self.records, key=lambda record: record.outcome is None)
        searcher = self._searcher(seed, records)
        scores = self._scores(records)
        for record in records:
            name = str(record.number)
            if not isinstance(searcher.suggest(name), dict) or record.outcome is None:
                continue
            if (score := scores.get(record.number)) is None:
                searcher.on_trial_complete(name, error=True)
                continue
            result = {SCORE: score, "hyperband_info": {"budget": 1.0}}  # without a budget, BOHB learns nothing
            searcher.on_trial_result(name, result)
            searcher.on_trial_complete(name, result)
        return searcher

    def _searcher(self, seed: int, records: list[Record]) -> Searcher:
        arguments = {
            "space": {path: _domain(parameter) for path, parameter in self._free.items()},
            "metric": SCORE,
            "mode": "max" if self.objective.goals[0].maximize else "min",
            "points_to_evaluate": [self._encoded(record) for record in records] or None,
            **self._options,
        }
        if self.name == "nevergrad":
            arguments |= {"optimizer": self._nevergrad(arguments.pop("space"), seed)}
            arguments.pop("budget", None)
        if name := PACKAGES[self.name].seed:
            arguments.setdefault(name, seed)
        searcher: Searcher = self._class(**arguments)
        return searcher

    def _nevergrad(self, space: dict[str, Any], seed: int) -> Any:
        nevergrad = importlib.import_module("nevergrad")

        known = nevergrad.optimizers.registry
        options = NEVERGRAD | self._options
        name = str(options["optimizer"])
        if name not in known:
            raise ValueError(f"unknown optimizer {name!r}{nearest(name, known)}")
        described = self._class.convert_search_space(space)
        described.random_state = np.random.RandomState(seed)
        return known[name](described, budget=options["budget"], num_workers=max(1, self.concurrent))

    @property
    def _class(self) -> Any:
        return SEARCH_ALG_IMPORT[self.name]()  # type: ignore[no-untyped-call]

    def _scores(self, records: list[Record]) -> dict[int, float]:
        """Of each setting that has one; those that break a constraint come after all others, by how much they do."""
        sign = 1 if self.objective.goals[0].maximize else -1
        broken = {record.number: record.outcome.violation for record in records if _breaks(record)}  # type: ignore[union-attr]
        scores = {record.number: record.scores[0] for record in records if record.scores}
        kept = [sign * score for number, score in scores.items() if number not in broken]
        worst = min(kept, default=0.0)
        return {number: sign * (worst - broken[number]) if number in broken else scores[number] for number in scores}

    def _encoded(self, record: Record) -> dict[str, float]:
        return {path: encode(parameter, record.values[path]) for path, parameter in self._free.items()}

    def _decoded(self, codes: dict[str, Any]) -> dict[str, Value]:
        return {
            each.path: decode(each, codes[each.path]) if each.path in self._free else _only_value(each)
            for each in self.space.parameters
        }

    def _check_package(self) -> None:
        if self.name in REFUSED:
            raise InputError(
                f"sweep.search: {self.name} {REFUSED[self.name]}; use optuna, or one of {', '.join(PACKAGES)}"
            )
        package = PACKAGES[self.name]
        missing = [module for module in package.modules if importlib.util.find_spec(module) is None]
        if missing:
            raise InputError(
                f"sweep.search: {self.name} needs a package that is not installed: pip install {package.install}"
            )

    def _check_options(self) -> None:
        taken = inspect.signature(self._class.__init__).parameters
        known = set(taken) - SUPPLIED - {"self"} | (NEVERGRAD.keys() if self.name == "nevergrad" else set())
        problems = [
            f"sweep.search.{option}: unknown option of {self.name}{nearest(option, known)} "
            f"(known: {', '.join(sorted(known)) or 'none'})"
            for option in self._options
            if option not in known
        ]
        if problems:
            raise InputError("\n".join(problems))


def _breaks(record: Record) -> bool:
    return record.outcome is not None and record.outcome.violation > 0


def _domain(parameter: Parameter) -> Any:
    """As a domain of Ray Tune; of a grid, the positions are numbers, so that neighbours are near."""
    if parameter.kind == "choice":
        return tune.choice(list(range(len(parameter.values))))
    if parameter.kind == "grid":
        return tune.randint(0, len(parameter.values))
    low, high = bounds(parameter)
    if parameter.kind == "integer":
        return tune.randint(int(low), int(high) + 1)
    return tune.loguniform(low, high) if parameter.log else tune.uniform(low, high)


def _only_value(parameter: Parameter) -> Value:
    return parameter.values[0] if listed(parameter) else decode(parameter, bounds(parameter)[0])


@contextmanager
def _apart(seed: int) -> Iterator[None]:
    """With global generators of its own, which some of these packages use, and without their warnings and notes."""
    level, states = logging.root.manager.disable, (random.getstate(), np.random.get_state())
    logging.disable(logging.WARNING)
    random.seed(seed)
    np.random.seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        random.setstate(states[0])
        np.random.set_state(states[1])
