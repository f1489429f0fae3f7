"""The paired bootstrap against resamples that are judged one by one, and what it says of differences that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, t

from eqbench.evaluation import accuracy, segmentation
from eqbench.evaluation.image_totals import RESAMPLES, ByImage, ClassificationTotals, ImageTotals, SegmentationTotals
from eqbench.leaderboard import bootstrap
from eqbench.leaderboard.bootstrap import Interval, interval, over_classes, over_images

GROUPS = ["many"] * 3 + ["medium"] * 3 + ["few"] * 3 + ["unseen"]
C = len(GROUPS)
N = 61
Columns = dict[str, NDArray[np.int64]]


def classification(seed: int, right: float = 0.6) -> Columns:
    """Labels are the same for all seeds; no image is of the last class."""
    labels = np.arange(N) * 7 % (C - 1)
    generator = np.random.default_rng(seed)
    wrong = generator.integers(C, size=(2, N))
    prediction, adjusted = np.where(generator.random((2, N)) < right, labels, wrong)
    top5 = (prediction == labels) | (generator.random(N) < 0.5)
    return {"image": np.arange(N), "label": labels, "prediction": prediction, "adjusted": adjusted, "top5": top5}


def confusions(seed: int) -> NDArray[np.int64]:
    """(N, C, C); the last class is neither labelled nor predicted, the one before is only predicted."""
    generator = np.random.default_rng(seed)
    correct = 20 * generator.poisson(0.2, size=(N, C, 1)) * np.eye(C, dtype=np.int64)
    counts: NDArray[np.int64] = generator.poisson(0.4, size=(N, C, C)) + correct
    counts[:, -2:] = 0
    counts[:, :, -1] = 0
    return counts


def segmentation_columns(counts: NDArray[np.int64]) -> Columns:
    sums = {
        "intersection": np.diagonal(counts, axis1=1, axis2=2),
        "labelled": counts.sum(axis=2),
        "predicted": counts.sum(axis=1),
    }
    image, class_id = np.nonzero(sums["labelled"] + sums["predicted"])
    return {"image": image, "class_id": class_id, **{name: value[image, class_id] for name, value in sums.items()}}


def images_of_each_resample(resamples: int) -> list[NDArray[np.int64]]:
    (times,) = bootstrap._draws(N, resamples, seed=3)
    return [np.repeat(np.arange(N), row.astype(int)) for row in times]


def slow_classification(columns: Columns, images: NDArray[np.int64]) -> dict[str, float]:
    labels, predictions, adjusted, top5 = (
        columns[name][images] for name in ("label", "prediction", "adjusted", "top5")
    )
    by_class, _ = accuracy.per_class(labels, predictions, C)
    return {
        "top1": accuracy.top1(labels, predictions),
        **accuracy.group_means(by_class, GROUPS, list(dict.fromkeys(GROUPS))),
        "hmean": accuracy.harmonic_mean(by_class),
        "top5": accuracy.share(top5),
        "top1_adjusted": accuracy.top1(labels, adjusted),
    }


def slow_segmentation(counts: NDArray[np.int64], images: NDArray[np.int64]) -> dict[str, float]:
    groups = [{"many": "head", "medium": "body"}.get(group, "tail") for group in GROUPS]
    return segmentation.metrics(counts[images].sum(axis=0), groups, groups[::-1])


@pytest.mark.parametrize("family", ["classification", "segmentation"])
def test_intervals_are_those_of_resamples_judged_one_by_one(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    totals: list[ImageTotals]
    if family == "classification":
        runs = [classification(1), classification(2, right=0.8)]
        totals = [ClassificationTotals(columns, {"": GROUPS}, C) for columns in runs]
        slow = [[slow_classification(columns, images) for images in images_of_each_resample(40)] for columns in runs]
    else:
        maps = [confusions(1), confusions(2)]
        groups = [{"many": "head", "medium": "body"}.get(group, "tail") for group in GROUPS]
        both = {"": groups, "published_": groups[::-1]}
        totals = [SegmentationTotals(segmentation_columns(counts), both, C) for counts in maps]
        slow = [[slow_segmentation(counts, images) for images in images_of_each_resample(40)] for counts in maps]
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 7 * N)  # several portions
    a, b = totals
    found = over_images(a, b, resamples=40, seed=3)
    assert set(found) == set(slow[0][0])
    for name, value in found.items():
        differences = np.array([of_b[name] - of_a[name] for of_a, of_b in zip(*slow, strict=True)])
        assert value == pytest.approx(interval(differences, N), nan_ok=True, abs=1e-9), name
    assert any(math.isnan(value.p) for value in found.values()) is (family == "classification")  # no `unseen` images


def test_five_classes_have_no_top5() -> None:
    columns = {name: column % 5 if name != "image" else column for name, column in classification(1).items()}
    totals = ClassificationTotals(columns, {"": ["few"] * 5}, 5)
    assert "top5" not in totals.of_all()


def test_known_intervals() -> None:
    many = 10**9
    assert interval(np.array([-1.0, 1.0] * 500), many) == Interval(-1.0, 1.0, 1.0)
    assert interval(np.ones(999), many) == Interval(1.0, 1.0, pytest.approx(0.002))
    assert interval(np.zeros(999), many) == Interval(0.0, 0.0, 1.0)
    assert interval(np.array([1.0] * 3 + [math.nan] * 2), many).low == 1.0
    assert math.isnan(interval(np.array([1.0] * 2 + [math.nan] * 2), many).p)


def test_differences_of_rounding_are_none() -> None:
    assert interval(np.full(999, -1e-13), 100) == Interval(0.0, 0.0, 1.0)


def test_few_values_have_the_interval_of_the_t_distribution() -> None:
    """Resampled means of 8 normal values have 7/8 of the variance; Student's t with 7 degrees of freedom is wider."""
    means = norm.ppf((np.arange(2000) + 0.5) / 2000) * math.sqrt(7 / 8)
    found = interval(means, 8)
    assert found.high == pytest.approx(t.ppf(0.975, 7), abs=0.02)
    at_the_end = interval(means + found.high, 8)
    assert at_the_end.p == pytest.approx(0.05, abs=0.004)


