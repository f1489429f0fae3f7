"""An image classifier: backbone, linear or cosine classifier, and the loss."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from eqbench.losses.base import Loss
from eqbench.models.resnet import LargeName, NormName, SmallName, build_backbone

__all__ = ["Classifier", "CosineClassifier"]


class CosineClassifier(nn.Module):
    """Logits `scale * cos(features, weight_c)`, without bias.

    `scale` 30, and rows of weights drawn from U(-1, 1) and then set to length 1, are those of the Softmax-EQL
    release.

    Args:
        in_features: features D per sample.
        num_classes: classes C.
        scale: what the cosine is multiplied by.

    >>> CosineClassifier(4, 3)(torch.ones(2, 4)).abs().max() <= 30
    tensor(True)
    """

    def __init__(self, in_features: int, num_classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(normalize(torch.empty(num_classes, in_features).uniform_(-1, 1)))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * linear(normalize(features), normalize(self.weight))


class Classifier(nn.Module):
    """ResNet or ResNeXt with a linear or cosine classifier.

    Args:
        in_channels, loss: supplied by the task. The classifier has as many logits as the loss has columns.
        backbone: `resnet8` to `resnet32` are those for small images, the others torchvision's.
        classifier: `linear`, or `cosine` with scale 30.
        norm: normalisation layers. With `batch`, the result depends on how a batch is dealt to workers.
        width: channels of the first stage of a backbone for small images, 16 by default.

    Raises:
        ValueError: `width` is not positive, or given for a backbone that has its own.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        loss: Loss,
        backbone: SmallName | LargeName,
        classifier: Literal["linear", "cosine"] = "linear",
        norm: NormName = "batch",
        width: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        body, features = build_backbone(backbone, in_channels=in_channels, norm=norm, width=width)
        head = (nn.Linear if classifier == "linear" else CosineClassifier)(features, loss.columns)
        self.network = nn.Sequential(OrderedDict(backbone=body, classifier=head))
        self.loss = loss

    def forward(self, images: Tensor, labels: Tensor | None = None, normalizer: float | None = None) -> Tensor:
        """The scalar loss of images (N, in_channels, H, W) and labels (N,); without labels, logits (N, K)."""
        logits: Tensor = self.network(images)
        if labels is None:
            return logits
        value: Tensor = self.loss(logits, labels, normalizer=normalizer)
        return value
