"""Backbones that keep resolution: torchvision's, dilated, and the residual networks for small images.

Feature maps by depth, with their stride: `low` and `middle`, which the auxiliary head sees, and `high`.

| | low | middle | high |
|---|---|---|---|
| ResNet-50, ResNet-101 | 8 | 8 | 8 |
| MobileNet V3 | 8 | 8 | 16 |
| ResNet-8 to ResNet-32 | 2 | 2 | 4 |
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast, get_args

from torch import Tensor, nn

from eqbench.errors import InputError
from eqbench.models.pretrained import TORCHVISION, check_weights, find_weights, load_weights
from eqbench.models.resnet import SmallName, SmallResNet

LargeName = Literal["resnet50", "resnet101", "mobilenet_v3_small", "mobilenet_v3_large"]
BackboneName = SmallName | LargeName
MIDDLE = {"mobilenet_v3_small": "2", "mobilenet_v3_large": "4"}
"""The first block of stride 8, as torchvision takes."""
WIDTH = 16
"""Channels of the first stage of a backbone for small images, where nothing else is said."""
SMALLEST_WIDTH = 2
"""A head has a quarter of the channels that it sees."""


class FeatureMaps(nn.Module):
    """Layers one after the other, some of whose outputs are kept.

    Args:
        layers: what images (n, 3, H, W) go through.
        kept: name of the feature map by name of the layer whose output it is; the last layer's is `high`.
        channels: of each feature map, by its name.
    """

    def __init__(self, layers: Mapping[str, nn.Module], kept: Mapping[str, str], channels: Mapping[str, int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(OrderedDict(layers))
        self.channels = dict(channels)
        self._kept = dict(kept)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        x = images
        for name, layer in self.layers.named_children():
            x = layer(x)
            if name in self._kept:
                found[self._kept[name]] = x
        return {"low": found["middle"], **found, "high": x}


def build_backbone(name: BackboneName, *, weights: str | None, width: int | None) -> FeatureMaps:
    """A backbone with batch normalisation.

    Args:
        name: which.
        weights: as `eqbench.models.pretrained` finds them; None: as torchvision initialises it.
        width: channels of the first stage of a backbone for small images.

    Raises:
        InputError: weights are not there, or not those of this backbone.
        ValueError: `width` does not fit.
    """
    check_width(name, width)
    if name in get_args(SmallName):
        if weights is not None:
            check_backbone_weights(name, weights)
        return _small(cast(SmallName, name), WIDTH if width is None else width)
    network = _dilated(name)
    if weights is not None:
        load_weights(network, weights)
    return _mobilenet(network, MIDDLE[name]) if name in MIDDLE else _resnet(network)


def check_width(name: BackboneName, width: int | None) -> None:
    """
    Raises:
        ValueError: the backbone has its own width, or one so small leaves a head without channels.
    """
    if width is None:
        return
    if name not in get_args(SmallName):
        raise ValueError(
            f"width {width}: {name} has its own; expected null, or one of {', '.join(get_args(SmallName))}"
        )
    if width < SMALLEST_WIDTH:
        raise ValueError(f"width {width}: expected at least {SMALLEST_WIDTH}")


def check_backbone_weights(name: BackboneName, weights: str) -> None:
    """Whether weights are there and are the backbone's.

    Raises:
        InputError: they are not.
    """
    if name in get_args(SmallName):
        raise InputError(f"backbone_weights: {weights!r}: there are none for {name}; expected null")
    find_weights(weights)
    if weights.startswith(TORCHVISION):
        from torchvision.models import get_model_weights

        family = get_model_weights(name).__name__
        if not weights.startswith(f"{TORCHVISION}{family}."):
            raise InputError(f"backbone_weights: {weights!r}: not of {name}; expected {TORCHVISION}{family}...")
    check_weights(partial(_dilated, name), weights)


def _dilated(name: str) -> Any:
    """torchvision's network without its classifier, with dilation in place of its last strides."""
    from torchvision.models import mobilenetv3, resnet

    if name.startswith("mobilenet"):
        return getattr(mobilenetv3, name)(dilated=True).features
    network = getattr(resnet, name)(replace_stride_with_dilation=[False, True, True])
    network.fc = nn.Identity()
    return network


def _resnet(network: Any) -> FeatureMaps:
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return FeatureMaps(
        {each: getattr(network, each) for each in names},
        {"layer2": "low", "layer3": "middle"},
        {"low": 512, "middle": 1024, "high": 2048},
    )


def _mobilenet(features: Any, middle: str) -> FeatureMaps:
    layers = dict(features.named_children())
    channels = layers[middle].out_channels
    return FeatureMaps(
        layers,
        {middle: "middle"},
        {"low": channels, "middle": channels, "high": list(layers.values())[-1].out_channels},
    )


def _small(name: SmallName, width: int) -> FeatureMaps:
    per_stage = (int(name.removeprefix("resnet")) - 2) // 6
    network = SmallResNet(per_stage, 3, "batch", width)
    blocks = {f"block{index}": block for index, block in enumerate(network.blocks)}
    return FeatureMaps(
        {"conv": network.conv, "norm": network.norm, "relu": nn.ReLU(), **blocks},
        {f"block{2 * per_stage - 1}": "middle"},
        {"low": 2 * width, "middle": 2 * width, "high": 4 * width},
    )
