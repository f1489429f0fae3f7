"""Residual networks as feature extractors: those for small images, and torchvision's.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016. Every backbone maps images
(N, in_channels, H, W) to features (N, D), and accepts N = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

SmallName = Literal["resnet8", "resnet14", "resnet20", "resnet32"]
LargeName = Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"]
NormName = Literal["batch", "group", "none"]


def build_backbone(
    name: SmallName | LargeName, *, in_channels: int, norm: NormName, width: int | None
) -> tuple[nn.Module, int]:
    """A backbone and its number of features D.

    Without normalisation the last convolution of each block starts at zero, so that every block starts as its
    shortcut and the signal neither grows nor fades with depth: Zhang et al., Fixup Initialization, ICLR 2019.
    Train such a network with gradient clipping (`clip_norm`).

    Raises:
        ValueError: `width` is given for a backbone that has its own.
    """
    if name in get_args(SmallName):
        backbone, features = _small(name, in_channels, norm, 16 if width is None else width)
    elif width is None:
        backbone, features = _large(name, in_channels, norm)
    else:
        raise ValueError(
            f"width {width}: {name} has its own; expected null, or one of {', '.join(get_args(SmallName))}"
        )
    if norm == "none":
        for module in backbone.modules():
            if last := getattr(module, "conv3", None) or getattr(module, "conv2", None):
                nn.init.zeros_(last.weight)
    return backbone, features


def normalization(norm: NormName, channels: int) -> nn.Module:
    """Batch normalisation, group normalisation with 16 channels per group (Wu and He, ECCV 2018), or nothing.

    >>> normalization("group", 64).num_groups
    4
    """
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            return nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels)
        case "none":
            return nn.Identity()


class SmallBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut without parameters ("option A" of He et al.)."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: NormName) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = normalization(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = normalization(norm, channels)
        self.stride = stride
        self.added_channels = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        before = self.added_channels // 2
        shortcut = pad(shortcut, (0, 0, 0, 0, before, self.added_channels - before))
        return torch.relu(residual + shortcut)


class SmallResNet(nn.Module):
    """ResNet with 6n + 2 layers for small images: three stages of n blocks, each twice as wide."""

    def __init__(self, blocks: int, in_channels: int, norm: NormName, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width {width}: expected at least 1")
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = normalization(norm, width)
        stages: list[nn.Module] = []
        channels = width
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(SmallBlock(channels, width * 2**stage, stride, norm))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(images)))
        return torch.mean(self.blocks(x), dim=(2, 3))


def _small(name: str, in_channels: int, norm: NormName, width: int) -> tuple[nn.Module, int]:
    blocks = (int(name.removeprefix("resnet")) - 2) // 6
    return SmallResNet(blocks, in_channels, norm, width), 4 * width


def _large(name: str, in_channels: int, norm: NormName) -> tuple[nn.Module, int]:
    from torchvision.models import resnet

    def norm_layer(channels: int) -> nn.Module:
        return normalization(norm, channels)

    if name == "resnet10":
        network = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], norm_layer=norm_layer)
    else:
        build: Callable[..., resnet.ResNet] = getattr(resnet, name)
        network = build(norm_layer=norm_layer)
    if in_channels != 3:
        network.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    features = network.fc.in_features
    network.fc = nn.Identity()
    return network, features
