"""Heads that make logits of feature maps: torchvision's FCN, DeepLabV3 and LRASPP.

Legend: n images, K columns of logits, H' x W' the resolution of the feature map that a head ends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eqbench.losses.sigmoid import bias_of

ArchitectureName = Literal["fcn", "deeplabv3", "lraspp"]


class OnHighest(nn.Module):
    """A head that sees the last feature map alone."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.layers(features["high"])
        return logits

    @property
    def last_layers(self) -> list[nn.Module]:
        return [self.layers[-1]]


class OnTwo(nn.Module):
    """LRASPP, whose logits are the sum of those of the low and of the high feature map."""

    def __init__(self, channels: Mapping[str, int], columns: int) -> None:
        super().__init__()
        from torchvision.models.segmentation.lraspp import LRASPPHead

        self.layers = LRASPPHead(channels["low"], channels["high"], columns, inter_channels=128)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.layers({"low": features["low"], "high": features["high"]})
        return logits

    @property
    def last_layers(self) -> list[nn.Module]:
        return [self.layers.high_classifier, self.layers.low_classifier]


def build_head(architecture: ArchitectureName, channels: Mapping[str, int], columns: int) -> OnHighest | OnTwo:
    """Feature maps to logits (n, K, H', W').

    Args:
        architecture: whose head.
        channels: of each feature map.
        columns: K.
    """
    if architecture == "lraspp":
        return OnTwo(channels, columns)
    if architecture == "deeplabv3":
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead

        return OnHighest(DeepLabHead(channels["high"], columns))
    return OnHighest(_fcn_head(channels["high"], columns))


def build_auxiliary_head(channels: Mapping[str, int], columns: int) -> nn.Sequential:
    """The middle feature map to logits (n, K, H', W')."""
    return _fcn_head(channels["middle"], columns)


@torch.no_grad()
def set_bias(last_layers: list[Any], prior: float) -> None:
    """Sets the sum of the last layers' biases to -log((1 - prior) / prior) in all columns, 0 < prior < 1."""
    for layer in last_layers:
        layer.bias.zero_()
    last_layers[0].bias.fill_(bias_of(prior))


def _fcn_head(channels: int, columns: int) -> nn.Sequential:
    from torchvision.models.segmentation.fcn import FCNHead

    head: nn.Sequential = FCNHead(channels, columns)
    return head
