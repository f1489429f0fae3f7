"""Image classification: one label per image, judged by accuracies over many, medium and few-shot classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eqbench import plugins
from eqbench.data.base import Dataset, Draw
from eqbench.data.detection import DetectionDataset
from eqbench.data.samplers import eval_indices
from eqbench.data.segmentation import SegmentationDataset
from eqbench.evaluation import accuracy, classification_pictures, pictures
from eqbench.losses.base import Loss
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Plugin, RunSpec
from eqbench.tasks.base import Evaluation, Evaluator, Task

__all__ = ["Classification"]

Batch = tuple[Tensor, Tensor]
State = tuple[accuracy.Integers, NDArray[np.float16]]
"""(4, n): labels, predictions, whether the label is among the best five, predictions after logit adjustment; and
(2, n): score of the label minus the highest of the other classes, score of the prediction."""


class Classification(Task):
    """One label per image.

    A batch of the data set is `(images (n, channels, H, W) float32, labels (n,) int64)`, of zero samples too:
    that is where the model's number of input channels is taken from. The model is a module that returns
    logits (n, K) for images, K being the loss's columns, and the loss for images, labels and a normaliser; it has the
    loss as `loss`.

    Images of a batch that are uint8 are normalised as the data set says, on the training device.

    Metrics, in percent: `top1`, the share of correct samples; the mean accuracy over the classes of each
    group of the data set; `hmean`, the harmonic mean over all classes; `worst`, the class with the lowest
    accuracy; `top5`, the share of samples whose label has one of the five highest scores, where there are more than
    five classes. `top1_adjusted` is a reference beside them: top1 of the log scores minus the log class priors of the
    training set, post-hoc logit adjustment with tau = 1 (Menon et al., ICLR 2021), made for softmax cross entropy.
    The last checkpoint is judged.

    What was predicted for each image is stored in `predictions.parquet`: `image` (index in the evaluation data),
    `label`, `prediction`, `adjusted` (the prediction after logit adjustment), `top5` and `margin` (score of the label
    minus the highest of the others).

    Args:
        pictures: of how many of the rarest classes images that were taken for another class are drawn.
    """

    version = 1
    metrics = ("top1", "many", "medium", "few", "hmean", "worst", "top5", "top1_adjusted")
    protocol = "accuracy:last"

    def __init__(self, data: Dataset, model: Plugin, loss: Plugin, *, pictures: int = 4) -> None:
        if pictures < 0:
            raise ValueError(f"pictures {pictures}: expected at least 0")
        super().__init__(data, model, loss)
        self._pictures = pictures

    def build_model(self) -> nn.Module:
        images, _ = self.data.train.collate([])
        model: nn.Module = plugins.construct(
            "model",
            self.model.name,
            self.model.params,
            num_classes=self.data.num_classes,
            in_channels=images.shape[1],
            loss=self.build_loss(),
        )
        return model

    def step(self, model: nn.Module, batch: Batch, normalizer: float) -> dict[str, Tensor]:
        images, labels = batch
        return {"loss": model(normalized(images, self.data), labels, normalizer=normalizer)}

    def evaluator(self, folder: RunFolder) -> Evaluator:
        return ClassificationEvaluator(self.data, folder, drawn=self._pictures)

    def check_model(self) -> None:
        if isinstance(self.data, DetectionDataset | SegmentationDataset):
            raise ValueError(f"needs a data set with one label per image, which {type(self.data).__name__} is not")
        if not {"loss", "in_channels"} <= plugins.parameters(plugins.load("model", self.model.name)).keys():
            raise ValueError(f"model {self.model.name!r} is not a classifier of images")

    def check_origin(self, parent: RunSpec | None) -> None:
        model = plugins.load("model", self.model.name)
        if not hasattr(model, "start_from"):
            super().check_origin(parent)
            return
        if parent is not None and parent.model.name != self.model.name:
            raise ValueError(f"model {self.model.name!r}: expected {parent.model.name!r}, that of {parent.name!r}")
        model.check(self.model.params, parent.model.params if parent else None)
        if parent is not None:
            self._check_shapes(parent, with_classifier=self.model.params.get("trained") != "classifier")

    def _check_shapes(self, parent: RunSpec, *, with_classifier: bool) -> None:
        """Raises ValueError where weights of `parent` have another shape than this task's."""
        from eqbench import tasks

        theirs = self.data
        if parent.data_digest != self.data.digest:
            theirs = plugins.construct("dataset", parent.data.name, parent.data.params)
        ours = {"channels": self.data.train.collate([])[0].shape[1]}
        given = {"channels": theirs.train.collate([])[0].shape[1]}
        if with_classifier:
            ours["logits"] = self.build_loss().columns
            given["logits"] = tasks.build_loss(parent.loss, theirs).columns
        for what, number in given.items():
            if number != ours[what]:
                raise ValueError(f"{parent.name!r} has {number} {what}, {self.loss.name} on these data {ours[what]}")

    def check_loss(self) -> None:
        super().check_loss()
        if self.data.mixes and not self.build_loss().soft_labels:
            raise ValueError("takes no soft labels, which mixup and cutmix make; leave them out of the data")


