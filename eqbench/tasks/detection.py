"""Object detection and instance segmentation: boxes and masks in images, judged by LVIS's average precision."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import Tensor, nn

from eqbench import plugins
from eqbench.data.detection import DetectionDataset
from eqbench.data.transformed_images import TransformedImages
from eqbench.evaluation.detections import BOX_METRICS, MASK_METRICS, DetectionEvaluator
from eqbench.evaluation.ground_truth import GroundTruth
from eqbench.evaluation.lvis import EvaluatorName
from eqbench.losses.base import Loss
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Plugin
from eqbench.tasks.base import Evaluator, Task

__all__ = ["Detection"]

Batch = list[dict[str, Any]]


class Detection(Task):
    """Boxes, and masks where the model predicts them, with a detector of mmdet.

    The loss of the run is the classification loss of every head; losses of boxes, masks and proposals are the
    model's own. mmdet divides losses by what a worker's share of a batch holds (sampled regions, matched anchors), so
    results of runs with different numbers of workers differ a little.

    Metrics, in percent: average precision over IoU 0.50:0.95 of boxes (`ap`) and masks (`mask_ap`), at IoU 0.5 and
    0.75, over frequent, common and rare categories, small, medium and large objects; `ar`, average recall. LVIS's
    protocol with 300 detections per image over all categories. The last checkpoint is judged.

    Args:
        evaluator: `hotcoco`, or `lvis` for the official package: the same numbers, slower.
        plain_from: from this share of the budget on, images are not mixed (Mosaic, MixUp) or warped any more; YOLOX
            does without in its last 15 of 300 epochs, 0.95.
        pictures: how many images with predictions are drawn after training, those of the rarest classes.
    """

    version = 1
    metrics = (*BOX_METRICS, *(f"mask_{name}" for name in MASK_METRICS))
    protocol = "lvis_ap:maxdets300:last"
    data: DetectionDataset

    def __init__(
        self,
        data: DetectionDataset,
        model: Plugin,
        loss: Plugin,
        *,
        evaluator: EvaluatorName = "hotcoco",
        plain_from: float = 1.0,
        pictures: int = 8,
    ) -> None:
        if not isinstance(data, DetectionDataset):
            raise ValueError(f"needs a data set of boxes, which {type(data).__name__} is not")
        if not 0 <= plain_from <= 1:
            raise ValueError(f"plain_from: {plain_from}, expected 0 to 1")
        if pictures < 0:
            raise ValueError(f"pictures: {pictures}, expected at least 0")
        super().__init__(data, model, loss)
        self._evaluator = evaluator
        self._plain_from = plain_from
        self._pictures = pictures

    @cached_property
    def train_data(self) -> TransformedImages:
        return TransformedImages(self.data.train, self._pipelines[0], plain_from=self._plain_from)

    @cached_property
    def eval_data(self) -> TransformedImages:
        return TransformedImages(self.data.eval, self._pipelines[1])

    def build_loss(self) -> Loss:
        from eqbench.tasks import build_loss

        return build_loss(self.loss, self.data, background=True)

    def check_data(self) -> None:
        groups = dict(zip(self.data.category_ids, self.data.groups, strict=True))
        truth = GroundTruth(self.data.eval_annotations, self.data.exhaustive, groups)
        truth.check(self._model_class.predicts_masks(self.model.params))
        if truth.crowd and self._evaluator == "lvis":
            raise ValueError(f"{truth.name} has crowd regions, which the official lvis package does not know")

    def check_model(self) -> None:
        self._model_class.check(self.model.params, num_classes=self.data.num_classes, masks=self.data.masks)

    def check_loss(self) -> None:
        self._model_class.check_loss(self.model.params, self.build_loss())

    def build_model(self) -> nn.Module:
        model: nn.Module = plugins.construct(
            "model",
            self.model.name,
            self.model.params,
            num_classes=self.data.num_classes,
            build_loss=self.build_loss,
        )
        return model

    def step(self, model: nn.Module, batch: Batch, normalizer: float) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = model(batch, share=len(batch) / normalizer)
        return losses

    def evaluator(self, folder: RunFolder) -> Evaluator:
        return DetectionEvaluator(
            self.data,
            folder,
            evaluator=self._evaluator,
            masks=self._model_class.predicts_masks(self.model.params),
            drawn=self._pictures,
        )

    @property
    def _model_class(self) -> Any:
        found = plugins.load("model", self.model.name)
        if not hasattr(found, "pipelines"):
            raise ValueError(f"model {self.model.name!r} is not a detector")
        return found

    @cached_property
    def _pipelines(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        pipelines: tuple[list[dict[str, Any]], list[dict[str, Any]]] = self._model_class.pipelines(self.model.params)
        return pipelines
