"""The long-tailed digits: counts, split, groups, augmentation, digest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from eqbench.data.base import Draw
from eqbench.data.digits import MEAN, STD, Digits, long_tail_counts


@given(st.integers(1, 5000), st.integers(2, 100), st.floats(1, 500))
def test_counts_fall_exponentially(largest: int, num_classes: int, imbalance_factor: float) -> None:
    counts = long_tail_counts(largest, num_classes, imbalance_factor)
    assert counts[0] == largest
    assert counts == sorted(counts, reverse=True)
    assert abs(counts[-1] - largest / imbalance_factor) <= 1


def test_cifar_10_lt_has_the_counts_of_the_literature() -> None:
    assert long_tail_counts(5000, 10, 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_split() -> None:
    data = Digits(imbalance_factor=50, test_per_class=50)
    assert data.num_classes == 10
    assert data.class_counts.dtype == torch.int64
    assert torch.equal(torch.bincount(data.train.labels), data.class_counts)
    assert torch.bincount(data.eval.labels).tolist() == [50] * 10
    smallest = min(torch.bincount(torch.from_numpy(load_digits().target)).tolist())
    assert data.class_counts.max() == smallest - 50


def test_no_image_is_in_both_sets() -> None:
    """Some digits of the data set are equal, so images are counted rather than looked up."""
    data = Digits(imbalance_factor=1)
    everything = [tuple(image.flatten().tolist()) for image in load_digits().images / 16]
    used = [tuple(image.flatten().tolist()) for image in torch.cat([data.train.images, data.eval.images])]
    assert len(used) == 10 * int(data.class_counts.max()) + 500
    assert all(used.count(image) <= everything.count(image) for image in set(used))


def test_groups() -> None:
    data = Digits(many_above=51, few_below=9)
    assert data.class_counts.tolist() == [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    assert list(data.groups) == ["many"] * 2 + ["medium"] * 5 + ["few"] * 3


def test_batches() -> None:
    data = Digits()
    images, labels = data.train.collate([data.train[Draw(index, 7)] for index in range(3)])
    assert images.shape == (3, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    images, labels = data.train.collate([])
    assert images.shape == (0, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.shape == (0,)
    assert labels.dtype == torch.int64


def test_images_are_normalised() -> None:
    data = Digits(imbalance_factor=1)
    images, _ = data.eval.collate([data.eval[Draw(index, 0)] for index in range(len(data.eval))])
    assert abs(images.mean()) < 0.02
    assert abs(images.std() - 1) < 0.02


def test_augmentation_is_one_of_nine_shifts_decided_by_the_seed() -> None:
    data = Digits()
    shifted = {tuple(data.train[Draw(0, seed)][0].flatten().tolist()) for seed in range(100)}
    assert len(shifted) == 9
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = data.train[Draw(5, 123)][0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(data.train[Draw(5, 123)][0], first)


def test_a_shift_moves_zeros_in() -> None:
    data = Digits()
    plain = Digits(augment=False).train[Draw(3, 0)][0]
    down_right = data.train[Draw(3, 0)][0]
    assert torch.equal(down_right[:, 1:, 1:], plain[:, :-1, :-1])
    black = torch.full((1, 8), -MEAN / STD)
    assert torch.allclose(down_right[:, 0], black)
    assert torch.allclose(down_right[:, :, 0], black)


def test_evaluation_and_plain_training_images_do_not_depend_on_the_seed() -> None:
    data = Digits(augment=False)
    for samples in (data.train, data.eval):
        assert torch.equal(samples[Draw(1, 5)][0], samples[Draw(1, 6)][0])


@pytest.mark.parametrize("processes", [0, 1])
def test_a_loader_gives_empty_batches_too(processes: int) -> None:
    data = Digits().train
    draws = [[Draw(0, 4), Draw(341, 4)], [], [Draw(9, 4)]]
    options: dict[str, Any] = {"dataset": data, "batch_sampler": draws, "collate_fn": data.collate}
    batches = list(DataLoader(**options, num_workers=processes))
    assert [len(labels) for _, labels in batches] == [2, 0, 1]
    assert torch.equal(batches[0][0][1], data[Draw(341, 4)][0])


def test_digest_covers_what_is_seen() -> None:
    digest = Digits().digest
    assert Digits().digest == digest
    assert len(digest) == 32
    assert Digits(augment=False).digest == digest
    changes: list[dict[str, Any]] = [
        {"imbalance_factor": 20},
        {"test_per_class": 40},
        {"many_above": 49},
        {"few_below": 11},
        {"split_seed": 1},
    ]
    others = {Digits(**change).digest for change in changes}
    assert len(others | {digest}) == 6


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"imbalance_factor": 0.5}, "imbalance_factor 0.5: expected a number of at least 1"),
        ({"imbalance_factor": float("nan")}, "imbalance_factor nan: expected a number of at least 1"),
        ({"imbalance_factor": 125}, "imbalance_factor 125: expected at most 124, .* test_per_class 50"),
        ({"test_per_class": 0}, "test_per_class 0: expected 1 to 173, the smallest class has 174 images"),
        ({"test_per_class": 174}, "test_per_class 174: expected 1 to 173"),
        ({"many_above": 5, "few_below": 7}, "few_below 7, many_above 5: expected"),
        ({"few_below": -1}, "few_below -1"),
        ({"split_seed": -1}, "split_seed -1: expected 0 to"),
    ],
)
def test_impossible_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Digits(**params)


def test_every_class_has_a_training_image_at_the_largest_imbalance() -> None:
    assert Digits(imbalance_factor=124).class_counts.tolist()[-1] == 1