def normalized(images: Tensor, data: Dataset) -> Tensor:
    """Images as a model takes them: uint8 ones as the data set normalises them, others as they are."""
    return images if data.normalization is None else data.normalization.apply(images)


class ClassificationEvaluator(Evaluator):
    """Keeps labels, predictions and what else is asked of each sample's scores.

    Args:
        data: what is predicted on.
        folder: of the run.
        drawn: of how many classes images are drawn into `samples`.
    """

    def __init__(self, data: Dataset, folder: RunFolder, *, drawn: int) -> None:
        self._data = data
        self._folder = folder
        self._drawn = drawn
        self._log_prior = (data.class_counts.clamp(min=1) / data.class_counts.sum()).double().log()
        self._parts: list[State] = [(np.empty((4, 0), np.int64), np.empty((2, 0), np.float16))]

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Batch) -> None:
        images, labels = batch
        logits = model(normalized(images, self._data))
        scores = cast(Loss, model.loss).scores(logits.double())
        adjusted = scores.log() - self._log_prior.to(scores.device)
        known, values = labels.cpu().numpy(), scores.cpu().numpy()
        top5 = accuracy.top_k(known, values, 5)
        found = np.stack([known, values.argmax(1), top5, adjusted.argmax(1).cpu().numpy()])
        judged = np.stack([accuracy.margins(known, values), values.max(1)])
        self._parts.append((found, judged.astype(np.float16)))

    def state(self) -> State:
        found, judged = zip(*self._parts, strict=True)
        return np.concatenate(found, axis=1), np.concatenate(judged, axis=1)

    def compute(self, states: Sequence[State]) -> Evaluation:
        labels, predictions, top5, adjusted = np.concatenate([found for found, _ in states], axis=1)
        data = self._data
        by_class, samples = accuracy.per_class(labels, predictions, data.num_classes)
        metrics = {
            "top1": accuracy.top1(labels, predictions),
            **accuracy.group_means(by_class, data.groups, data.group_names),
            "hmean": accuracy.harmonic_mean(by_class),
            "worst": accuracy.worst(by_class),
            "top5": accuracy.share(top5) if data.num_classes > 5 else math.nan,
            "top1_adjusted": accuracy.top1(labels, adjusted),
        }
        per_class = {
            "class_id": list(range(data.num_classes)),
            "class_name": list(data.class_names),
            "group": list(data.groups),
            "count": data.class_counts.tolist(),
            "num_eval": samples.tolist(),
            "accuracy": by_class.tolist(),
        }
        table, scores = by_image(states, data.num_classes)
        self._draw(table, scores)
        return Evaluation(metrics, per_class, tables={"predictions": table})

    def _draw(self, table: dict[str, NDArray[Any]], scores: NDArray[np.float16]) -> None:
        """Draw images that are wrong, by class; those of an earlier evaluation go."""
        for file in self._folder.samples.glob("rare-*-class-*.png"):
            file.unlink(missing_ok=True)
        names, counts = self._data.class_names, self._data.class_counts.tolist()
        places, digits = classification_pictures.rarity(counts), max(2, len(str(len(counts) - 1)))
        chosen = classification_pictures.choose(table["label"], table["prediction"], counts, self._drawn)
        for class_id, rows in chosen.items():
            samples = [self._data.eval[Draw(int(table["image"][row]), 0)] for row in rows]
            images, _ = self._data.eval.collate(samples)
            if images.ndim != 4:
                return
            shown = zip(classification_pictures.displayed(images, self._data.normalization), rows, strict=True)
            mistakes = [
                classification_pictures.Mistake(
                    image,
                    f"taken for {names[table['prediction'][row]]}",
                    float(scores[row]),
                    float(scores[row] + table["margin"][row]),
                )
                for image, row in shown
            ]
            title = f"{names[class_id]} ({counts[class_id]:,} training samples)"
            page = classification_pictures.draw(title, mistakes)
            name = f"rare-{places[class_id]:0{digits}d}-class-{class_id}.png"
            pictures.save(page, self._folder.samples / name, optimize=False)


def by_image(states: Sequence[State], num_classes: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.float16]]:
    """What was predicted for each image, in the order of the evaluation data, and the score of the prediction."""
    indices = eval_indices([judged.shape[1] for _, judged in states])
    order = np.argsort(indices)
    labels, predictions, top5, adjusted = np.concatenate([found for found, _ in states], axis=1)[:, order]
    margins, scores = np.concatenate([judged for _, judged in states], axis=1)[:, order]
    of_class = np.int16 if num_classes <= np.iinfo(np.int16).max else np.int32
    table = {
        "image": indices[order].astype(np.int32),
        "label": labels.astype(of_class),
        "prediction": predictions.astype(of_class),
        "adjusted": adjusted.astype(of_class),
        "top5": top5.astype(bool),
        "margin": margins,
    }
    return table, scores
