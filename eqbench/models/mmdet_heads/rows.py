"""The rows of weights that classes have in a head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from eqbench.models.mmdet_heads.rules import RULES


def class_rows(head: nn.Module, columns: int) -> list[Tensor]:
    """Weights (columns, ...) of a head's last classification layers, whose outputs are added up.

    Empty where a class has several rows, one for each anchor or level, or none of its own.
    """
    found: list[Tensor] = []
    for name in RULES[type(head).__name__].layers:
        layer: Any = getattr(head, name)
        if isinstance(layer, nn.ModuleList):
            return []
        last: Any = layer[-1] if isinstance(layer, nn.Sequential) else layer
        found.append(last.weight)
    return found if all(len(weight) == columns for weight in found) else []
