"""Semantic segmentation: one class per pixel, judged by the mean intersection over union of head, body and tail."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from eqbench import plugins
from eqbench.data.segmentation import SegmentationDataset
from eqbench.evaluation.label_maps import SegmentationEvaluator
from eqbench.evaluation.segmentation import METRICS
from eqbench.evaluation.sliding_window import slide
from eqbench.losses.base import Loss
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Plugin
from eqbench.tasks.base import Evaluator, Task

__all__ = ["Segmentation"]

Batch = tuple[Tensor, Tensor]
"""Images (n, 3, S, S) and labels (n, S, S), both uint8."""


class Segmentation(Task):
    """One class for each pixel.

    The loss of the run is that of every pixel that has a class. Its sum is divided by all pixels of the crops, those
    without a class too, as is usual. What a loss wants to know of the training set it gets in pixels (`class_counts`)
    and images (`class_frequency`): thresholds that are counts, as `boundaries` of group_softmax, are counts of pixels.

    The model is a module that returns logits (n, K, H, W) for images, K being the loss's columns, and named losses for
    images, labels and a normaliser; it has the loss as `loss`.

    Metrics, in percent: `miou`, the mean over classes of the intersection over union; `macc`, the mean accuracy over
    classes; `pixel_accuracy`; the two means over head, body and tail classes, by pixels of the training set, and over
    the groups that were published for the data set (`published_`). The last checkpoint is judged, at the labels' own
    size.

    `predictions.parquet` has the pixels of each class in each image (`image`, index in the evaluation data; `class_id`;
    `intersection`, `labelled`, `predicted`), `confusion.parquet` those of each pair of classes over all images.

    Args:
        inference: `whole` images at a time, or `slide`: overlapping windows of the size of a training crop, whose
            logits are averaged.
        stride: pixels from one window to the next; null: two thirds of a window.
        pictures: how many images with predictions are drawn after training, those of the rarest classes.

    Raises:
        ValueError: an argument is out of range, or the data set is not one of label masks.
    """

    version = 1
    metrics = METRICS
    protocol = "miou:whole:last"
    data: SegmentationDataset

    def __init__(
        self,
        data: SegmentationDataset,
        model: Plugin,
        loss: Plugin,
        *,
        inference: Literal["whole", "slide"] = "whole",
        stride: int | None = None,
        pictures: int = 8,
    ) -> None:
        if not isinstance(data, SegmentationDataset):
            raise ValueError(f"needs a data set of label masks, which {type(data).__name__} is not")
        if stride is not None and inference != "slide":
            raise ValueError(f"stride {stride}: inference {inference!r} has none; expected null, or inference 'slide'")
        if stride is not None and not 1 <= stride <= data.crop_size:
            raise ValueError(f"stride {stride}: expected 1 to {data.crop_size}, the crop size of the data")
        if pictures < 0:
            raise ValueError(f"pictures {pictures}: expected at least 0")
        super().__init__(data, model, loss)
        self._pictures = pictures
        self._stride = stride or max(1, 2 * data.crop_size // 3)
        self._slides = inference == "slide"
        if self._slides:
            self.protocol = f"miou:slide-{data.crop_size}-{self._stride}:last"

    def build_loss(self) -> Loss:
        from eqbench.tasks import build_loss

        return build_loss(self.loss, self.data, ignore_index=self.data.ignore_index)

    def check_model(self) -> None:
        model_class = plugins.load("model", self.model.name)
        if "build_loss" not in plugins.parameters(model_class) or hasattr(model_class, "pipelines"):
            raise ValueError(f"model {self.model.name!r} is not a network of segmentation")
        if hasattr(model_class, "check"):
            model_class.check(self.model.params)

    def check_loss(self) -> None:
        super().check_loss()
        if reason := unfit(self.build_loss(), self.data.ignore_index):
            raise ValueError(reason)

    def build_model(self) -> nn.Module:
        model: nn.Module = plugins.construct(
            "model",
            self.model.name,
            self.model.params,
            num_classes=self.data.num_classes,
            in_channels=3,
            build_loss=self.build_loss,
        )
        return model

    def step(self, model: nn.Module, batch: Batch, normalizer: float) -> dict[str, Tensor]:
        images, labels = batch
        pixels = labels.shape[1:].numel()
        images = self.data.normalization.apply(images)
        losses: dict[str, Tensor] = model(images, labels.long(), normalizer=normalizer * pixels)
        return losses

    def evaluator(self, folder: RunFolder) -> Evaluator:
        return SegmentationEvaluator(self.data, folder, predict=self._logits, drawn=self._pictures)

    def _logits(self, model: Any, images: Tensor) -> Tensor:
        if self._slides:
            return slide(model, images, self.data.crop_size, self._stride)
        logits: Tensor = model(images)
        return logits


def unfit(loss: Loss, ignore_index: int) -> str:
    """Why a loss cannot be that of pixels; empty if it can."""
    if loss.ignore_index != ignore_index:
        return "does not take ignore_index, which pixels without a class need; its constructor must have that parameter"
    if getattr(loss, "objectness", False):
        return "objectness true: every labelled pixel is of a class; expected false"
    groups = getattr(loss, "boundaries", None)
    if groups is not None and loss.columns == loss.num_classes + 1:
        return (
            f"boundaries {list(groups)}: all classes are in one group; they are counts of training pixels, expected "
            "some between the rarest class's and the most frequent's"
        )
    return ""
