"""Evaluation of a segmentation network: one class per pixel at the labels' own size, counted in a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from eqbench.data.samplers import eval_indices
from eqbench.data.segmentation import SegmentationDataset
from eqbench.evaluation import pictures, segmentation, segmentation_pictures
from eqbench.evaluation.segmentation_pictures import Segmented
from eqbench.losses.base import Loss
from eqbench.run_folder import RunFolder
from eqbench.tasks.base import Evaluation, Evaluator

Batch = tuple[list[Tensor], list[Tensor]]
"""Images (3, h, w) uint8, and labels (H, W) uint8, each of its own size."""
Found = dict[int, Segmented]
"""A picture by the rarest class that it shows."""
Pixels = dict[str, NDArray[np.int64]]
"""Columns of equal length: an image's place in this rank's share, a class that it is labelled with or that is predicted
in it, and how many of its pixels are both, labelled and predicted so."""
State = tuple[NDArray[np.int64], Found, int, Pixels]
"""Confusion matrix, pictures, number of images, and what was found in each."""
Predict = Callable[[nn.Module, Tensor], Tensor]
"""Model and normalised images (n, 3, h, w) to logits (n, K, h, w)."""
COLUMNS = ("image", "class_id", "intersection", "labelled", "predicted")
LOGITS_AT_ONCE = 2**26
"""Of a large image this many are made to scores at a time."""


class SegmentationEvaluator(Evaluator):
    """Counts pixels by labelled and predicted class, and keeps pictures of the rarest classes.

    Args:
        data: what is predicted on.
        folder: of the run; pictures go into its `samples`.
        predict: how the model is asked for logits.
        drawn: how many images are drawn.
    """

    def __init__(self, data: SegmentationDataset, folder: RunFolder, *, predict: Predict, drawn: int) -> None:
        self._data = data
        self._folder = folder
        self._predict = predict
        self._drawn = drawn
        self._rarity = np.argsort(np.argsort(data.class_counts.numpy(), kind="stable"), kind="stable")
        self._confusion = torch.zeros(data.num_classes, data.num_classes, dtype=torch.int64)
        self._found: Found = {}
        self._images = 0
        self._pixels: list[Pixels] = []

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Batch) -> None:
        images, labels = batch
        loss = cast(Loss, model.loss)
        for places in by_size(images):
            normalised = self._data.normalization.apply(torch.stack([images[place] for place in places]))
            for place, logits in zip(places, self._predict(model, normalised), strict=True):
                predictions = predicted_classes(loss, logits, labels[place].shape)
                self._count(self._images + place, images[place], labels[place], predictions)
        self._images += len(images)

    def state(self) -> State:
        nothing: Pixels = dict.fromkeys(COLUMNS, np.empty(0, np.int64))
        pixels = {name: np.concatenate([part[name] for part in [nothing, *self._pixels]]) for name in COLUMNS}
        return self._confusion.cpu().numpy(), self._found, self._images, pixels

    def compute(self, states: Sequence[State]) -> Evaluation:
        data = self._data
        confusion = np.sum([counted for counted, *_ in states], axis=0)
        self._draw([found for _, found, *_ in states])
        per_class = {
            "class_id": list(range(data.num_classes)),
            "class_name": list(data.class_names),
            "group": list(data.groups),
            "count": data.class_counts.tolist(),
            "images": data.image_counts.tolist(),
            "num_eval": confusion.sum(axis=1).tolist(),
            "iou": segmentation.iou(confusion).tolist(),
            "accuracy": segmentation.accuracy(confusion).tolist(),
        }
        if data.published_groups is not None:
            per_class["published_group"] = list(data.published_groups)
        return Evaluation(
            segmentation.metrics(confusion, data.groups, data.published_groups),
            per_class,
            tables={"predictions": by_image(states), "confusion": pairs(confusion)},
        )

    def _count(self, place: int, image: Tensor, labels: Tensor, predictions: Tensor) -> None:
        data = self._data
        counted = segmentation.confusion_matrix(labels, predictions, data.num_classes, data.ignore_index)
        self._confusion = self._confusion.to(counted.device) + counted
        pixels = torch.stack([counted.diagonal(), counted.sum(dim=1), counted.sum(dim=0)]).cpu().numpy()
        present = np.flatnonzero(pixels.any(axis=0))
        columns = (np.full(len(present), place), present, *pixels[:, present])
        self._pixels.append(dict(zip(COLUMNS, columns, strict=True)))
        shown = np.flatnonzero(pixels[1]).tolist()
        if self._drawn and shown:
            self._keep(min(shown, key=lambda each: self._rarity[each]), image, labels, predictions)

    def _keep(self, rarest: int, image: Tensor, labels: Tensor, predictions: Tensor) -> None:
        kept = self._rarest(rarest, *self._found)
        if rarest in self._found or rarest not in kept:
            return
        arrays = (each.to(torch.uint8).cpu().numpy() for each in (image.permute(1, 2, 0), labels, predictions))
        self._found[rarest] = segmentation_pictures.shrunk(*arrays)
        self._found = {each: self._found[each] for each in kept}

    def _rarest(self, *classes: int) -> list[int]:
        return sorted(set(classes), key=lambda each: self._rarity[each])[: self._drawn]

    def _draw(self, founds: Sequence[Found]) -> None:
        together: Found = {}
        for found in reversed(founds):
            together |= found
        for place, rare in enumerate(self._rarest(*together)):
            page = segmentation_pictures.draw(together[rare], rare, self._data.class_names)
            pictures.save(page, self._folder.samples / f"rare-{place:02d}-class-{rare}.png")


def by_image(states: Sequence[State]) -> Pixels:
    """What was found in each image, in the order of the evaluation data."""
    shares = [number for _, _, number, _ in states]
    indices = np.split(eval_indices(shares), np.cumsum(shares)[:-1])
    image = np.concatenate([own[pixels["image"]] for own, (*_, pixels) in zip(indices, states, strict=True)])
    table = {name: np.concatenate([pixels[name] for *_, pixels in states]) for name in COLUMNS} | {"image": image}
    order = np.lexsort((table["class_id"], image))
    return {name: column[order] for name, column in table.items()}


def pairs(confusion: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """The confusion matrix (C, C) without its zeros."""
    label, prediction = np.nonzero(confusion)
    return {"label": label, "prediction": prediction, "pixels": confusion[label, prediction]}


def predicted_classes(loss: Loss, logits: Tensor, size: Sequence[int]) -> Tensor:
    """(H, W) int64: the class of the highest score at each pixel, from one image's logits (K, h, w), bilinear."""
    height, width = size
    if logits.shape[1:] != (height, width):
        logits = interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    rows = max(1, LOGITS_AT_ONCE // (logits.shape[0] * width))
    return torch.cat([loss.scores(part[None])[0].argmax(dim=0) for part in torch.split(logits, rows, dim=1)])


def by_size(images: Sequence[Tensor]) -> Iterator[list[int]]:
    """Places of the images that have one size, size by size."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(tuple(image.shape), []).append(place)
    yield from places.values()
