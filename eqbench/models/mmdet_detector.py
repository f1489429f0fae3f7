"""A detector of mmdet, by the name of its configuration, that trains and predicts with the run's loss."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eqbench.data.transformed_images import build_transform
from eqbench.errors import InputError
from eqbench.evaluation.weight_norms import row_norms
from eqbench.losses.base import Loss
from eqbench.models import mmdet_config, mmdet_heads
from eqbench.models.mmdet_config import Configuration
from eqbench.models.mmdet_config.configuration import set_classes
from eqbench.models.mmdet_config.importing import import_mmdet
from eqbench.models.mmdet_config.resizing import BatchResize

__all__ = ["MMDetDetector"]

Sample = Mapping[str, Any]


class MMDetDetector(nn.Module):
    """One-stage or two-stage detector of mmdet, with masks where its configuration has them.

    The run's loss takes the place of the classification loss of each head; a cascade has one for each stage, with
    statistics of their own. Losses of boxes, masks and proposals are the configuration's.

    Heads give losses what they give mmdet's: a loss that uses the quality of boxes gets IoU (GFL, YOLOX) or alignment
    (TOOD), the others hard labels there too. YOLOX as in mmdet trains soft labels, the IoU; so do `quality_focal` and
    `eqfl` here.

    Args:
        num_classes, build_loss: supplied by the task.
        config: `folder/name` of one of mmdet's configurations, such as `retinanet/retinanet_r50_fpn_1x_coco`, or the
            path of a `.py` file. Its model and pipelines are used; data, schedule and optimiser are the suite's.
        overrides: values by dotted key of the configuration: `model.backbone.depth: 18`, `train_pipeline.2.scale: [96,
            96]`. The data decide `num_classes`.
        backbone_weights: `torchvision:ResNet50_Weights.IMAGENET1K_V1`, looked for where torch.hub keeps files, or
            the path of a file; null: from scratch. Nothing is downloaded.
        bias_prior: how probable an object is before training, to a loss of one binary decision per class: the bias of
            classification is -log((1 - p) / p). null, and other losses: mmdet's bias.

    Raises:
        InputError: configuration, overrides, weights or loss do not fit.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        build_loss: Callable[[], Loss],
        config: str,
        overrides: dict[str, Any] = {},  # noqa: B006  (never changed)
        backbone_weights: str | None = None,
        bias_prior: float | None = None,
    ) -> None:
        super().__init__()
        configuration = mmdet_config.read(config, overrides)
        set_classes(configuration, num_classes)
        for head in configuration.heads().values():
            loss = build_loss()
            check_fit(configuration, head, loss)
            head["loss_cls"] = mmdet_heads.adapter_for(head, loss)
        self.network = build_network(configuration)
        self.network.init_weights()
        if backbone_weights is not None:
            mmdet_config.load_weights(self.network.backbone, backbone_weights)
        self._most = configuration.most_detections
        self._adapters: list[mmdet_heads.ClassificationLoss] = []
        stage_weights = (configuration.model.get("roi_head") or {}).get("stage_loss_weights", [1.0])
        for stage, place in enumerate(configuration.heads()):
            self._place = place
            head = self.network.get_submodule(place)
            adapter = head.loss_cls
            self._adapters.append(adapter)
            mmdet_heads.attach(head, stage_weights[stage])
            if bias_prior is not None and mmdet_heads.is_sigmoid(adapter.loss):
                mmdet_heads.set_bias(head, bias_prior)
            mmdet_heads.check_activation(place, head, adapter.loss)

    @classmethod
    def check(cls, params: Mapping[str, Any], *, num_classes: int, masks: bool) -> None:  # noqa: ARG003
        """Refuse, without building it, a detector that could not be built.

        Args:
            params: of the constructor, without what the task supplies.
            masks: the data's instances have polygons.

        Raises:
            InputError: the configuration, an override, or the weights do not exist or fit.
            ValueError: the detector needs what the data do not have.
        """
        configuration = mmdet_config.read(params["config"], params.get("overrides") or {})
        for head in configuration.heads().values():
            check_fit(configuration, head, None)
        for transform in (*configuration.train_pipeline, *configuration.test_pipeline):
            build_transform(transform)
        if configuration.has_masks and not masks:
            raise ValueError(f"config {configuration.name!r} trains masks, which the data do not have")
        weights = params.get("backbone_weights")
        if weights is not None:
            mmdet_config.check_weights(weights, configuration.model["backbone"])
        prior = params.get("bias_prior")
        if prior is not None and not 0 < prior < 1:
            raise ValueError(f"bias_prior: {prior}: expected a probability between 0 and 1, or null for mmdet's own")

    @classmethod
    def check_loss(cls, params: Mapping[str, Any], loss: Loss) -> None:
        """Refuse a loss that the detector's heads cannot train; needs no network.

        Raises:
            ValueError: the reason.
        """
        configuration = mmdet_config.read(params["config"], params.get("overrides") or {})
        for head in configuration.heads().values():
            check_fit(configuration, head, loss)

    @classmethod
    def pipelines(cls, params: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """mmdet's transforms for training and for prediction, the loading of the image first."""
        configuration = mmdet_config.read(params["config"], params.get("overrides") or {})
        return configuration.train_pipeline, configuration.test_pipeline

    @classmethod
    def source_of(cls, params: Mapping[str, Any]) -> str | None:
        """Digest of what the parameters name by its path: a configuration outside mmdet, a file of weights."""
        parts: list[bytes] = []
        if params["config"].endswith(".py"):
            parts.append(repr(mmdet_config.read(params["config"], params.get("overrides") or {})).encode())
        weights = params.get("backbone_weights")
        if weights is not None and Path(weights).is_file():
            parts.append(Path(weights).read_bytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12] if parts else None

    @classmethod
    def predicts_masks(cls, params: Mapping[str, Any]) -> bool:
        """Whether its predictions have masks."""
        return mmdet_config.read(params["config"], params.get("overrides") or {}).has_masks

    def forward(self, batch: Sequence[Sample], share: float = 1.0) -> dict[str, Tensor]:
        """Named losses, scalars, of a batch of samples as mmdet's PackDetInputs makes them.

        Args:
            batch: may be empty: losses are 0 then, and every trained parameter has a gradient all the same.
            share: of the batch in the optimizer step, > 0 unless the batch is empty; factor of all losses.
        """
        for adapter in self._adapters:
            adapter.share = share if batch else 1.0
        if not batch:
            return self._without_images()
        losses = {name: value * share for name, value in self._losses(batch).items()}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self._touch_all(losses)
        return losses

    @torch.no_grad()
    def predict(self, batch: Sequence[Sample]) -> list[dict[str, Any]]:
        """What is detected in each image, on the CPU, in pixels of the original image.

        Returns:
            For each image `boxes` (n, 4) float32 x1, y1, x2, y2; `scores` (n,) float32, highest first; `labels` (n,)
            int64 classes; `masks` n COCO run-length encodings, or None if the detector has no masks. n is at most the
            `max_per_img` of the configuration's `test_cfg`, for YOLOX too, whose head does not know it.
        """
        if not batch:
            return []
        data = self._prepared(batch, training=False)
        samples = self.network.predict(data["inputs"], data["data_samples"], rescale=True)
        return [prediction(sample.pred_instances, self._most, masks=self.network.with_mask) for sample in samples]

    def weight_norms(self) -> Tensor | None:
        """(C,) norms of the classes' rows in the last stage; None where a class has one for each anchor or level."""
        loss = self._adapters[-1].loss
        rows = mmdet_heads.class_rows(self.network.get_submodule(self._place), loss.columns)
        return row_norms(rows, loss.num_classes)

    def _prepared(self, batch: Sequence[Sample], *, training: bool) -> dict[str, Any]:
        preprocessor = self.network.data_preprocessor
        preprocessor.to(next(self.parameters()).device)  # it does not notice when a module around it is moved
        columns = {key: [sample[key] for sample in batch] for key in ("inputs", "data_samples")}
        prepared: dict[str, Any] = preprocessor(columns, training)
        return prepared

    def _losses(self, batch: Sequence[Sample]) -> dict[str, Tensor]:
        data = self._prepared(batch, training=True)
        found: dict[str, Any] = self.network.loss(data["inputs"], data["data_samples"])
        return {name: total(value) for name, value in found.items() if "loss" in name}

    def _without_images(self) -> dict[str, Tensor]:
        """Losses of 0, from a black image, since heads talk to those of other processes.

        It changes no gradient statistics, and no running statistics but those of synchronised batch normalisation,
        whose processes wait for each other: there the image counts as one of the batch.
        """
        training = self.network.training
        self.network.eval()
        for module in self.network.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.train(training)
        try:
            losses = {name: 0 * value for name, value in self._losses([blank()]).items()}
        finally:
            self.network.train(training)
        self._touch_all(losses)
        return losses

    def _touch_all(self, losses: dict[str, Tensor]) -> None:
        """Adds 0 with a gradient, 0, for each trained parameter to a loss: DDP waits for all of them."""
        first = next(iter(losses))
        some = [each.flatten()[0].float() for each in self.parameters() if each.requires_grad]
        losses[first] = losses[first] + 0 * torch.stack(some).sum()


def check_fit(configuration: Configuration, head: Mapping[str, Any], loss: Loss | None) -> None:
    """
    Raises:
        ValueError: why the loss, or any, cannot be trained in the head.
    """
    reason = mmdet_heads.fit(configuration.model, head, loss)
    if reason:
        raise ValueError(f"{'' if loss is None else 'does not fit '}config {configuration.name!r}: {reason}")


def build_network(configuration: Configuration) -> Any:
    """mmdet's detector, as initialised by PyTorch.

    Raises:
        InputError: mmdet refuses the configuration.
    """
    import_mmdet()
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.logging import MessageHub
    from mmengine.registry import DefaultScope

    MessageHub.get_current_instance().update_info("epoch", 0)  # TOOD asks for it
    model = configuration.model
    for augmentation in model.get("data_preprocessor", {}).get("batch_augments") or []:
        if augmentation["type"] == "BatchSyncRandomResize":
            augmentation["type"] = BatchResize
    try:
        with DefaultScope.overwrite_default_scope("mmdet"):
            return MODELS.build(ConfigDict(model))
    except (KeyError, TypeError, ValueError, AssertionError, AttributeError, ImportError) as error:
        raise InputError(f"config: {configuration.name!r}: mmdet cannot build it: {error}") from error


def blank(size: int = 128) -> Sample:
    """An image without objects."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    nothing = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), masks=BitmapMasks([], size, size)
    )
    shape = {"img_shape": (size, size), "ori_shape": (size, size), "scale_factor": (1.0, 1.0)}
    sample = DetDataSample(metainfo=shape, gt_instances=nothing, ignored_instances=nothing.clone())
    return {"inputs": torch.zeros(3, size, size, dtype=torch.uint8), "data_samples": sample}


def total(value: Tensor | Sequence[Tensor]) -> Tensor:
    """A loss of mmdet, which may be one per level, as a scalar."""
    if isinstance(value, Tensor):
        return value.mean()
    return torch.stack([part.mean() for part in value]).sum()


def prediction(instances: Any, most: int | None, *, masks: bool) -> dict[str, Any]:
    """mmdet's detections of an image as arrays: the highest scores first, at most so many."""
    order = instances.scores.argsort(descending=True, stable=True)[:most]
    if not torch.equal(order, torch.arange(len(instances), device=order.device)):  # masks are large: copied if need be
        instances = instances[order]
    return {
        "boxes": instances.bboxes.float().cpu().numpy(),
        "scores": instances.scores.float().cpu().numpy(),
        "labels": instances.labels.cpu().numpy(),
        "masks": run_lengths(instances.masks) if masks else None,
    }


def run_lengths(masks: Tensor) -> list[dict[str, Any]]:
    """COCO's run-length encodings of masks (n, H, W): `size` and `counts`, bytes."""
    if not len(masks):
        return []
    encode = importlib.import_module("pycocotools.mask").encode  # which has no types
    # pycocotools takes (H, W, n) in Fortran order, whose memory is that of (n, W, H) in C order.
    by_column = torch.as_tensor(masks).to(torch.uint8).transpose(1, 2).contiguous().cpu().numpy()
    encoded: list[dict[str, Any]] = encode(by_column.transpose(2, 1, 0))
    return encoded
