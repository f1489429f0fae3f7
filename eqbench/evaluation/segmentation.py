"""Numbers of semantic segmentation, in percent, as pure functions of a confusion matrix.

Legend: C classes; `confusion` (C, C) int64 pixels, row the labelled class, column the predicted one. A number that does
not exist is NaN and left out of every mean: the accuracy of a class that is labelled nowhere, and the intersection
over union of a class that is neither labelled nor predicted. So do mmsegmentation and torchmetrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqbench.data.segmentation import GROUPS
from eqbench.evaluation.accuracy import Floats, Integers, group_means, mean

METRICS = (
    "miou",
    "macc",
    "pixel_accuracy",
    *(f"miou_{group}" for group in GROUPS),
    *(f"macc_{group}" for group in GROUPS),
    *(f"published_miou_{group}" for group in GROUPS),
    *(f"published_macc_{group}" for group in GROUPS),
)


def confusion_matrix(labels: Tensor, predictions: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """(C, C) int64, on the labels' device.

    Args:
        labels, predictions: integers of one shape; predictions are classes, labels classes or `ignore_index`.

    >>> confusion_matrix(torch.tensor([0, 0, 1, 255]), torch.tensor([0, 1, 1, 0]), 2, ignore_index=255)
    tensor([[1, 1],
            [0, 1]])
    """
    counted = labels != ignore_index
    places = num_classes * labels[counted].long() + predictions[counted].long()
    return torch.bincount(places, minlength=num_classes**2).view(num_classes, num_classes)


def iou(confusion: Integers) -> Floats:
    """(C,) intersection of labelled and predicted pixels over their union.

    >>> iou(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    array([75., 80., nan])
    """
    correct = np.diagonal(confusion)
    return _share(correct, confusion.sum(axis=0) + confusion.sum(axis=1) - correct)


def accuracy(confusion: Integers) -> Floats:
    """(C,) share of the pixels labelled with a class that are predicted as it.

    >>> accuracy(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    array([ 75., 100.,  nan])
    """
    return _share(np.diagonal(confusion), confusion.sum(axis=1))


def pixel_accuracy(confusion: Integers) -> float:
    """Share of all labelled pixels that are predicted right.

    >>> pixel_accuracy(np.array([[3, 1], [0, 4]]))
    87.5
    """
    return 100 * float(np.trace(confusion) / confusion.sum()) if confusion.any() else math.nan


def metrics(confusion: Integers, groups: Sequence[str], published: Sequence[str] | None) -> dict[str, float]:
    """All numbers, in the order of `METRICS`.

    Args:
        groups: (C,) by training pixels.
        published: (C,) as they were published for this data set, if they were.
    """
    ious, accuracies = iou(confusion), accuracy(confusion)
    found = {"miou": mean(ious), "macc": mean(accuracies), "pixel_accuracy": pixel_accuracy(confusion)}
    for prefix, of_class in (("", groups), ("published_", published or [""] * len(ious))):
        for name, values in (("miou", ious), ("macc", accuracies)):
            found |= {
                f"{prefix}{name}_{group}": value for group, value in group_means(values, of_class, GROUPS).items()
            }
    return {name: found[name] for name in METRICS}


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    share = np.full(len(whole), math.nan)
    np.divide(100 * part, whole, out=share, where=whole > 0)
    return share
