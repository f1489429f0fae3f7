"""Image classification: one label per image, judged by accuracies over many, medium and few-shot classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from eqbench import plugins
from eqbench.data.base import Dataset
from eqbench.evaluation import accuracy
from eqbench.losses.base import Loss
from eqbench.run_folder import RunFolder
from eqbench.tasks.base import Evaluation, Evaluator, Task

__all__ = ["Classification"]

Batch = tuple[Tensor, Tensor]
State = accuracy.Integers
"""(2, n): labels and predictions."""


class Classification(Task):
    """One label per image.

    A batch of the data set is `(images (n, channels, H, W) float32, labels (n,) int64)`, of zero samples too:
    that is where the model's number of input channels is taken from. The model is a module that returns
    logits (n, K) for images, K being the loss's columns, and the loss for images, labels and a normaliser; it has the
    loss as `loss`.

    Metrics, in percent: `top1`, the share of correct samples; the mean accuracy over the classes of each
    group of the data set; `hmean`, the harmonic mean over all classes; `worst`, the class with the lowest
    accuracy. The last checkpoint is judged.
    """

    version = 1
    metrics = ("top1", "many", "medium", "few", "hmean", "worst")
    protocol = "accuracy:last"

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
        return {"loss": model(images, labels, normalizer=normalizer)}

    def evaluator(self, folder: RunFolder) -> Evaluator:
        return ClassificationEvaluator(self.data)


class ClassificationEvaluator(Evaluator):
    """Keeps labels and predictions."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._parts: list[State] = [np.empty((2, 0), np.int64)]

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Batch) -> None:
        images, labels = batch
        scores = cast(Loss, model.loss).scores(model(images))
        self._parts.append(torch.stack([labels, scores.argmax(dim=1)]).cpu().numpy())

    def state(self) -> State:
        return np.concatenate(self._parts, axis=1)

    def compute(self, states: Sequence[State]) -> Evaluation:
        labels, predictions = np.concatenate(states, axis=1)
        data = self._data
        by_class, samples = accuracy.per_class(labels, predictions, data.num_classes)
        metrics = {
            "top1": accuracy.top1(labels, predictions),
            **accuracy.group_means(by_class, data.groups, data.group_names),
            "hmean": accuracy.harmonic_mean(by_class),
            "worst": accuracy.worst(by_class),
        }
        per_class = {
            "class_id": list(range(data.num_classes)),
            "class_name": list(data.class_names),
            "group": list(data.groups),
            "count": data.class_counts.tolist(),
            "num_eval": samples.tolist(),
            "accuracy": by_class.tolist(),
        }
        return Evaluation(metrics, per_class)