def test_values_of_one_sign_are_as_significant_as_their_number_allows() -> None:
    for number in (8, 20):
        found = over_classes([1.0] * number, ["few"] * number)[0].interval
        assert found.p == bootstrap.smallest_p(RESAMPLES, number)
        assert 0.5**number < found.p < 0.02


@pytest.mark.parametrize("number", [8, 20])
def test_of_normal_differences_about_one_interval_in_twenty_misses(number: int) -> None:
    generator = np.random.default_rng(1)
    samples = generator.normal(size=(200, number))
    missed = [
        not low <= 0 <= high
        for sample in samples
        for low, high, _ in [over_classes(sample.tolist(), ["few"] * number, resamples=400)[0].interval]
    ]
    assert 0.02 <= np.mean(missed) <= 0.08


class Means(ByImage):
    """One number of each image."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.number = len(values)
        self.values = values

    def resampled(self, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"mean": times @ self.values / self.number}

    def same_images(self, other: ByImage) -> bool:
        return True


def test_a_mean_has_the_interval_of_the_normal_distribution() -> None:
    """Of 400 differences with mean 0.1 and standard deviation 1: 0.1 ± 1.96 / 20."""
    values = norm.ppf((np.arange(400) + 0.5) / 400)
    values = values / values.std() + 0.1
    found = over_images(Means(np.zeros(400)), Means(values))["mean"]
    assert found[:2] == pytest.approx((0.1 - 0.098, 0.1 + 0.098), abs=0.01)
    assert found.p == pytest.approx(2 * norm.sf(2), abs=0.02)
    assert over_classes(values.tolist(), ["few"] * 400)[0].interval == pytest.approx(found)


def test_the_same_numbers_every_time_and_other_ones_with_another_seed() -> None:
    values = [0.1, -0.3, 0.5, 0.2, 0.4, -0.1, 0.6, 0.7]
    assert over_classes(values, ["few"] * 8) == over_classes(values, ["few"] * 8)
    assert over_classes(values, ["few"] * 8, seed=1) != over_classes(values, ["few"] * 8)


def test_classes_by_group() -> None:
    found = over_classes([1.0] * 8 + [-1.0] * 7 + [math.nan], ["many"] * 8 + ["few"] * 8)
    assert [(each.group, each.n, each.difference) for each in found] == [
        ("all", 15, pytest.approx(1 / 15)), ("many", 8, 1.0), ("few", 7, -1.0),
    ]  # fmt: skip
    assert found[1].interval[:2] == (1.0, 1.0)
    assert math.isnan(found[2].interval.p)  # seven classes say too little
    assert found[0].interval.low < 0 < found[0].interval.high
    assert over_classes([], [])[0].n == 0
