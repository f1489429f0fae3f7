"""Detections in columns, from shards, from a results file in COCO format, or from such results in memory.

Legend: N detections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from eqbench.errors import EqbenchError, InputError
from eqbench.evaluation.failure import EvaluationFailed
from eqbench.evaluation.predictions import Rows, read_shards
from eqbench.validation import show

Results: TypeAlias = Path | Sequence[Path] | Sequence[Mapping[str, Any]]
"""A shard, shards, a file `*.json` with a list of results in COCO format, or such a list."""


@dataclass(frozen=True)
class Columns:
    """Detections of whole images.

    Attributes:
        image_ids, category_ids: (N,) int64.
        boxes: (N, 4) float64, x, y, width, height.
        scores: (N,) float64.
        rows: where the masks are, if they are in a shard.
        encodings: N run-length encodings, if they are in memory.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    rows: Rows | None = None
    encodings: Sequence[Mapping[str, Any]] | None = None

    def masks(self, chosen: NDArray[np.int64]) -> list[Any]:
        """Run-length encodings of the detections at these positions."""
        if self.rows is not None:
            return self.rows.masks(chosen)
        encodings = self.encodings or ()
        return [encodings[index] for index in chosen.tolist()]

    def best(self, per_image: int) -> NDArray[np.int64]:
        """Positions of the `per_image` highest scores of each image, ordered by image, then by falling score.

        Of equal scores, the one that was given first comes first, as in `lvis.LVISResults`.
        """
        order: NDArray[np.int64] = np.lexsort((-self.scores, self.image_ids))
        ids = self.image_ids[order]
        first = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
        rank = np.arange(len(ids)) - np.repeat(first, np.diff(first, append=len(ids)))
        chosen: NDArray[np.int64] = order[rank < per_image]
        return chosen


def read(
    results: Results, masks: bool, image_ids: NDArray[np.int64], category_ids: NDArray[np.int64]
) -> Iterator[Columns]:
    """The detections, some images at a time, each image complete in one piece.

    Args:
        masks: these are judged, not the boxes.
        image_ids, category_ids: those that exist, in ascending order.

    Raises:
        InputError: results in COCO format are not as expected.
        EvaluationFailed: a shard is not, or an image is in none.
    """
    error: type[EqbenchError] = InputError
    if isinstance(results, Path) and results.suffix == ".json":
        pieces = iter([_from_json(results, masks)])
    elif isinstance(results, Path) or (results and isinstance(results[0], Path)):
        paths = [results] if isinstance(results, Path) else [Path(str(path)) for path in results]
        pieces, error = _from_shards(paths, masks, image_ids), EvaluationFailed
    else:
        pieces = iter([_from_list("results", cast(Sequence[Mapping[str, Any]], results), masks)])
    for piece in pieces:
        _check(piece, image_ids, category_ids, error)
        yield piece


def _from_shards(paths: Sequence[Path], masks: bool, image_ids: NDArray[np.int64]) -> Iterator[Columns]:
    predicted: list[int] = []
    for rows in read_shards(paths):
        predicted += rows.image_ids.tolist()
        if masks and rows.counts is None:
            raise EvaluationFailed("the predictions were written without masks, which iou_type 'segm' needs")
        boxes = rows.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        of_image = rows.image_ids[rows.images()]
        yield Columns(of_image, rows.category_ids, boxes, rows.scores.astype(np.float64), rows=rows)
    missing = np.setdiff1d(image_ids, predicted)
    if missing.size:
        raise EvaluationFailed(
            f"{missing.size} of {len(image_ids)} images were not predicted, e.g. {missing[0]}; is a shard missing? "
            f"Given: {', '.join(map(str, paths)) or 'none'}"
        )


def _from_json(path: Path, masks: bool) -> Columns:
    try:
        results = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(results, list):
        raise InputError(f"{path}: holds a {type(results).__name__}, expected a list of results in COCO format")
    return _from_list(str(path), results, masks)


def _from_list(where: str, results: Sequence[Mapping[str, Any]], masks: bool) -> Columns:
    needed = ("image_id", "category_id", "score", "segmentation" if masks else "bbox")
    for number, result in enumerate(results):
        for key in needed:
            if key not in result:
                raise InputError(f"{where}: result {number} has no {key!r}, expected {', '.join(needed)}")
        if masks and not (isinstance(result["segmentation"], Mapping) and "counts" in result["segmentation"]):
            given = show(result["segmentation"])
            raise InputError(f"{where}: result {number}: segmentation {given}, expected a run-length encoding")
    boxes = [[0.0] * 4 if masks else result["bbox"] for result in results]
    try:
        return Columns(
            np.array([result["image_id"] for result in results], np.int64),
            np.array([result["category_id"] for result in results], np.int64),
            np.array(boxes, np.float64).reshape(len(results), 4),
            np.array([result["score"] for result in results], np.float64),
            encodings=[result["segmentation"] for result in results] if masks else None,
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: expected whole ids, a number as score and four as bbox in every result: {error}"
        ) from error


def _check(
    piece: Columns, image_ids: NDArray[np.int64], category_ids: NDArray[np.int64], error: type[EqbenchError]
) -> None:
    for key, given, known in (
        ("image_id", piece.image_ids, image_ids),
        ("category_id", piece.category_ids, category_ids),
    ):
        unknown = given[~np.isin(given, known)]
        if unknown.size:
            raise error(f"a prediction has {key} {unknown[0]}, which the annotation file does not have")
    for key, numbers in (("score", piece.scores), ("box", piece.boxes.sum(axis=1))):
        broken = np.flatnonzero(~np.isfinite(numbers))
        if broken.size:
            raise error(f"image {piece.image_ids[broken[0]]}: the {key} of a prediction is not finite")
