"""How detections match annotations, image by image, as hotcoco matches them for LVIS's or COCO's average precision.

Legend: I images, C classes, N detections, T thresholds of IoU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.evaluation.detection_columns import Results, read
from eqbench.evaluation.ground_truth import GroundTruth
from eqbench.evaluation.lvis import MAX_DETECTIONS, IouType, feed

Ids = NDArray[np.int64]
THRESHOLDS = 10


@dataclass(frozen=True)
class Matches:
    """What average precision is made of; only detections that can count are in it.

    Attributes:
        num_images: I, numbered by ascending id.
        image, class_id: (N,) of each detection, by class, in each from the highest score to the lowest; of equal scores
            in the order of the images.
        right: (T, N) whether it matches an annotation.
        ignored: (T, N) whether it counts as nothing.
        annotations: (2, ...) image and class of every annotation that has to be found.
    """

    num_images: int
    image: Ids
    class_id: Ids
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    annotations: Ids


def match(truth: GroundTruth, results: Results, iou_type: IouType = "bbox", max_dets: int = MAX_DETECTIONS) -> Matches:
    """Match detections with annotations; arguments and errors as of `lvis.evaluate`."""
    pieces = read(results, iou_type == "segm", truth.image_ids, truth.category_ids)
    recorder = _Recorder(truth, iou_type, max_dets)
    feed(recorder, truth, pieces, iou_type, max_dets)
    return recorder.matches()


class _Recorder:
    """Takes images as `hotcoco.StreamingEval` does, and keeps how their detections match."""

    def __init__(self, truth: GroundTruth, iou_type: IouType, max_dets: int) -> None:
        self._truth = truth
        self._iou_type = iou_type
        self._max_dets = max_dets
        self._categories = [truth.categories[key] for key in truth.category_ids.tolist()]
        self._found: list[tuple[NDArray[Any], ...]] = []
        self._wanted: list[Ids] = []

    def update(self, images: list[dict[str, Any]], annotations: list[dict[str, Any]], detections: Any) -> None:
        import hotcoco

        content = {"images": images, "annotations": annotations, "categories": self._categories}
        truth = hotcoco.COCO(content)
        found = truth.load_res(detections if len(detections) else [])
        evaluation = hotcoco.COCOeval(truth, found, self._iou_type, lvis_style=not self._truth.exhaustive)
        parameters = evaluation.params
        parameters.max_dets = [self._max_dets]
        parameters.area_rng, parameters.area_rng_lbl = parameters.area_rng[:1], parameters.area_rng_lbl[:1]
        evaluation.params = parameters
        evaluation.evaluate()
        with _without_collection():
            self._record([each for each in evaluation.eval_imgs if each is not None])

    def matches(self) -> Matches:
        nothing = (np.empty((2, 0), np.int64), np.empty(0), *np.empty((2, THRESHOLDS, 0), np.bool_))
        pairs, scores, right, ignored = (
            np.concatenate(parts, axis=-1) for parts in zip(nothing, *self._found, strict=True)
        )
        order = np.lexsort((pairs[0], -scores, pairs[1]))
        image, class_id = self._places(pairs[:, order])
        return Matches(
            len(self._truth.image_ids),
            image,
            class_id,
            right[:, order],
            ignored[:, order],
            np.stack(self._places(np.concatenate(self._wanted, axis=1))),
        )

    def _record(self, judged: list[dict[str, Any]]) -> None:
        """Of each image and category that has something."""
        pairs = np.array([(each["image_id"], each["category_id"]) for each in judged], np.int64).reshape(-1, 2).T
        wanted = [len(each["gtIgnore"]) - sum(each["gtIgnore"]) for each in judged]
        self._wanted.append(np.repeat(pairs, wanted, axis=1))
        numbers = [len(each["dtScores"]) for each in judged]
        scores = np.fromiter(chain.from_iterable(each["dtScores"] for each in judged), np.float64, sum(numbers))
        right, ignored = (_flags([each[name] for each in judged]) for name in ("dtMatched", "dtIgnore"))
        self._found.append((np.repeat(pairs, numbers, axis=1), scores, right, ignored))

    def _places(self, ids_and_keys: Ids) -> tuple[Ids, Ids]:
        """Of images and of classes."""
        ids, keys = ids_and_keys
        return np.searchsorted(self._truth.image_ids, ids), np.searchsorted(self._truth.category_ids, keys)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Millions of short lists take twice the time while the collector goes through them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _flags(rows: list[list[list[bool]]]) -> NDArray[np.bool_]:
    """(T, N) of the flags of each image and category, (T, n)."""
    flat = [bytes(chain.from_iterable(each[threshold] for each in rows)) for threshold in range(THRESHOLDS)]
    return np.frombuffer(b"".join(flat), np.bool_).reshape(THRESHOLDS, -1)
