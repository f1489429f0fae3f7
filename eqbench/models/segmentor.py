"""A network for semantic segmentation: torchvision's FCN, DeepLabV3 or LRASPP, and the loss of each pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from torch import Tensor, nn
from torch.nn.functional import interpolate

from eqbench.evaluation.weight_norms import row_norms
from eqbench.losses.base import Loss
from eqbench.losses.sigmoid import is_sigmoid
from eqbench.models import segmentation_networks as networks
from eqbench.models.pretrained import content_digest
from eqbench.models.segmentation_networks import ArchitectureName, BackboneName

__all__ = ["Segmentor"]

USUAL_AUXILIARY_WEIGHT = 0.4


class Segmentor(nn.Module):
    """FCN, DeepLabV3 or LRASPP with the run's loss at every pixel.

    Logits are interpolated to the size of the images and given to the loss there. The auxiliary head, an FCN on the
    middle of the backbone, trains a loss of its own, the same one with statistics of its own.

    Args:
        build_loss: supplied by the task. Heads have as many columns of logits as the loss.
        architecture: `fcn`, `deeplabv3`, or `lraspp`, which has no auxiliary head.
        backbone: `resnet50` and `resnet101` with stride 8, `mobilenet_v3_small` and `mobilenet_v3_large` with
            stride 16, as torchvision dilates them; `resnet8` to `resnet32` with stride 4 are those for small images.
        backbone_weights: `torchvision:ResNet50_Weights.IMAGENET1K_V1`, looked for where torch.hub keeps files, or
            the path of a file; null: from scratch. Nothing is downloaded.
        norm: normalisation layers. With `batch`, the result depends on how a batch is dealt to workers.
        width: channels of the first stage of a backbone for small images, 16 by default.
        auxiliary_weight: factor of the auxiliary head's loss, 0 for no such head; null: 0.4 where there can be one.
        bias_prior: how probable each class is before training, to a loss of one binary decision per class: the bias
            of the logits is -log((1 - p) / p). null, and other losses: torchvision's bias.

    Raises:
        InputError: the weights are missing or another network's.
        ValueError: an argument is out of range, or two do not go together.
    """

    def __init__(
        self,
        *,
        build_loss: Callable[[], Loss],
        architecture: ArchitectureName,
        backbone: BackboneName,
        backbone_weights: str | None = None,
        norm: Literal["batch", "group"] = "batch",
        width: int | None = None,
        auxiliary_weight: float | None = None,
        bias_prior: float | None = None,
    ) -> None:
        super().__init__()
        check_numbers(architecture, backbone_weights, norm, auxiliary_weight, bias_prior)
        self.loss = build_loss()
        self.backbone = networks.build_backbone(backbone, weights=backbone_weights, width=width)
        self.head = networks.build_head(architecture, self.backbone.channels, self.loss.columns)
        if auxiliary_weight is None:
            auxiliary_weight = 0.0 if architecture == "lraspp" else USUAL_AUXILIARY_WEIGHT
        self._auxiliary_weight = auxiliary_weight
        last_layers = [self.head.last_layers]
        if auxiliary_weight:
            self.auxiliary_head = networks.build_auxiliary_head(self.backbone.channels, self.loss.columns)
            self.auxiliary_loss = build_loss()
            last_layers.append([self.auxiliary_head[-1]])
        networks.group_normalized(self) if norm == "group" else networks.bear_single_values(self)
        if bias_prior is not None and is_sigmoid(self.loss):
            for layers in last_layers:
                networks.set_bias(layers, bias_prior)

    @classmethod
    def check(cls, params: Mapping[str, Any]) -> None:
        """Refuse, without building it, a network that could not be built.

        Args:
            params: of the constructor, defaults filled in, without what the task supplies.

        Raises:
            InputError: the weights are not there, or another backbone's.
            ValueError: an argument is out of range, or two do not go together.
        """
        options = ("architecture", "backbone_weights", "norm", "auxiliary_weight", "bias_prior")
        check_numbers(*(params[name] for name in options))
        networks.check_width(params["backbone"], params["width"])
        if params["backbone_weights"] is not None:
            networks.check_backbone_weights(params["backbone"], params["backbone_weights"])

    @classmethod
    def source_of(cls, params: Mapping[str, Any]) -> str | None:
        """Digest of a file of weights that the parameters name by its path."""
        return content_digest(params.get("backbone_weights"))

    def weight_norms(self) -> Tensor | None:
        """(C,) norms of the classes' rows in the last layers of the head."""
        return row_norms([cast(Tensor, layer.weight) for layer in self.head.last_layers], self.loss.num_classes)

    def forward(
        self, images: Tensor, labels: Tensor | None = None, normalizer: float | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Logits, or with labels the named losses.

        Args:
            images: (n, 3, H, W) floating; n may be 0.
            labels: (n, H, W) int64.
            normalizer: what the losses, sums over pixels, are divided by; None: all pixels, those without a class too.

        Returns:
            (n, K, H, W), or `loss` and, where there is an auxiliary head, `auxiliary_loss`, scalars.
        """
        features = self.backbone(images)
        logits = resized(self.head(features), images.shape[-2:])
        if labels is None:
            return logits
        if normalizer is None:
            normalizer = max(1, labels.numel())
        losses = {"loss": self.loss(logits, labels, normalizer=normalizer)}
        if self._auxiliary_weight:
            auxiliary = resized(self.auxiliary_head(features["middle"]), images.shape[-2:])
            # Within the divisor, the weight is in the gradient statistics, which are of what is trained.
            losses["auxiliary_loss"] = self.auxiliary_loss(
                auxiliary, labels, normalizer=normalizer / self._auxiliary_weight
            )
        return losses


def resized(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (n, K, h, w) interpolated to `size`, bilinear."""
    return interpolate(logits, size=(size[0], size[1]), mode="bilinear", align_corners=False)


def check_numbers(
    architecture: str, backbone_weights: str | None, norm: str, auxiliary_weight: float | None, bias_prior: float | None
) -> None:
    """
    Raises:
        ValueError: an argument of the constructor is out of range, or two do not go together.
    """
    if auxiliary_weight is not None and not 0 <= auxiliary_weight < float("inf"):
        raise ValueError(f"auxiliary_weight {auxiliary_weight}: expected a number of at least 0, or null")
    if auxiliary_weight and architecture == "lraspp":
        raise ValueError(f"auxiliary_weight {auxiliary_weight}: lraspp has no auxiliary head; expected 0 or null")
    if bias_prior is not None and not 0 < bias_prior < 1:
        raise ValueError(f"bias_prior {bias_prior}: expected a probability between 0 and 1, or null")
    if backbone_weights is not None and norm != "batch":
        raise ValueError(f"norm {norm!r}: the backbone's weights are of batch normalisation; expected 'batch'")
