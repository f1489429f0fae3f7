"""The official lvis package (0.5.3) with today's numpy, and on results without a single detection."""

from __future__ import annotations

import importlib
import logging
import math
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from eqbench.evaluation.detection_columns import Columns
from eqbench.evaluation.ground_truth import FEDERATED_FIELDS, GROUPS, GroundTruth

NAMES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_s": "APs",
    "ap_m": "APm",
    "ap_l": "APl",
    "ap_r": "APr",
    "ap_c": "APc",
    "ap_f": "APf",
    "ar": "AR@300",
}


def evaluate(truth: GroundTruth, pieces: Iterator[Columns], iou_type: str, max_dets: int) -> dict[str, Any]:
    """The numbers of `eqbench.evaluation.lvis.evaluate`, as the package computes and summarizes them."""
    from eqbench.evaluation.lvis import class_precision

    lvis = package()
    annotations = _loaded(lvis.LVIS, _content(truth))
    results = [result for piece in pieces for result in _results(piece, iou_type)]
    if results:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # Logger.warn
            detections = lvis.LVISResults(annotations, results, max_dets=max_dets)
    else:  # its constructor looks at the first result
        detections = _loaded(lvis.LVISResults, annotations.dataset | {"annotations": []})
    evaluation = lvis.LVISEval(annotations, detections, iou_type)
    evaluation.run()
    found = {name: float(evaluation.results[key]) for name, key in NAMES.items()}
    for place, group in enumerate(GROUPS):
        found[f"ap50_{group}"] = float(evaluation._summarize("ap", iou_thr=0.5, freq_group_idx=place))
    if truth.groups is None:
        found |= {f"{name}_{group}": -1.0 for name in ("ap", "ap50") for group in GROUPS}
    numbers = {name: value if value > -1 else math.nan for name, value in found.items()}
    return {**numbers, "per_class": class_precision(evaluation.eval["precision"][:, :, :, 0], truth)}


def package() -> types.ModuleType:
    """The package, whose `eval.py` uses `numpy.float`, gone since numpy 1.24, and which configures logging."""
    root = logging.getLogger()
    silent = logging.NullHandler()
    root.addHandler(silent)  # the package's logging.basicConfig then does nothing
    try:
        lvis = importlib.import_module("lvis")
        module: Any = importlib.import_module("lvis.eval")
    finally:
        root.removeHandler(silent)
    if not hasattr(module.np, "float"):
        with_float = types.ModuleType("numpy")
        with_float.__dict__.update(vars(np), float=float)
        module.np = with_float
    for name in ("lvis.lvis", "lvis.results", "lvis.eval"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lvis


def _loaded(kind: Any, content: dict[str, Any]) -> Any:
    """One of the package's data sets, whose constructors read files only."""
    data = kind.__new__(kind)
    data.logger = logging.getLogger("lvis.lvis")
    data.dataset = content
    data._create_index()
    return data


def _content(truth: GroundTruth) -> dict[str, Any]:
    """What the package reads, as a copy that it may change; with the federated fields that say "exhaustive"."""
    groups = truth.groups or ["f"] * len(truth.category_ids)
    frequency = dict(zip(truth.category_ids.tolist(), groups, strict=True))
    fields: dict[str, Any] = {}
    if truth.exhaustive:
        fields = dict(zip(FEDERATED_FIELDS, (truth.category_ids.tolist(), []), strict=True))
    content = truth.content
    return {
        "images": [{**image, **fields} for image in content["images"]],
        "categories": [{**category, "frequency": frequency[category["id"]]} for category in content["categories"]],
        "annotations": [{**each, "id": number, "ignore": 0} for number, each in enumerate(content["annotations"], 1)],
    }


def _results(piece: Columns, iou_type: str) -> Iterator[dict[str, Any]]:
    """Results in the package's format. Those of masks have no boxes: it would take a box's area for the mask's."""
    everything = np.arange(len(piece.scores))
    judged = piece.masks(everything) if iou_type == "segm" else piece.boxes.tolist()
    key = "segmentation" if iou_type == "segm" else "bbox"
    columns = (piece.image_ids.tolist(), piece.category_ids.tolist(), piece.scores.tolist())
    for image_id, category_id, score, what in zip(*columns, judged, strict=True):
        yield {"image_id": image_id, "category_id": category_id, "score": score, key: what}
