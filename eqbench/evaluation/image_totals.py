"""What each image adds to the sums that metrics are made of, from the stored predictions of a run.

Legend: N images, C classes, Q named sums by class, R samples of the images.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eqbench.errors import InputError
from eqbench.evaluation import tables

FILE = "predictions.parquet"
RESAMPLES = 2000
Floats = NDArray[np.float64]


class ByImage(ABC):
    """What a run found in each of `number` images: its metrics can be computed anew of any sample of them."""

    number: int

    @property
    def resamples(self) -> int:
        """How many samples are worth their time."""
        return RESAMPLES

    @abstractmethod
    def resampled(self, times: Floats) -> dict[str, Floats]:
        """The metrics, (R,) each, of samples that hold each image so many times, (R, N)."""

    @abstractmethod
    def same_images(self, other: ByImage) -> bool:
        """Whether both are of the same images in the same order, as far as can be told."""

    def of_all(self) -> dict[str, float]:
        """The metrics over all images."""
        return {name: float(value[0]) for name, value in self.resampled(np.ones((1, self.number))).items()}


class ImageTotals(ByImage):
    """`totals`: an (N, Q * C) scipy.sparse array, sum by sum; `labels`: what does not depend on the run, to tell
    whether two runs were judged on the same images. An image without a labelled pixel is none of the N."""

    names: ClassVar[tuple[str, ...]]

    def __init__(
        self, columns: Mapping[str, NDArray[Any]], groups: Mapping[str, Sequence[str]], num_classes: int
    ) -> None:
        """Of the columns of the file.

        Args:
            columns: by name, of equal length.
            groups: (C,) the group of each class; the prefix of its metrics by the columns' name.
            num_classes: C.
        """
        self.num_classes = num_classes
        self._groups = {prefix: np.asarray(names, object) for prefix, names in groups.items()}
        self.totals, self.labels = self._count(columns)
        self.number = self.totals.shape[0]

    @abstractmethod
    def _count(self, columns: Mapping[str, NDArray[Any]]) -> tuple[Any, NDArray[Any]]: ...

    @abstractmethod
    def metrics(self, sums: Floats) -> dict[str, Floats]:
        """The metrics, (R,) each, of sums (R, Q * C)."""

    def resampled(self, times: Floats) -> dict[str, Floats]:
        return self.metrics((self.totals.T @ times.T).T)

    def same_images(self, other: ByImage) -> bool:
        return (
            isinstance(other, ImageTotals)
            and type(self) is type(other)
            and self.totals.shape == other.totals.shape
            and np.array_equal(self.labels, other.labels)
        )

    def _by_name(self, sums: Floats) -> list[Floats]:
        return list(np.moveaxis(sums.reshape(len(sums), len(self.names), self.num_classes), 1, 0))

    def _sparse(self, image: NDArray[Any], class_id: NDArray[Any], values: Sequence[NDArray[Any]]) -> Any:
        from scipy.sparse import csr_array

        columns = np.concatenate([class_id.astype(np.int64) + place * self.num_classes for place in range(len(values))])
        entries = np.concatenate([value.astype(np.float64) for value in values])
        kept = entries != 0
        there, place = np.unique(image, return_inverse=True)
        rows = np.tile(place, len(values))
        shape = (len(there), len(values) * self.num_classes)
        return csr_array((entries[kept], (rows[kept], columns[kept])), shape=shape)

    def _means(self, values: Floats, prefix: str, groups: str = "") -> dict[str, Floats]:
        of_class = self._groups[groups]
        return {f"{prefix}{name}": mean(values[:, of_class == name]) for name in dict.fromkeys(of_class.tolist())}


class ClassificationTotals(ImageTotals):
    """Samples and right answers of each label. `worst` has no metric here: its bootstrap means nothing."""

    names = ("samples", "correct", "top5", "adjusted")

    def _count(self, columns: Mapping[str, NDArray[Any]]) -> tuple[Any, NDArray[Any]]:
        label = columns["label"]
        correct, adjusted = columns["prediction"] == label, columns["adjusted"] == label
        values = (np.ones(len(label)), correct, columns["top5"], adjusted)
        return self._sparse(columns["image"], label, values), label

    def metrics(self, sums: Floats) -> dict[str, Floats]:
        samples, correct, top5, adjusted = self._by_name(sums)
        by_class = percent(correct, samples)
        number = samples.sum(axis=1)
        with np.errstate(divide="ignore"):
            hmean = 1 / mean(1 / by_class)
        shares = {
            "top1": percent(correct.sum(axis=1), number),
            **self._means(by_class, ""),
            "hmean": hmean,
            "top5": percent(top5.sum(axis=1), number),
            "top1_adjusted": percent(adjusted.sum(axis=1), number),
        }
        if self.num_classes <= 5:
            del shares["top5"]
        return shares


class SegmentationTotals(ImageTotals):
    """Pixels of each class."""

    names = ("intersection", "labelled", "predicted")

    def _count(self, columns: Mapping[str, NDArray[Any]]) -> tuple[Any, NDArray[Any]]:
        values = [columns[name] for name in self.names]
        totals = self._sparse(columns["image"], columns["class_id"], values)
        labelled = columns["labelled"] > 0
        return totals, np.stack([columns[name][labelled] for name in ("image", "class_id", "labelled")])

    def metrics(self, sums: Floats) -> dict[str, Floats]:
        intersection, labelled, predicted = self._by_name(sums)
        iou, accuracy = percent(intersection, labelled + predicted - intersection), percent(intersection, labelled)
        found = {
            "miou": mean(iou),
            "macc": mean(accuracy),
            "pixel_accuracy": percent(intersection.sum(axis=1), labelled.sum(axis=1)),
        }
        for prefix in self._groups:
            for name, values in (("miou", iou), ("macc", accuracy)):
                found |= self._means(values, f"{prefix}{name}_", prefix)
        return found


KINDS: dict[str, type[ImageTotals]] = {"prediction": ClassificationTotals, "intersection": SegmentationTotals}
NEEDED = {
    "prediction": ("image", "label", "prediction", "adjusted", "top5"),
    "intersection": ("image", "class_id", "intersection", "labelled", "predicted"),
}


def read(evaluation: Path, groups: Mapping[str, Sequence[str]]) -> ImageTotals | None:
    """The totals of the run whose folder `evaluation` is; None if no predictions are stored there.

    Args:
        groups: (C,) the group of each class, by the prefix of their metrics.

    Raises:
        InputError: the file is not one of stored predictions.
    """
    file = evaluation / FILE
    table = tables.read(file, ("image",))
    if table is None:
        return None
    kind = next((name for name in KINDS if name in table.column_names), "prediction")
    num_classes = len(next(iter(groups.values())))
    table = tables.read(file, NEEDED[kind], whole=NEEDED[kind])
    columns = {name: table[name].to_numpy() for name in NEEDED[kind]}
    ids = columns["label" if kind == "prediction" else "class_id"]
    if len(ids) and not 0 <= ids.min() <= ids.max() < num_classes:
        raise InputError(f"{file}: classes {ids.min()} to {ids.max()}; per_class.parquet has 0 to {num_classes - 1}")
    images = columns["image"]
    if len(images) and images.min() < 0:
        raise InputError(f"{file}: image {images.min()}; expected 0 or more")
    if kind == "prediction" and not np.array_equal(np.sort(images), np.arange(len(images))):
        raise InputError(f"{file}: images {images.min()} to {images.max()} in {len(images)} rows; expected one of each")
    return KINDS[kind](columns, groups, num_classes)


def divided(part: Floats, whole: NDArray[Any]) -> Floats:
    """part / whole, NaN where there is nothing."""
    share = np.full(whole.shape, math.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def percent(part: Floats, whole: Floats) -> Floats:
    """100 * part / whole, NaN where there is nothing."""
    return divided(100 * part, whole)


def mean(values: Floats) -> Floats:
    """(R,) means of values (R, C) that exist."""
    existing = ~np.isnan(values)
    return divided(np.where(existing, values, 0).sum(axis=1), existing.sum(axis=1))
