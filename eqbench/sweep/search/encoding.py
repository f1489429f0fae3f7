"""Values of a space as numbers, for searches that know only ranges: of a choice or a grid, the position in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eqbench.sweep.space import same

if TYPE_CHECKING:
    from eqbench.sweep.space import Parameter, Value

__all__ = ["bounds", "decode", "encode", "listed"]


def listed(parameter: Parameter) -> bool:
    """Whether its values are a list, so that they are encoded by their positions."""
    return parameter.kind in ("choice", "grid")


def bounds(parameter: Parameter) -> tuple[float, float]:
    """Of a parameter whose values are no list."""
    assert parameter.low is not None, parameter
    assert parameter.high is not None, parameter
    return parameter.low, parameter.high


def encode(parameter: Parameter, value: Value) -> float | int:
    """
    >>> from eqbench.sweep.space import Parameter
    >>> encode(Parameter("loss.indicator", "choice", values=("positive", "all")), "all")
    1
    """
    if listed(parameter):
        return next(position for position, own in enumerate(parameter.values) if same(own, value))
    assert isinstance(value, int | float), (parameter, value)
    return int(value) if parameter.kind == "integer" else float(value)


def decode(parameter: Parameter, code: Any) -> Value:
    """The value of a code, also where that is a NumPy number; numbers are kept within the bounds."""
    if listed(parameter):
        return parameter.values[int(code)]
    low, high = bounds(parameter)
    number = min(max(float(code), low), high)
    return int(number) if parameter.kind == "integer" else number
