"""Evaluation of a detector: predictions go to disk as they come, the numbers are computed in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eqbench import distributed
from eqbench.data.detection import DetectionDataset
from eqbench.evaluation import pictures
from eqbench.evaluation.lvis import EvaluatorName
from eqbench.evaluation.predictions import Prediction, ShardWriter, predictions_of
from eqbench.run_folder import RunFolder
from eqbench.tasks.base import Evaluation, Evaluator

MAX_DETECTIONS = 300
BOX_METRICS = ("ap", "ap50", "ap75", "ap_f", "ap_c", "ap_r", "ap50_f", "ap_s", "ap_m", "ap_l", "ar")
MASK_METRICS = ("ap", "ap50", "ap75", "ap_f", "ap_c", "ap_r")


State = tuple[str, int]
"""A rank's shard, and how many detections it left out."""


class DetectionEvaluator(Evaluator):
    """Writes predictions to `evaluation/predictions-<rank>.arrow` of the run's folder and judges those of all ranks.

    Args:
        data: what is predicted on.
        folder: of the run.
        evaluator: `hotcoco`, or `lvis` for the official package.
        masks: the model predicts masks, which are judged too.
        drawn: how many images are drawn into `samples`.
    """

    def __init__(
        self, data: DetectionDataset, folder: RunFolder, *, evaluator: EvaluatorName, masks: bool, drawn: int
    ) -> None:
        self._data = data
        self._folder = folder
        self._evaluator = evaluator
        self._masks = masks
        self._drawn = drawn
        self._category_ids = np.asarray(data.category_ids, np.int64)
        self._writer: ShardWriter | None = None
        self._left_out = 0

    @torch.no_grad()
    def update(self, model: nn.Module, batch: Any) -> None:
        for sample, found in zip(batch, model.predict(batch), strict=True):  # type: ignore[operator]
            # Not every head of mmdet sorts its detections, or limits their number.
            finite = np.flatnonzero(np.isfinite(found["boxes"]).all(axis=1) & np.isfinite(found["scores"]))
            self._left_out += len(found["scores"]) - len(finite)
            best = finite[np.argsort(-found["scores"][finite], kind="stable")[:MAX_DETECTIONS]]
            masks = None if found["masks"] is None else [found["masks"][index] for index in best]
            category_ids = self._category_ids[found["labels"][best]]
            image_id = int(sample["data_samples"].img_id)
            self._shard().add(image_id, found["boxes"][best], found["scores"][best], category_ids, masks)

    def state(self) -> State:
        return str(self._shard().close()), self._left_out

    def compute(self, states: Sequence[State]) -> Evaluation:
        from eqbench.evaluation.apart import evaluate_apart

        shards = [Path(path) for path, _ in states]
        for file in self._folder.evaluation.glob("predictions-*"):
            if file not in shards:
                file.unlink(missing_ok=True)  # of an attempt with more workers
        results = evaluate_apart(
            self._data.eval_annotations,
            shards,
            ("bbox", "segm") if self._masks else ("bbox",),
            max_dets=MAX_DETECTIONS,
            evaluator=self._evaluator,
            exhaustive=self._data.exhaustive,
            groups=dict(zip(self._data.category_ids, self._data.groups, strict=True)),
        )
        self._draw(shards)
        left_out = sum(number for _, number in states)
        warning = f"{left_out} detections have boxes or scores that are not finite; they were left out"
        return Evaluation(metrics(results), per_class(results, self._data), [warning] if left_out else [])

    def _shard(self) -> ShardWriter:
        if self._writer is None:
            self._writer = ShardWriter(
                self._folder.evaluation / f"predictions-{distributed.rank():05d}.arrow", self._masks
            )
        return self._writer

    def _draw(self, shards: Sequence[Path]) -> None:
        images = self._data.eval
        chosen = pictures.choose(images, self._data.class_counts.tolist(), self._drawn)
        records = [images.record(index) for index in chosen]
        found = predictions_of(shards, [record["img_id"] for record in records])
        for place, record in enumerate(records):
            shown = [] if record["img_id"] not in found else self._as_shown(found[record["img_id"]])
            page = pictures.draw(record, shown, self._data.class_names)
            pictures.save(page, self._folder.samples / f"rare-{place:02d}-image-{record['img_id']}.png")

    def _as_shown(self, prediction: Prediction) -> list[dict[str, Any]]:
        from pycocotools import mask as coco_mask

        order = np.argsort(-prediction.scores, kind="stable")[: pictures.SHOWN]
        class_of = {category: index for index, category in enumerate(self._data.category_ids)}
        shown: list[dict[str, Any]] = [
            {
                "class_id": class_of[int(prediction.category_ids[index])],
                "score": float(prediction.scores[index]),
                "box": prediction.boxes[index],
            }
            for index in order
        ]
        if prediction.masks is not None:
            for entry, index in zip(shown, order, strict=True):
                entry["mask"] = coco_mask.decode(prediction.masks[index]).astype(bool)
        return shown


def metrics(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Percent, boxes first; of masks with the prefix `mask_`, NaN where none are predicted."""
    boxes, masks = results["bbox"], results.get("segm", {})
    return {
        **{name: 100 * boxes[name] for name in BOX_METRICS},
        **{f"mask_{name}": 100 * masks.get(name, float("nan")) for name in MASK_METRICS},
    }


def per_class(results: Mapping[str, Mapping[str, Any]], data: DetectionDataset) -> dict[str, list[Any]]:
    """Table of all classes: instances and images to learn from, and average precision in percent."""
    table: dict[str, list[Any]] = {
        "class_id": list(range(data.num_classes)),
        "class_name": list(data.class_names),
        "group": list(data.groups),
        "count": data.class_counts.tolist(),
        "images": data.image_counts.tolist(),
    }
    for kind, column in (("bbox", "ap"), ("segm", "mask_ap")):
        if kind in results:
            by_id = results[kind]["per_class"]
            table[column] = [100 * float(by_id.get(category, float("nan"))) for category in data.category_ids]
    return table
