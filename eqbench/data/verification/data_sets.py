"""The data sets that can be looked at by name, and what each takes."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

from eqbench.data import miniatures
from eqbench.data.verification.contents import Contents
from eqbench.data.verification.findings import Findings
from eqbench.errors import InputError, nearest

MINIATURES = miniatures.NAMES
OWN = ("image_folder", "coco_format", "mask_folder")
NAMES = (*MINIATURES, *OWN)
NOT_OPTIONS = frozenset({"root", "found", "miniature", "workers"})


def check_name(verb: str, name: str, known: tuple[str, ...] = NAMES) -> None:
    """Raises InputError unless `name` is one of `known`."""
    if name not in known:
        raise InputError(f"data {verb}: unknown data set {name!r}{nearest(name, known)} (known: {', '.join(known)})")


def module(name: str) -> ModuleType:
    """What has `examine` and `prepare` of a data set."""
    return importlib.import_module(f"eqbench.data.{name}")


def options_of(
    function: Callable[..., Any], given: Mapping[str, Any], verb: str, name: str, also: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Of the command's options those that were given, checked against what `function` takes.

    Args:
        function: a data set's `examine` or `prepare`.
        given: the command's options; None where one was not given.
        verb, name: of the command, for messages.
        also: given in case that the function takes them.

    Raises:
        InputError: an option is not one of this data set, has a wrong value, or is missing.
    """
    hints = typing.get_type_hints(function, localns={"Findings": Findings, "Contents": Contents})
    parameters = {
        key: parameter for key, parameter in inspect.signature(function).parameters.items() if key not in NOT_OPTIONS
    }
    options = {key: value for key, value in given.items() if value is not None}
    for key, value in options.items():
        if key not in parameters:
            takes = f"{name} takes {_flags(parameters)}" if parameters else f"{name} takes no options of its own"
            raise InputError(f"data {verb} {name}: {_flag(key)} does not apply; {takes}")
        choices = _choices(hints[key])
        if choices and value not in choices:
            raise InputError(f"data {verb} {name}: {_flag(key)} {value}: expected {' or '.join(map(str, choices))}")
    required = [key for key, each in parameters.items() if each.default is each.empty]
    if not options.keys() >= set(required):
        raise InputError(f"data {verb} {name}: needs {' and '.join(map(_flag, required))}")
    taken = inspect.signature(function).parameters
    return options | {key: value for key, value in (also or {}).items() if key in taken}


def _choices(hint: Any) -> tuple[Any, ...]:
    """Values that an annotation allows, if it lists them."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return tuple(choice for part in typing.get_args(hint) for choice in _choices(part))


def _flags(keys: Mapping[str, Any]) -> str:
    return ", ".join(map(_flag, keys))


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
