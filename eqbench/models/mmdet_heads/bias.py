"""The bias with which classification begins: how probable an object is before anything is learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eqbench.losses.sigmoid import bias_of
from eqbench.models.mmdet_heads.rules import RULES


@torch.no_grad()
def set_bias(head: nn.Module, prior: float) -> None:
    """Sets the bias of a head's last classification layers to -log((1 - prior) / prior), in all columns.

    Weights stay as mmdet initialises them: of standard deviation 0.01 but for YOLOX.

    Raises:
        ValueError: `prior` is not between 0 and 1, or a layer has no bias.
    """
    if not 0 < prior < 1:
        raise ValueError(f"bias_prior: {prior}: expected a probability between 0 and 1, or null for mmdet's own")
    for name in RULES[type(head).__name__].layers:
        layer: Any = getattr(head, name)
        # A ModuleList has one layer per level; a Sequential ends in the layer.
        layers: list[Any] = list(layer) if isinstance(layer, nn.ModuleList) else [layer]
        for each in [layers[0][-1]] if isinstance(layer, nn.Sequential) else layers:
            if each.bias is None:
                raise ValueError(f"bias_prior: {type(head).__name__}.{name} has no bias")
            each.bias.fill_(bias_of(prior))
