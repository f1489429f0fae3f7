"""What is measured: losses, sizes, dtypes, against whom; and the logits and labels for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

EAGER = "eager spelling"
IGNORED = 255
SHARE_IGNORED = 0.08


class Inputs(NamedTuple):
    """Logits (N, K, ...) that require a gradient, labels (N, ...), and quality (N,) where the loss wants it."""

    logits: Tensor
    labels: Tensor
    quality: Tensor | None


@dataclass(frozen=True)
class Setting:
    """One loss at one size.

    Attributes:
        loss: name for `losses.build`.
        num_classes: C.
        shape: of the logits.
        against: names of `loss_peers.PEERS`.
        params: further arguments of the loss.
        dtype: of the logits.
        foreground: share of the samples that are; pixels all are.
    """

    loss: str
    num_classes: int
    shape: tuple[int, ...]
    against: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    foreground: float = 0.25

    @property
    def key(self) -> str:
        everything = "-foreground" if self.foreground == 1 else ""
        return f"{self.loss}-{'x'.join(map(str, self.shape))}-{self.dtype}{everything}"

    @property
    def size(self) -> str:
        everything = ", all foreground" if self.foreground == 1 else ""
        return " × ".join(f"{length:,}" for length in self.shape) + everything

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * getattr(torch, self.dtype).itemsize


DENSE = (22_400, 1_203)
PROPOSALS = (8_192, 1_204)
FEW_PROPOSALS = (1_024, 1_204)
PIXELS = (4, 150, 512, 512)
OBJECTNESS = {"objectness": True}
BACKGROUND = {"background": True}
PIXEL = {"ignore_index": IGNORED}

FLOAT32 = (
    Setting("efl", 1_203, DENSE, (EAGER,)),
    Setting("focal", 1_203, DENSE, (EAGER, "torchvision focal")),
    Setting("sigmoid_eql", 1_203, PROPOSALS, ("mmdet EQLV2Loss", "torch BCE"), OBJECTNESS),
    Setting("sigmoid_eql", 1_203, FEW_PROPOSALS, ("mmdet EQLV2Loss", "torch BCE"), OBJECTNESS),
    Setting("softmax_eql", 1_203, PROPOSALS, (EAGER, "torch cross entropy"), BACKGROUND),
    Setting("softmax_eql", 150, PIXELS, ("torch cross entropy",), PIXEL),
    Setting("seesaw", 1_202, PROPOSALS, ("mmdet SeesawLoss",), OBJECTNESS),
    Setting("seesaw", 1_202, PROPOSALS, ("mmdet SeesawLoss",), OBJECTNESS, foreground=1.0),
    Setting("bce", 1_203, DENSE, (EAGER, "torch BCE")),
    Setting("eqfl", 1_203, DENSE, (EAGER, "torch BCE")),
    Setting("quality_focal", 1_203, DENSE, (EAGER, "mmdet QualityFocalLoss", "torch BCE")),
)
BFLOAT16 = tuple(replace(setting, dtype="bfloat16") for setting in FLOAT32)
SETTINGS = {setting.key: setting for setting in (*FLOAT32, *BFLOAT16)}
FIRST_OF_A_KERNEL = (
    "efl-22400x1203-float32",
    "sigmoid_eql-8192x1204-float32",
    "softmax_eql-8192x1204-float32",
    "softmax_eql-4x150x512x512-float32",
    "seesaw-8192x1204-float32",
)
"""Settings that meet an empty cache where all share one, being the first to need a kernel."""


def make_inputs(setting: Setting, device: torch.device) -> Inputs:
    """Logits as early in training, labels of class frequencies that fall like 1 / rank, or background.

    Pixels are all of some class, 8 % of them ignored.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = len(setting.shape) == 4
    softmax = setting.loss in ("softmax_eql", "seesaw")
    logits = torch.empty(setting.shape).normal_(0.0 if softmax else -4.0, 2.0, generator=generator)
    samples = (setting.shape[0], *setting.shape[2:])
    frequency = 1 / torch.arange(1, setting.num_classes + 1)
    labels = torch.multinomial(frequency, math.prod(samples), replacement=True, generator=generator).view(samples)
    chance = torch.rand(samples, generator=generator)
    if pixels:
        labels[chance < SHARE_IGNORED] = IGNORED
    else:
        labels[chance >= setting.foreground] = setting.num_classes
    quality = torch.rand(samples, generator=generator) if setting.loss in ("eqfl", "quality_focal") else None
    return Inputs(
        logits.to(device, getattr(torch, setting.dtype)).requires_grad_(),
        labels.to(device),
        None if quality is None else quality.to(device),
    )
