"""Average precision as LVIS defines it, for boxes and masks, by hotcoco or by the official lvis package.

The protocol (Gupta, Dollar, Girshick: LVIS, CVPR 2019, arXiv:1908.03195; the `lvis` package's eval.py and
results.py), for each image and category:

- Of each image the 300 detections with the highest scores count, over all categories; of equal scores the first.
- Federated annotations: a detection counts in an image only if its category is annotated there or verified absent
  (`neg_category_ids`). Where a category is not annotated exhaustively (`not_exhaustive_category_ids`), a detection
  without a match is left out instead of being a false positive.
- Detections, best first, take the unmatched annotation with the largest overlap, if its IoU reaches the threshold:
  0.50, 0.55 ... 0.95. Of masks, IoU is that of the masks, and a detection's area is its mask's.
- Precision, made non-increasing from the right, is read at the recalls 0, 0.01 ... 1 and averaged; AP is the mean over
  thresholds and over the categories with annotations. AR is the recall reached, averaged over the same.
- Small, medium and large: annotation areas up to 32^2, to 96^2 and above; detections without a match and of another
  size are left out. Rare, common and frequent: the categories' `frequency`.
- Annotations and detections without an area do not count.

Files in COCO format have no federated fields. `exhaustive=True` evaluates them: every category that is not annotated
in an image counts as absent from it, and everything else stays as above, the limit of 300 over all categories too.
Their crowd regions (`iscrowd`) are as in COCO's own evaluation: they need not be found, and any number of detections
that overlap one, by intersection over the detection's area, are left out. The official package knows no such regions.

Differences of hotcoco from the official package, met here so that both give the same numbers: it counts annotations
and detections of area zero, which the package drops when it reads them; both are dropped before it sees them. It does
not know the flag `ignore` of annotations, which the package honours and LVIS's files do not have: such files are
refused, and in COCO format the flag means nothing, as in COCO's own evaluation. In the package a match with an
annotation of id 0 counts as none: ids are renumbered before it sees them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eqbench.errors import InputError
from eqbench.evaluation.detection_columns import Columns, Results, read
from eqbench.evaluation.ground_truth import GROUPS, IMAGES_AT_ONCE, GroundTruth

IouType: TypeAlias = Literal["bbox", "segm"]
EvaluatorName: TypeAlias = Literal["hotcoco", "lvis"]
MAX_DETECTIONS = 300
AREAS = ("all", "small", "medium", "large")


def evaluate(
    annotations: Path | Mapping[str, Any],
    results: Results,
    iou_type: IouType = "bbox",
    max_dets: int = MAX_DETECTIONS,
    *,
    evaluator: EvaluatorName = "hotcoco",
    exhaustive: bool = False,
    groups: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Judge detections with the annotations of a file.

    Args:
        annotations: json file in LVIS format, or in COCO format with `exhaustive`; or its content.
        results: shards of `predictions.ShardWriter`, or results in COCO format: a json file or a list. Of results
            with boxes and masks, iou_type says which are judged.
        max_dets: detections that count of each image.
        evaluator: `"hotcoco"`, or the official package, `"lvis"`, which takes minutes to hours for the same numbers.
        exhaustive: every category that is not annotated in an image is absent from it.
        groups: `r`, `c` or `f` by category id, in place of the `frequency` of the file's categories.

    Returns:
        `ap`, `ap50`, `ap75`, `ap_s`, `ap_m`, `ap_l`, `ap_r`, `ap_c`, `ap_f`, `ap50_r`, `ap50_c`, `ap50_f`, `ar` as
        fractions, NaN for what does not exist; and `per_class`, AP by category id in ascending order, NaN for a
        category without annotations.

    Raises:
        InputError: the annotations or results in COCO format are not as expected.
        EvaluationFailed: a shard is not, or some images of the file are in none of the shards.
    """
    if iou_type not in ("bbox", "segm") or evaluator not in ("hotcoco", "lvis") or max_dets < 1:
        raise ValueError(
            f"iou_type {iou_type!r}, evaluator {evaluator!r}, max_dets {max_dets}; "
            "expected bbox or segm, hotcoco or lvis, at least 1"
        )
    truth = GroundTruth(annotations, exhaustive, groups)
    pieces = read(results, iou_type == "segm", truth.image_ids, truth.category_ids)
    if evaluator == "lvis":
        from eqbench.evaluation import lvis_official

        if truth.crowd:
            raise InputError(
                f"{truth.name}: annotation {truth.crowd[0]} is a crowd region, which the official lvis package does "
                "not know; evaluate with hotcoco"
            )
        return lvis_official.evaluate(truth, pieces, iou_type, max_dets)
    evaluation = _matched(truth, pieces, iou_type, max_dets)
    return summarize(evaluation["precision"][..., -1], evaluation["recall"][..., -1], truth)


