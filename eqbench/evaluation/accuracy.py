"""Accuracies by class and by class group, in percent, as pure functions of arrays.

Legend: N samples, C classes. A number that does not exist, such as the accuracy of a class without samples,
is NaN and is left out of every mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def top1(labels: Integers, predictions: Integers) -> float:
    """Share of the samples whose prediction is their label.

    >>> top1(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0]))
    75.0
    """
    return share(labels == predictions)


def share(correct: NDArray[Any]) -> float:
    """How many of the samples are correct, in percent."""
    return 100 * float(np.mean(correct)) if len(correct) else math.nan


def top_k(labels: Integers, scores: Floats, k: int) -> NDArray[np.bool_]:
    """(N,) whether the label is among the `k` classes of the highest scores (N, C); of equal ones the first is higher.

    >>> top_k(np.array([0, 2]), np.array([[0.1, 0.6, 0.3], [0.5, 0.3, 0.2]]), k=2)
    array([False, False])
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    return np.asarray(((scores > own) | ((scores == own) & before)).sum(axis=1) < k)


def margins(labels: Integers, scores: Floats) -> Floats:
    """(N,) score of the label minus the highest of the other classes; `scores` (N, C) of at least two classes.

    >>> margins(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]]))
    array([0.5, 0. ])
    """
    others = scores.copy()
    np.put_along_axis(others, labels[:, None], -math.inf, axis=1)
    margins: Floats = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0] - others.max(axis=1)
    return margins


def per_class(labels: Integers, predictions: Integers, num_classes: int) -> tuple[Floats, Integers]:
    """(C,) accuracy among the samples of each class, and (C,) how many these are.

    >>> per_class(np.array([0, 0, 2]), np.array([0, 1, 2]), num_classes=3)
    (array([ 50.,  nan, 100.]), array([2, 0, 1]))
    """
    samples = np.bincount(labels, minlength=num_classes)
    correct = np.bincount(labels[labels == predictions], minlength=num_classes)
    accuracy = np.full(num_classes, math.nan)
    np.divide(100 * correct, samples, out=accuracy, where=samples > 0)
    return accuracy, samples


def mean(accuracy: Floats) -> float:
    """Arithmetic mean over classes."""
    existing = accuracy[~np.isnan(accuracy)]
    return float(existing.mean()) if existing.size else math.nan


def group_means(accuracy: Floats, groups: Sequence[str], group_names: Sequence[str]) -> dict[str, float]:
    """Mean accuracy over the classes of each group.

    >>> group_means(np.array([90.0, 50.0, 30.0]), ["many", "few", "few"], ["many", "medium", "few"])
    {'many': 90.0, 'medium': nan, 'few': 40.0}
    """
    of_class = np.asarray(groups)
    return {name: mean(accuracy[of_class == name]) for name in group_names}


def harmonic_mean(accuracy: Floats) -> float:
    """Harmonic mean over classes; 0 if the accuracy of a class is 0.

    >>> harmonic_mean(np.array([100.0, 50.0]))
    66.66666666666667
    """
    existing = accuracy[~np.isnan(accuracy)]
    if not existing.size:
        return math.nan
    return float(existing.size / np.sum(1 / existing)) if existing.all() else 0.0


def worst(accuracy: Floats) -> float:
    """Accuracy of the class with the lowest."""
    existing = accuracy[~np.isnan(accuracy)]
    return float(existing.min()) if existing.size else math.nan
