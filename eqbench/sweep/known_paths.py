"""Paths that a space may have, for who writes only the end of one: `tau`, `train.weight_decay`."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator

from pydantic import BaseModel

from eqbench import plugins
from eqbench.errors import EqbenchError
from eqbench.recipe import Train


def meant(written: str) -> str:
    """`"; did you mean 'loss.tau'?"` where a known path ends like `written`, or nearly so; else an empty string.

    >>> meant("train.weight_decay"), meant("train.batch")
    ("; did you mean 'train.optimizer.weight_decay'?", '')
    """
    ends = {path.rpartition(".")[2]: path for path in reversed(list(_known(written)))}
    close = difflib.get_close_matches(written.rpartition(".")[2], list(ends), n=1, cutoff=0.75)
    return f"; did you mean {ends[close[0]]!r}?" if close else ""


def is_train_key(key: str) -> bool:
    """Whether `train` has it, without looking further down."""
    return key in Train.model_fields


def _known(written: str) -> Iterator[str]:
    if "." not in written:
        yield from _of_losses()
    yield from _below("train", Train)


def _of_losses() -> Iterator[str]:
    for name in plugins.names("loss"):
        try:
            constructor = plugins.parameters(plugins.load("loss", name))
        except EqbenchError:
            continue
        yield from (f"loss.{key}" for key in constructor if key not in plugins.KINDS["loss"].supplied)


def _below(path: str, model: type[BaseModel]) -> Iterator[str]:
    """Paths of single values, those that are nested less before those nested more."""
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        parts = typing.get_args(field.annotation) or (field.annotation,)
        models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        nested += [(f"{path}.{name}", part) for part in models]
        if not models and name != "name":
            yield f"{path}.{name}"
    for below, part in nested:
        yield from _below(below, part)