def summarize(precision: NDArray[np.float64], recall: NDArray[np.float64], truth: GroundTruth) -> dict[str, Any]:
    """The numbers from precision and recall.

    Args:
        precision: (10, 101, C, 4) at each IoU threshold, recall, category, area; -1 where there is none.
        recall: (10, C, 4).
    """
    by_class = precision[:, :, :, 0]
    numbers = {"ap": mean(by_class), "ap50": mean(by_class[0]), "ap75": mean(by_class[5])}
    numbers |= {f"ap_{AREAS[area][0]}": mean(precision[:, :, :, area]) for area in (1, 2, 3)}
    groups = np.array(truth.groups if truth.groups is not None else [""] * by_class.shape[2])
    numbers |= {f"ap_{group}": mean(by_class[:, :, groups == group]) for group in GROUPS}
    numbers |= {f"ap50_{group}": mean(by_class[0][:, groups == group]) for group in GROUPS}
    return {**numbers, "ar": mean(recall[:, :, 0]), "per_class": class_precision(by_class, truth)}


def class_precision(by_class: NDArray[np.float64], truth: GroundTruth) -> dict[int, float]:
    """Means of precisions (thresholds, recalls, C) by category id; NaN for a category that has none."""
    return {key: mean(by_class[:, :, place]) for place, key in enumerate(truth.category_ids.tolist())}


def mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that exist, which are not -1."""
    existing = values[values > -1]
    return float(existing.mean()) if existing.size else math.nan


def _matched(truth: GroundTruth, pieces: Iterator[Columns], iou_type: IouType, max_dets: int) -> dict[str, Any]:
    """Precision and recall of hotcoco, which gets the images a few at a time and keeps only how they matched."""
    import hotcoco

    parameters = hotcoco.Params(iou_type)
    parameters.max_dets = [max_dets]
    categories = [truth.categories[key] for key in truth.category_ids.tolist()]
    streaming = hotcoco.StreamingEval(categories, iou_type, not truth.exhaustive, parameters)
    feed(streaming, truth, pieces, iou_type, max_dets)
    evaluation = streaming.finalize()
    evaluation.accumulate()
    return dict(evaluation.eval or {})


def feed(streaming: Any, truth: GroundTruth, pieces: Iterator[Columns], iou_type: IouType, max_dets: int) -> None:
    """Call `streaming.update` with all images, some at a time, those without detections last."""
    ahead = set(truth.image_ids.tolist())
    for piece in pieces:
        best = piece.best(max_dets)
        for image_ids, positions in _batches(piece, best):
            ahead.difference_update(image_ids)
            _feed(streaming, truth, iou_type, image_ids, piece, positions)
    rest = sorted(ahead)
    for first in range(0, len(rest), IMAGES_AT_ONCE):
        _feed(streaming, truth, iou_type, rest[first : first + IMAGES_AT_ONCE], None, np.empty(0, np.int64))


def _batches(piece: Columns, best: NDArray[np.int64]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Images, and the positions of their detections, which `best` orders by image."""
    ids, first = np.unique(piece.image_ids[best], return_index=True)
    bounds = np.append(first, len(best))
    for start in range(0, len(ids), IMAGES_AT_ONCE):
        stop = min(start + IMAGES_AT_ONCE, len(ids))
        yield ids[start:stop].tolist(), best[bounds[start] : bounds[stop]]


def _feed(
    streaming: Any,
    truth: GroundTruth,
    iou_type: IouType,
    image_ids: list[int],
    piece: Columns | None,
    positions: NDArray[np.int64],
) -> None:
    images = [truth.images[image_id] for image_id in image_ids]
    annotations = truth.annotations(image_ids, masks=iou_type == "segm")
    if piece is not None and not truth.exhaustive:
        positions = positions[_judged(images, annotations, piece, positions)]
    if piece is None:
        streaming.update(images, annotations, [])
    elif iou_type == "segm":
        streaming.update(images, annotations, _with_masks(piece, positions))
    else:
        streaming.update(images, annotations, _with_boxes(piece, positions))


def _judged(
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    piece: Columns,
    positions: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which detections are of a category that is annotated in their image or verified absent from it.

    hotcoco would leave out the others too; most detections are such, and their masks need not be read.
    """
    pairs = {(image["id"], key) for image in images for key in image.get("neg_category_ids", ())}
    pairs |= {(annotation["image_id"], annotation["category_id"]) for annotation in annotations}
    given = zip(piece.image_ids[positions].tolist(), piece.category_ids[positions].tolist(), strict=True)
    return np.fromiter((pair in pairs for pair in given), np.bool_, len(positions))


def _with_boxes(piece: Columns, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    boxes = piece.boxes[positions]
    columns = (piece.image_ids[positions], boxes, piece.scores[positions], piece.category_ids[positions])
    table: NDArray[np.float64] = np.column_stack(columns)
    return table[boxes[:, 2] * boxes[:, 3] > 0]


def _with_masks(piece: Columns, positions: NDArray[np.int64]) -> list[dict[str, Any]]:
    from hotcoco import mask

    encodings = piece.masks(positions)
    areas = mask.area(encodings) if encodings else ()
    columns = (piece.image_ids[positions], piece.category_ids[positions], piece.scores[positions])
    return [
        {"image_id": image_id, "category_id": category_id, "score": score, "segmentation": encoding}
        for image_id, category_id, score, encoding, area in zip(
            *(column.tolist() for column in columns), encodings, areas, strict=True
        )
        if area > 0
    ]
