"""Accuracies against a table worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqbench.evaluation import accuracy

# class    0: 3 of 4    1: 1 of 2    2: 0 of 1    3: no samples    4: 2 of 2
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 4, 4])
PREDICTIONS = np.array([0, 0, 0, 3, 1, 0, 1, 4, 4])
BY_CLASS = [75.0, 50.0, 0.0, math.nan, 100.0]


def test_top1() -> None:
    assert accuracy.top1(LABELS, PREDICTIONS) == pytest.approx(100 * 6 / 9)


@given(st.integers(1, 7), st.integers(0, 2**31))
def test_top_k_is_the_place_in_a_stable_order_of_the_scores(k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, 3, (20, 6)).astype(float), random.integers(0, 6, 20)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = [label in row for label, row in zip(labels, best, strict=True)]
    assert accuracy.top_k(labels, scores, k).tolist() == expected


def test_per_class() -> None:
    by_class, samples = accuracy.per_class(LABELS, PREDICTIONS, num_classes=5)
    np.testing.assert_array_equal(by_class, BY_CLASS)
    assert samples.tolist() == [4, 2, 1, 0, 2]


def test_group_means() -> None:
    groups = ["head", "head", "body", "tail", "body"]
    means = accuracy.group_means(np.array(BY_CLASS), groups, ["head", "body", "tail", "rest"])
    assert list(means) == ["head", "body", "tail", "rest"]
    assert means == pytest.approx({"head": 62.5, "body": 50.0, "tail": math.nan, "rest": math.nan}, nan_ok=True)


def test_harmonic_mean() -> None:
    assert accuracy.harmonic_mean(np.array(BY_CLASS)) == 0
    assert accuracy.harmonic_mean(np.array([75, 50, math.nan, 100])) == pytest.approx(300 / (4 / 3 + 2 + 1))


def test_worst() -> None:
    assert accuracy.worst(np.array(BY_CLASS)) == 0
    assert accuracy.worst(np.array([math.nan, 100, 50])) == 50


def test_no_samples() -> None:
    none = np.empty(0, np.int64)
    by_class, samples = accuracy.per_class(none, none, num_classes=2)
    assert samples.tolist() == [0, 0]
    numbers = [accuracy.top1(none, none), *by_class, accuracy.harmonic_mean(by_class), accuracy.worst(by_class)]
    numbers += accuracy.group_means(by_class, ["many", "few"], ["many", "medium", "few"]).values()
    assert np.isnan(numbers).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_means_lie_in_order(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    by_class, samples = accuracy.per_class(labels, predictions, num_classes=5)
    worst, harmonic = accuracy.worst(by_class), accuracy.harmonic_mean(by_class)
    assert worst <= harmonic * (1 + 1e-12)
    assert harmonic <= accuracy.mean(by_class) * (1 + 1e-12)
    assert np.nansum(by_class * samples) / len(labels) == pytest.approx(accuracy.top1(labels, predictions))
