"""Average precision of samples of the images, which say how often each image is in them; nothing is matched again.

In a class the detections of all images are gone through from the highest score to the lowest; a detection counts as
often as its image was drawn. Precision is highest right at a correct detection, so that only those are looked at: the
wrong ones in between are summed up, image by image, in advance.

Legend: I images, C classes, T thresholds of IoU, R samples, M correct detections at a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.evaluation.ground_truth import GROUPS
from eqbench.evaluation.image_totals import ByImage, mean
from eqbench.evaluation.matched_detections import Matches

Floats = NDArray[np.float64]

RECALLS = np.linspace(0.0, 1.0, 101)
ROWS_AT_ONCE = 4096
NUMBERS_AT_ONCE = 2**17
"""A megabyte of them stays in a core's own memory."""
LEAST, MOST = 200, 2000
WORK = 8 * 10**9
"""Detections times samples that both runs of a comparison may take: about half a minute of one core."""


class ResampledAP(ByImage):
    """Box AP of one run, and mask AP where its masks are judged, as percent under the names that results have.

    Args:
        kinds: how detections matched, by the prefix of the metrics.
        groups: (C,) frequency group of each class.
    """

    def __init__(self, kinds: dict[str, Matches], groups: Sequence[str]) -> None:
        self.number = next(iter(kinds.values())).num_images
        self._groups = np.asarray(groups, object)
        self._truth = {prefix: np.sort(_codes(each.annotations, len(groups))) for prefix, each in kinds.items()}
        self._kinds = {prefix: _Kind(each, len(groups)) for prefix, each in kinds.items()}

    @property
    def resamples(self) -> int:
        """As many samples as `WORK` allows; the same number for the same predictions on every machine."""
        work = 2 * sum(kind.work for kind in self._kinds.values())
        return int(np.clip(WORK // max(work, 1), LEAST, MOST))

    def same_images(self, other: ByImage) -> bool:
        """Whether both are of the same images with the same annotations, as far as can be told."""
        return (
            isinstance(other, ResampledAP)
            and self.number == other.number
            and all(np.array_equal(self._truth[name], other._truth[name]) for name in self._truth.keys() & other._truth)
        )

    def resampled(self, times: NDArray[Any]) -> dict[str, Floats]:
        parts: list[dict[str, Floats]] = []
        rows = min(ROWS_AT_ONCE, max(kind.rows for kind in self._kinds.values()))
        at_once = max(1, NUMBERS_AT_ONCE // max(rows, 1))
        for start in range(0, len(times), at_once):
            drawn = np.ascontiguousarray(times[start : start + at_once].T, np.float64)
            parts.append({name: value for each in self._kinds for name, value in self._metrics(each, drawn)})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _metrics(self, prefix: str, drawn: Floats) -> Iterator[tuple[str, Floats]]:
        precision, recall = self._kinds[prefix].judge(drawn)
        by_class = precision.mean(axis=0)
        found = {"ap": by_class, "ap50": precision[0], "ap75": precision[5]}
        found |= {f"ap_{group}": by_class[self._groups == group] for group in GROUPS}
        found |= {f"ap50_{group}": precision[0][self._groups == group] for group in GROUPS}
        found["ar"] = recall.mean(axis=0)
        for name, values in found.items():
            yield f"{prefix}{name}", 100 * mean(values.T)


class _Kind:
    """Boxes, or masks."""

    def __init__(self, matches: Matches, num_classes: int) -> None:
        image, class_id = matches.annotations
        self._wanted = _counts(class_id, image, (num_classes, matches.num_images))
        pairs = zip(matches.right, matches.ignored, strict=True)
        self._thresholds = [_Threshold(matches, right & ~ignored, ignored) for right, ignored in pairs]

    @property
    def rows(self) -> int:
        """The most correct detections at a threshold."""
        return max(len(each.class_id) for each in self._thresholds)

    @property
    def work(self) -> int:
        return sum(each.work for each in self._thresholds)

    def judge(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Average precision and recall (T, C, R), NaN without annotations, of images drawn so often (I, R)."""
        wanted = self._wanted @ drawn
        found = [each.judge(drawn, wanted) for each in self._thresholds]
        precision, recall = (np.stack(each) for each in zip(*found, strict=True))
        precision[:, wanted == 0] = recall[:, wanted == 0] = math.nan
        return precision, recall


class _Threshold:
    """One threshold: the correct detections, and the wrong ones before each, since the correct one before it."""

    def __init__(self, matches: Matches, right: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> None:
        places = np.flatnonzero(right)
        self._image, self.class_id = matches.image[places], matches.class_id[places]
        wrong = np.flatnonzero(~right & ~ignored)
        after = np.searchsorted(places, wrong)
        ends = np.append(self.class_id, -1)[after] == matches.class_id[wrong]
        wrong, after = wrong[ends], after[ends]
        self._wrong = _counts(after, matches.image[wrong], (len(places), matches.num_images))
        self._portions = [(rows, self._wrong[rows]) for rows in _portions(self.class_id)]

    @property
    def work(self) -> int:
        return int(self._wrong.nnz) + 8 * len(self._image)

    def judge(self, drawn: Floats, wanted: Floats) -> tuple[Floats, Floats]:
        """Average precision and recall (C, R); 0 where nothing was found."""
        precision, recall = np.zeros_like(wanted), np.zeros_like(wanted)
        for rows, wrong in self._portions:
            class_id = self.class_id[rows]
            first = np.flatnonzero(np.diff(class_id, prepend=-1))
            classes, lengths = class_id[first], np.diff(first, append=len(class_id))
            right = _running(drawn[self._image[rows]], first, lengths)
            counted = right + _running(wrong @ drawn, first, lengths)
            counted[counted == 0] = 1
            reached = right / np.maximum(np.repeat(wanted[classes], lengths, axis=0), 1)
            best = _best_from_here(right / counted, class_id)
            best *= _recalls_passed(reached, first)
            precision[classes] = np.add.reduceat(best, first) / len(RECALLS)
            recall[classes] = reached[first + lengths - 1]
        return precision, recall


def _running(values: Floats, first: NDArray[np.int64], lengths: NDArray[np.int64]) -> Floats:
    """Sums from the first row of each class to each row."""
    sums = np.cumsum(values, axis=0)
    sums -= np.repeat(sums[first] - values[first], lengths, axis=0)
    return sums


def _best_from_here(precision: Floats, class_id: NDArray[np.int64]) -> Floats:
    """The highest precision of each row and those after it in its class. The shares of a class are kept apart from
    those of the classes after it by adding a number that falls from class to class.
    """
    apart = 2.0 * (class_id[-1] - class_id)[:, None]
    precision += apart
    np.maximum.accumulate(precision[::-1], axis=0, out=precision[::-1])
    precision -= apart
    return precision


def _recalls_passed(reached: Floats, first: NDArray[np.int64]) -> Floats:
    """How many of the 101 recalls a row is the first of its class to reach."""
    number = np.searchsorted(RECALLS, reached, side="right").astype(np.float64)
    passed = np.diff(number, axis=0, prepend=0)
    passed[first] = number[first]
    return passed


def _portions(class_id: NDArray[np.int64]) -> Iterator[slice]:
    """Rows of whole classes, about `ROWS_AT_ONCE` each."""
    ends = np.flatnonzero(np.diff(class_id, append=-1)) + 1
    start = 0
    for place, end in enumerate(ends.tolist()):
        if place + 1 == len(ends) or ends[place + 1] - start > ROWS_AT_ONCE:
            yield slice(start, end)
            start = end


def _counts(row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int]) -> Any:
    """How often each pair occurs, as a sparse array."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(row)), (row, column)), shape=shape)


def _codes(annotations: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """One number for each pair of image and class."""
    codes: NDArray[np.int64] = annotations[0] * num_classes + annotations[1]
    return codes
