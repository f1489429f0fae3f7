"""How settings are proposed: a search is asked for them, and told of every one, those of earlier processes too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqbench.sweep.search.base import Outcome, Search

if TYPE_CHECKING:
    from eqbench.sweep.objective import Objective
    from eqbench.sweep.schema import SearchConfig
    from eqbench.sweep.space import Space

__all__ = ["Outcome", "Search", "build"]


def build(config: SearchConfig, space: Space, objective: Objective, concurrent: int) -> Search:
    """The search of a sweep.

    Args:
        config: name, seed and options.
        space: what is searched.
        objective: what for.
        concurrent: how many settings are tried at once.

    Raises:
        InputError: a package that the search needs is not installed, an option is unknown to it, or it cannot search
            such a space.
    """
    from eqbench.sweep.search.drawn import GridSearch, RandomSearch, SobolSearch

    match config.name:
        case "random":
            return RandomSearch(space, objective, config.seed)
        case "grid":
            return GridSearch(space, objective)
        case "optuna" if config.options.get("sampler") == "qmc":
            return SobolSearch(space, objective, config.seed)
        case "optuna":
            from eqbench.sweep.search.optuna_search import OptunaSearch

            return OptunaSearch(space, objective, config.seed, **config.options)
    from eqbench.sweep.search.tune_search import TuneSearch

    return TuneSearch(config, space, objective, concurrent)
