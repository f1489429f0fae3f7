"""Which parameters a part of a detector takes, by the name it has in mmdet's configurations."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from eqbench.models.mmdet_config.importing import import_mmdet


def parameters_of(type_name: object) -> frozenset[str] | None:
    """Names of the constructor's parameters; None if nothing of that name is registered. Imports mmdet.

    >>> parameters_of("NoSuchPart") is None
    True
    """
    return _parameters(type_name) if isinstance(type_name, str) else None


@functools.cache
def _parameters(type_name: str) -> frozenset[str] | None:
    import_mmdet()
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    for registry in (MODELS, TASK_UTILS, TRANSFORMS):
        found: Any = registry.get(type_name)
        if inspect.isclass(found):
            return frozenset(_named(found))
    return None


def _named(cls: type[Any]) -> set[str]:
    """Parameters by name, those that `**kwargs` hands to a base class too."""
    names: set[str] = set()
    for owner in cls.__mro__:
        constructor = vars(owner).get("__init__")
        if constructor is None or owner is object:
            continue
        try:
            signature = list(inspect.signature(constructor).parameters.values())[1:]
        except (TypeError, ValueError):
            break
        names |= {each.name for each in signature if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)}
        if not any(each.kind is each.VAR_KEYWORD for each in signature):
            break
    return names
