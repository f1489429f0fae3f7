"""Numbers of segmentation against two other computations, sliding windows, and pictures of predictions."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from eqbench.evaluation import pictures, segmentation, segmentation_pictures
from eqbench.evaluation.segmentation_pictures import Segmented
from eqbench.evaluation.sliding_window import slide, starts

C = 7
IGNORED = 255


def maps(seed: int, absent: tuple[int, ...] = (), size: int = 40) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels, some ignored, without the classes of `absent`; and predictions that are often right."""
    generator = np.random.default_rng(seed)
    classes = [each for each in range(C) if each not in absent]
    weights = np.array([2.0**-each for each in classes])
    labels = generator.choice(classes, size=(3, size, size), p=weights / weights.sum())
    wrong = generator.random(labels.shape) < 0.4
    predictions = np.where(wrong, generator.integers(0, C, labels.shape), labels)
    labels[generator.random(labels.shape) < 0.1] = IGNORED
    return labels, predictions


def confusion(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> NDArray[np.int64]:
    tensors = torch.from_numpy(labels.astype(np.uint8)), torch.from_numpy(predictions)
    return segmentation.confusion_matrix(*tensors, C, IGNORED).numpy()


@pytest.mark.parametrize("absent", [(), (2,), (0, 6)])
def test_the_numbers_are_hotcocos(absent: tuple[int, ...]) -> None:
    """A class that is labelled nowhere but predicted has an IoU of 0; one that is neither has none."""
    from hotcoco.semantic import SemanticEval

    labels, predictions = maps(0, absent)
    predictions[predictions == 6] = 0
    labels[labels == 6] = 0
    matrix = confusion(labels, predictions)
    reference = SemanticEval(C)
    reference.update(labels, predictions)
    assert matrix.tolist() == reference.confusion().tolist()
    report = reference.report()
    found = segmentation.metrics(matrix, ["head"] * C, None)
    expected = {"miou": "mIoU", "macc": "mAcc", "pixel_accuracy": "aAcc"}
    assert {ours: found[ours] for ours in expected} == pytest.approx(
        {ours: 100 * report["metrics"][theirs] for ours, theirs in expected.items()}, rel=1e-12
    )
    for ours, theirs in ((segmentation.iou(matrix), "IoU"), (segmentation.accuracy(matrix), "Acc")):
        values = [report["per_class"].get(f"class_{each}", {}).get(theirs, math.nan) for each in range(C)]
        np.testing.assert_allclose(ours, 100 * np.array(values), rtol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_the_numbers_are_scikit_learns(seed: int) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

    labels, predictions = maps(seed, size=12)
    counted = labels != IGNORED
    given_labels, given_predictions = labels[counted], predictions[counted]
    matrix = confusion(labels, predictions)
    every: Any = {"labels": range(C), "average": None, "zero_division": math.nan}
    assert matrix.tolist() == confusion_matrix(given_labels, given_predictions, labels=range(C)).tolist()
    iou = jaccard_score(given_labels, given_predictions, labels=range(C), average=None, zero_division=0)
    present = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    np.testing.assert_allclose(segmentation.iou(matrix), np.where(present, 100 * iou, math.nan))
    np.testing.assert_allclose(
        segmentation.accuracy(matrix), 100 * recall_score(given_labels, given_predictions, **every)
    )
    expected = 100 * accuracy_score(given_labels, given_predictions)
    assert segmentation.pixel_accuracy(matrix) == pytest.approx(expected)


def test_groups() -> None:
    """Two classes of 75 and 60 % IoU in one group, one of 0 % in another, none in the third."""
    matrix = np.array([[75, 0, 25], [40, 60, 0], [0, 0, 0]])
    groups = ["body", "body", "tail"]
    found = segmentation.metrics(matrix, groups, ["tail", "head", "head"])
    iou = [100 * 75 / 140, 60.0, 0.0]
    assert tuple(found) == segmentation.METRICS
    assert found == pytest.approx(
        {
            "miou": sum(iou) / 3,
            "macc": 67.5,
            "pixel_accuracy": 67.5,
            "miou_head": math.nan,
            "miou_body": sum(iou[:2]) / 2,
            "miou_tail": 0.0,
            "macc_head": math.nan,
            "macc_body": 67.5,
            "macc_tail": math.nan,
            "published_miou_head": 30.0,
            "published_miou_body": math.nan,
            "published_miou_tail": iou[0],
            "published_macc_head": 60.0,
            "published_macc_body": math.nan,
            "published_macc_tail": 75.0,
        },
        nan_ok=True,
    )
    plain = segmentation.metrics(matrix, groups, None)
    assert [math.isnan(plain[name]) for name in segmentation.METRICS] == [
        name.startswith("published") or name in ("miou_head", "macc_head", "macc_tail") for name in segmentation.METRICS
    ]


def test_nothing_evaluated() -> None:
    nothing = segmentation.metrics(np.zeros((C, C), np.int64), ["head"] * C, None)
    assert all(math.isnan(value) for value in nothing.values())


# -- sliding windows ---------------------------------------------------------------------------------------------


@given(length=st.integers(1, 60), window=st.integers(1, 20), data=st.data())
def test_windows_cover_every_pixel_and_stay_inside(length: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    found = starts(length, window, stride)
    assert found == sorted(set(found))
    assert {pixel for start in found for pixel in range(start, start + window)} >= set(range(length))
    assert found[-1] + window == max(length, window)
    assert all(after - before <= stride for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("size", [(16, 16), (33, 20), (9, 40), (5, 7), (16, 17)])
@pytest.mark.parametrize("stride", [5, 10, 16])
def test_sliding_changes_nothing_for_a_network_of_single_pixels(size: tuple[int, int], stride: int) -> None:
    torch.manual_seed(0)
    network, images = torch.nn.Conv2d(3, C, 1), torch.randn(2, 3, *size)
    windows: list[Tensor] = []

    def predict(window: Tensor) -> Tensor:
        windows.append(window)
        return network(window)

    with torch.no_grad():
        torch.testing.assert_close(slide(predict, images, 16, stride), network(images))
    assert {tuple(window.shape) for window in windows} == {(2, 3, 16, 16)}


def test_overlapping_windows_are_averaged() -> None:
    """Windows at 0, 2 and 3 of a row of 7, the first predicts 1, the second 2, the third 3."""
    answers = iter([1.0, 2.0, 3.0])
    found = slide(lambda window: torch.full((1, 1, 4, 4), next(answers)), torch.zeros(1, 3, 4, 7), 4, 2)
    assert found[0, 0, 0].tolist() == [1, 1, 1.5, 2, 2.5, 2.5, 3]
    assert next(answers, None) is None


# -- pictures ----------------------------------------------------------------------------------------------------


def test_a_picture_shows_image_labels_and_predictions(tmp_path: Path) -> None:
    image = np.full((40, 60, 3), 10, np.uint8)
    labels = np.full((80, 120), 3, np.uint8)
    labels[:, 60:] = IGNORED
    predictions = np.full((80, 120), 5, np.uint8)
    kept = segmentation_pictures.shrunk(image, labels, predictions)
    assert kept.image.shape == (80, 120, 3)
    page = segmentation_pictures.draw(kept, 3, [f"class {each}" for each in range(C)])
    pictures.save(page, tmp_path / "page.png")
    pixels = np.asarray(page)
    top, step = segmentation_pictures.TITLE + 40, 2 * 120 + segmentation_pictures.MARGIN
    assert pixels[top, 10].tolist() == [10, 10, 10]
    assert tuple(pixels[top, step + 10]) == segmentation_pictures.colour(3)
    assert tuple(pixels[top, step + 200]) == segmentation_pictures.WITHOUT_CLASS
    assert tuple(pixels[top, 2 * step + 10]) == segmentation_pictures.colour(5)


def test_a_picture_is_small_and_names_the_rare_class_first() -> None:
    labels = np.zeros((1000, 600), np.uint8)
    labels[0, 0] = 6
    kept = segmentation_pictures.shrunk(np.zeros((500, 300, 3), np.uint8), labels, np.ones((1000, 600), np.uint8))
    assert kept.labels.shape == (480, 288)
    assert segmentation_pictures.legend(kept, 6, C) == [6, 0, 1]
    many = Segmented(kept.image, np.arange(250, dtype=np.uint8).reshape(10, 25), np.zeros((10, 25), np.uint8))
    assert len(segmentation_pictures.legend(many, 200, 250)) == segmentation_pictures.NAMED


def test_classes_have_colours_of_their_own() -> None:
    colours = [segmentation_pictures.colour(each) for each in range(150)]
    assert len(set(colours)) == 150
    assert segmentation_pictures.WITHOUT_CLASS not in colours
