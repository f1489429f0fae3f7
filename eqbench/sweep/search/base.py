"""What every search has in common: it remembers each setting and its outcome, and never proposes one twice.

It keeps no other state. What a search proposes follows from its seed, the number of the proposal and the settings that
it was told of by then, in whatever order; so a process that is started again and tells it of earlier trials goes on
with the proposals that the first one would have made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from eqbench.sweep.objective import Objective
    from eqbench.sweep.space import Space, Value

DRAWS = 1000
"""At random, for a setting that is new."""


@dataclass(frozen=True)
class Outcome:
    """What came of a setting.

    `scores` holds the value of each goal, of the last evaluation; `steps` the first goal's on the way, with its epoch.
    `violation` is 0 if the constraints hold, else by how much they are missed; NaN (not known) counts as 0.
    """

    state: Literal["finished", "stopped", "failed"]
    scores: tuple[float, ...] | None
    steps: Sequence[tuple[float, float]] = ()
    violation: float = 0.0


@dataclass(frozen=True)
class Record:
    """A setting by its number; without an outcome as long as it is in progress."""

    number: int
    values: dict[str, Value]
    outcome: Outcome | None = None

    @property
    def scores(self) -> tuple[float, ...] | None:
        """None also where the setting has failed, whatever it reached before."""
        return None if self.outcome is None or self.outcome.state == "failed" else self.outcome.scores


class Search(ABC):
    """Proposes settings of a space.

    Settings that were not asked for (the defaults) have negative numbers. Any setting may be told of; what is not in
    the space is of no use here and ignored.
    """

    def __init__(self, space: Space, objective: Objective, seed: int = 0) -> None:
        self.space = space
        self.objective = objective
        self.seed = seed
        self._records: dict[int, Record] = {}
        self._known: set[frozenset[tuple[str, bool, Value]]] = set()

    def ask(self, number: int) -> dict[str, Value] | None:
        """Values by path of proposal `number` (0, 1, ...); None if there is no setting left that was not tried.

        Asked again for the same number, the answer is the same.
        """
        if number not in self._records:
            left = self.space.size is None or len(self._known) < self.space.size
            values = self.propose(number) if left else None
            if values is None:
                return None
            self.running(number, values)
        return dict(self._records[number].values)

    def running(self, number: int, values: Mapping[str, Value]) -> None:
        """A setting that is in progress; an earlier process may have asked for it."""
        self._remember(Record(number, dict(values)))

    def tell(self, number: int, values: Mapping[str, Value], outcome: Outcome) -> None:
        """What came of a setting; told again, the newest counts."""
        self._remember(Record(number, dict(values), outcome))

    @abstractmethod
    def propose(self, number: int) -> dict[str, Value] | None:
        """A setting that is new; None if there is none."""

    @property
    def records(self) -> list[Record]:
        """Every setting of the space that is known, by number."""
        return sorted(self._records.values(), key=lambda record: record.number)

    def is_new(self, values: Mapping[str, Value]) -> bool:
        """Whether a setting was neither proposed before nor told of."""
        return _key(values) not in self._known

    def draw(self, number: int) -> dict[str, Value] | None:
        """A new setting at random, from the seed and the number alone; None if there is none."""
        generator = np.random.default_rng([self.seed, number])
        for _ in range(DRAWS):
            if self.is_new(values := self.space.draw(generator)):
                return values
        left = list(self.untried())
        return left[int(generator.integers(len(left)))] if left else None

    def untried(self) -> Iterator[dict[str, Value]]:
        """The settings that are new, in the grid's order; none where the space is not a grid."""
        try:
            settings = self.space.grid()
        except ValueError:
            return
        yield from filter(self.is_new, settings)

    def _remember(self, record: Record) -> None:
        if self.space.contains(record.values):
            self._records[record.number] = record
            self._known.add(_key(record.values))


def _key(values: Mapping[str, Value]) -> frozenset[tuple[str, bool, Value]]:
    """Of a setting; 1 and true, which are equal in Python, differ in it."""
    return frozenset((path, isinstance(value, bool), value) for path, value in values.items())
