"""An image classifier: backbone, linear or cosine classifier, and the loss."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from eqbench.evaluation.weight_norms import row_norms
from eqbench.losses.base import Loss
from eqbench.losses.sigmoid import bias_of, is_sigmoid
from eqbench.models.pretrained import check_weights, content_digest, load_weights
from eqbench.models.resnet import LargeName, NormName, SmallName, build_backbone
from eqbench.validation import show

__all__ = ["Classifier", "CosineClassifier"]

HeadName = Literal["linear", "cosine"]
Trained = Literal["all", "classifier", "scales", "none"]
NETWORK = "network."
SAME_AS_ORIGIN = ("backbone", "norm", "width")


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

    The two-stage methods of Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR
    2020, start from the weights of a run (`start_from` in the suite): `trained: classifier` is cRT, a new classifier on
    the features as they are; `trained: scales` is LWS, one learned factor per class on the logits; `trained: none` with
    `tau` is tau-normalisation, each row of the classifier divided by its length to the power tau, without bias.

    Args:
        in_channels, loss: supplied by the task. The classifier has as many logits as the loss has columns.
        backbone: `resnet8` to `resnet32` are those for small images, the others torchvision's.
        classifier: `linear`, or `cosine` with scale 30.
        norm: normalisation layers. With `batch`, the result depends on how a batch is dealt to workers.
        width: channels of the first stage of a backbone for small images, 16 by default.
        backbone_weights: what the backbone starts from: `torchvision:ResNet152_Weights.IMAGENET1K_V1`, looked up
            among the files that torch.hub has downloaded, or a file of tensors.
        bias_prior: how probable each class is before training, to a loss of one binary decision per class: the bias of
            a linear classifier is -log((1 - p) / p). null, and other losses: torch's bias.
        trained: what training changes. What it does not is fixed: batch normalisation keeps its statistics too.
        tau: power of tau-normalisation.

    Raises:
        ValueError: an option does not fit another.
        InputError: the weights are missing or of another network.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        loss: Loss,
        backbone: SmallName | LargeName,
        classifier: HeadName = "linear",
        norm: NormName = "batch",
        width: PositiveInt | None = None,
        backbone_weights: str | None = None,
        bias_prior: float | None = None,
        trained: Trained = "all",
        tau: float | None = None,
    ) -> None:
        super().__init__()
        body, features = build_backbone(backbone, in_channels=in_channels, norm=norm, width=width)
        if backbone_weights is not None:
            load_weights(body, backbone_weights)
        head = (nn.Linear if classifier == "linear" else CosineClassifier)(features, loss.columns)
        if bias_prior is not None and is_sigmoid(loss):
            nn.init.constant_(cast(Tensor, head.bias), bias_of(bias_prior))
        self.network = nn.Sequential(OrderedDict(backbone=body, classifier=head))
        self.scales = nn.Parameter(torch.ones(loss.columns)) if trained == "scales" else None
        self.loss = loss
        self.tau = tau
        self.trained = trained
        self._fixed = {"all": [], "classifier": [body]}.get(trained, [body, head])
        for part in self._fixed:
            part.requires_grad_(False)

    @classmethod
    def check(cls, params: Mapping[str, Any], parent: Mapping[str, Any] | None) -> None:
        """Whether options fit each other and those of the run that it starts from; builds nothing.

        Raises:
            ValueError, InputError: they do not.
        """
        trained, tau, weights = params["trained"], params["tau"], params["backbone_weights"]
        if (tau is not None) != (trained == "none"):
            raise ValueError(
                f"tau {show(tau)} with trained {trained!r}: expected a tau with trained 'none', and only there"
            )
        if tau is not None and not 0 <= tau < math.inf:
            raise ValueError(f"tau {tau}: expected a number of at least 0")
        if trained == "none" and params["classifier"] != "linear":
            raise ValueError("tau is for a linear classifier; the rows of a cosine one have no length")
        prior = params["bias_prior"]
        if prior is not None and not (0 < prior < 1 and params["classifier"] == "linear"):
            raise ValueError(f"bias_prior {prior}: expected a probability between 0 and 1, of a linear classifier")
        if parent is None and (trained in ("scales", "none") or (trained == "classifier" and weights is None)):
            raise ValueError(f"trained {trained!r}: the rest stays as it starts; expected start_from in the suite")
        if parent is not None and weights is not None:
            raise ValueError("backbone_weights: expected null, since start_from brings its own")
        if weights is not None:
            check_weights(partial(_pretrained_body, params), weights)
        if parent is None:
            return
        if parent["trained"] in ("scales", "none") and trained != "classifier":
            raise ValueError(
                f"start_from: a run with trained {parent['trained']!r} is more than backbone and classifier; expected "
                "one with trained 'all' or 'classifier'"
            )
        same = SAME_AS_ORIGIN if trained == "classifier" else (*SAME_AS_ORIGIN, "classifier")
        for key in same:
            if params[key] != parent[key]:
                raise ValueError(
                    f"{key} {show(params[key])}: expected {show(parent[key])}, that of the run it starts from"
                )

    @classmethod
    def source_of(cls, params: Mapping[str, Any]) -> str | None:
        """Digest of a weights file; None for torchvision's, whose name says what they are."""
        return content_digest(params["backbone_weights"])

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of another run's classifier; of the backbone alone where the classifier is trained anew."""
        anew = self.trained == "classifier"
        wanted, prefix = (self.network[0], f"{NETWORK}backbone.") if anew else (self.network, NETWORK)
        wanted.load_state_dict({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        for part in self._fixed:
            part.eval()
        return self

    def weight_norms(self) -> Tensor | None:
        """(C,) norms of the classes' rows, as logits are made with them; a cosine classifier's have none: None."""
        head = self.network[1]
        if isinstance(head, CosineClassifier):
            return None
        norms = row_norms([cast(Tensor, head.weight)], self.loss.num_classes)
        if norms is not None and self.scales is not None:
            norms = norms * self.scales.detach()[: len(norms)].abs()
        return norms if norms is None or self.tau is None else norms ** (1 - self.tau)

    def logits(self, images: Tensor) -> Tensor:
        """(N, K) for images (N, in_channels, H, W)."""
        if self.tau is None:
            logits: Tensor = self.network(images)
            return logits if self.scales is None else logits * self.scales
        backbone, head = self.network
        weight = cast(Tensor, head.weight)
        lengths = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
        return linear(backbone(images), weight / lengths**self.tau)

    def forward(self, images: Tensor, labels: Tensor | None = None, normalizer: float | None = None) -> Tensor:
        """The scalar loss of images (N, in_channels, H, W) and labels (N,); without labels, logits (N, K)."""
        logits = self.logits(images)
        if labels is None:
            return logits
        value: Tensor = self.loss(logits, labels, normalizer=normalizer)
        return value


def _pretrained_body(params: Mapping[str, Any]) -> nn.Module:
    """A backbone of colour images, which is what weights are made for."""
    return build_backbone(params["backbone"], in_channels=3, norm=params["norm"], width=params["width"])[0]
