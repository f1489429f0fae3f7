"""The space that a sweep searches: parameters, what values each can take, and when it applies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeGuard, get_args

if TYPE_CHECKING:
    import numpy as np

Value = str | int | float | bool | None
Kind = Literal["uniform", "loguniform", "integer", "choice", "grid"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_GRID = 100_000


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are none.

    >>> is_number(0.5), is_number(True), is_number("0.5")
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(value: Value, other: Value) -> bool:
    """Whether two values are the same setting: 1 and 1.0 are, 1 and true are not.

    >>> same(1, 1.0), same(1, True), same("a", "a")
    (True, False, True)
    """
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def spelled(value: Value) -> str:
    """A value in a text for people; a number with at most six digits.

    >>> [spelled(value) for value in (0.25, 1e-5, True, None, "all")]
    ['0.25', '1e-05', 'true', 'null', 'all']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Parameter:
    """One parameter: its path in a setting, its values, and the values of others under which it applies.

    `low` and `high` bound `uniform`, `loguniform` and `integer`, both included; `values` are those of `choice`, and in
    rising order of `grid`. `when` has the accepted values of each parameter that decides whether this one applies.
    """

    path: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    values: tuple[Value, ...] = ()
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers in an order, so that one value can lie between two others."""
        return self.kind != "choice"

    @property
    def log(self) -> bool:
        """Whether equal ratios count as equal distances."""
        return self.kind == "loguniform"

    @property
    def size(self) -> int | None:
        """How many values it has; None if any number between the bounds is one."""
        if self.kind in ("choice", "grid"):
            return len(self.values)
        return int(self._bounds[1] - self._bounds[0]) + 1 if self.kind == "integer" else None

    def takes(self, value: Value) -> bool:
        """Whether `value` is one of its values."""
        if self.kind in ("choice", "grid"):
            return any(same(value, own) for own in self.values)
        if not is_number(value) or (self.kind == "integer" and value != int(value)):
            return False
        return self._bounds[0] <= value <= self._bounds[1]

    def draw(self, generator: np.random.Generator) -> Value:
        """A value at random: evenly between the bounds, of their logarithms for `loguniform`, or one of the values."""
        if self.kind in ("choice", "grid"):
            return self.values[int(generator.integers(len(self.values)))]
        low, high = self._bounds
        if self.kind == "integer":
            return int(generator.integers(int(low), int(high), endpoint=True))
        if self.kind == "uniform":
            return min(max(low + (high - low) * generator.random(), low), high)
        position = generator.random()
        drawn = math.exp(math.log(low) + (math.log(high) - math.log(low)) * position)
        return min(max(drawn, low), high)

    def describe(self) -> str:
        """Its values, and when it applies, in words.

        >>> Parameter("loss.tau", "uniform", 0.25, 4).describe()
        'uniform 0.25 to 4'
        >>> Parameter("loss.gamma", "choice", values=(4, 12), when={"loss.name": ("sigmoid_eql",)}).describe()
        'one of 4, 12 when loss.name is sigmoid_eql'
        """
        listed = ", ".join(map(spelled, self.values))
        if self.kind in ("choice", "grid"):
            text = f"one of {listed}" if self.kind == "choice" else f"grid {listed}"
        else:
            low, high = self._bounds
            text = f"{self.kind} {low:.10g} to {high:.10g}"
        conditions = [f"{path} is {' or '.join(map(spelled, values))}" for path, values in self.when.items()]
        return f"{text} when {' and '.join(conditions)}" if conditions else text

    @property
    def _bounds(self) -> tuple[float, float]:
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high


@dataclass(frozen=True)
class Space:
    """All parameters; one that decides whether another applies stands before it."""

    parameters: tuple[Parameter, ...]

    def __getitem__(self, path: str) -> Parameter:
        return self._by_path[path]

    @cached_property
    def _by_path(self) -> dict[str, Parameter]:
        return {parameter.path: parameter for parameter in self.parameters}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(parameter.path for parameter in self.parameters)

    @property
    def conditional(self) -> bool:
        """Whether a parameter applies to some settings only."""
        return any(parameter.when for parameter in self.parameters)

    def active(self, path: str, values: Mapping[str, Value]) -> bool:
        """Whether the parameter `path` applies to the setting `values`.

        Raises:
            KeyError: the space has no such parameter.
        """
        return all(
            parent in values and any(same(values[parent], value) for value in accepted) and self.active(parent, values)
            for parent, accepted in self._by_path[path].when.items()
        )

    def contains(self, values: Mapping[str, Value]) -> bool:
        """Whether `values` gives every parameter that applies, and no other, a value that it takes."""
        applying = {path for path in self.paths if self.active(path, values)}
        return applying == set(values) and all(self._by_path[path].takes(value) for path, value in values.items())

    def draw(self, generator: np.random.Generator) -> dict[str, Value]:
        """A setting at random: a value of each parameter that applies."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            drawn = parameter.draw(generator)  # also where it does not apply: what comes after does not depend on that
            if self.active(parameter.path, values):
                values[parameter.path] = drawn
        return values

    def grid(self) -> list[dict[str, Value]]:
        """Every setting once; the last parameter changes fastest.

        Raises:
            ValueError: a parameter is neither `choice` nor `grid`, or there are more than 100,000 settings.
        """
        for parameter in self.parameters:
            if parameter.kind not in ("choice", "grid"):
                raise ValueError(f"{parameter.path}: {parameter.describe()}, expected choice or grid")
        number = self.size
        assert number is not None
        if number > MAX_GRID:
            raise ValueError(f"{number:,} settings, expected at most {MAX_GRID:,}")
        return list(self._settings({}, 0))

    def _settings(self, values: dict[str, Value], position: int) -> Iterator[dict[str, Value]]:
        if position == len(self.parameters):
            yield values
            return
        parameter = self.parameters[position]
        if not self.active(parameter.path, values):
            yield from self._settings(values, position + 1)
            return
        for value in parameter.values:
            yield from self._settings({**values, parameter.path: value}, position + 1)

    @property
    def size(self) -> int | None:
        """How many settings there are; None if a parameter is continuous."""
        sizes = {parameter.path: parameter.size for parameter in self.parameters}
        if any(size is None for size in sizes.values()):
            return None
        # A parameter's value matters to others only by which of their conditions it meets: those that meet none of
        # them are counted together.
        return sum(weight for _, weight in self._outcomes())

    def _outcomes(self) -> Iterator[tuple[dict[str, Value], int]]:
        named: dict[str, list[Value]] = {}
        for parameter in self.parameters:
            for parent, accepted in parameter.when.items():
                known = named.setdefault(parent, [])
                known += [value for value in accepted if not any(same(value, other) for other in known)]
        ahead: list[tuple[dict[str, Value], int]] = [({}, 1)]
        for parameter in self.parameters:
            size = parameter.size
            assert size is not None
            cases = named.get(parameter.path, [])
            for _ in range(len(ahead)):
                values, weight = ahead.pop(0)
                if not self.active(parameter.path, values):
                    ahead.append((values, weight))
                    continue
                ahead += [({**values, parameter.path: case}, weight) for case in cases]
                if size > len(cases):
                    ahead.append((values, weight * (size - len(cases))))
        yield from ahead
