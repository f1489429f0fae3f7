"""Searches that learn nothing: settings at random, spread evenly, or all of a grid in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from eqbench.sweep.search.base import Search

if TYPE_CHECKING:
    from eqbench.sweep.space import Value

__all__ = ["GridSearch", "RandomSearch", "SobolSearch"]


class RandomSearch(Search):
    """Setting n is drawn with the seed [seed, n]; one that was tried before is drawn again."""

    def propose(self, number: int) -> dict[str, Value] | None:
        return self.draw(number)


class GridSearch(Search):
    """Every setting of the grid that was not tried before, the last parameter changing fastest."""

    def propose(self, number: int) -> dict[str, Value] | None:
        return next(self.untried(), None)


class SobolSearch(Search):
    """Points of a scrambled Sobol sequence, which leave smaller gaps than points at random."""

    def propose(self, number: int) -> dict[str, Value] | None:
        from scipy.stats.qmc import Sobol

        sequence = Sobol(len(self.space.parameters), rng=self.seed)
        if number:
            sequence.fast_forward(number)
        point = _Point(sequence.random(1)[0])
        values = self.space.draw(cast("np.random.Generator", point))
        return values if self.is_new(values) else self.draw(number)


class _Point:
    """Coordinates from 0 to 1 in the place of a generator's numbers: one for each parameter."""

    def __init__(self, coordinates: np.ndarray[Any, Any]) -> None:
        self._coordinates = iter(coordinates)

    def random(self) -> float:
        return float(next(self._coordinates))

    def integers(self, low: int, high: int | None = None, endpoint: bool = False) -> int:
        first, end = (0, low) if high is None else (low, high + endpoint)
        return first + int(self.random() * (end - first))
