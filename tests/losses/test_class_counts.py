from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from eqbench.losses.class_counts import check_per_class, effective_number_weights
from eqbench.losses.exact_buffers import ExactBuffers


@pytest.mark.parametrize(
    "values", [[3, 0, 2], (3.0, 0.0, 2.0), np.array([3, 0, 2]), torch.tensor([3, 0, 2]), torch.tensor([3.0, 0.0, 2.0])]
)
def test_numbers_of_any_kind_become_float64(values: Any) -> None:
    numbers = check_per_class("class_counts", values, 3)
    assert numbers.dtype == torch.float64
    assert numbers.tolist() == [3.0, 0.0, 2.0]


def test_what_is_given_is_copied() -> None:
    given = torch.ones(2, dtype=torch.float64)
    numbers = check_per_class("class_counts", given, 2)
    given[0] = 5
    assert numbers.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], r"class_counts: shape \(2,\): expected a tensor or a sequence of 3 numbers, one per class"),
        (torch.ones(3, 1), r"class_counts: shape \(3, 1\): expected"),
        (7, r"class_counts: shape \(\): expected"),
        ("abc", r"class_counts: 'abc': expected"),
        (None, r"class_counts: None: expected"),
        ([1, [2], 3], r"class_counts: \[1, \[2\], 3\]: expected"),
        (torch.ones(3, dtype=torch.bool), r"class_counts: dtype torch.bool: expected"),
        ([1, 2, -3], r"class_counts: -3.0 for class 2: expected a finite number >= 0"),
        ([1, float("nan"), 3], r"class_counts: nan for class 1: expected"),
        ([float("inf"), 2, 3], r"class_counts: inf for class 0: expected"),
    ],
)
def test_errors_name_argument_value_and_expectation(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        check_per_class("class_counts", values, 3)


def test_weights_go_from_equal_to_inverse_counts() -> None:
    counts = torch.tensor([1000.0, 100.0, 10.0, 1.0])
    assert effective_number_weights(counts, 0.0).tolist() == [1.0] * 4
    inverse = 4 * (1 / counts.double()) / (1 / counts.double()).sum()
    torch.testing.assert_close(effective_number_weights(counts, 1 - 1e-9), inverse, rtol=1e-5, atol=0)
    torch.testing.assert_close(effective_number_weights(counts, 1 - 2.0**-52), inverse, rtol=1e-9, atol=0)


def test_weights_equal_the_formula_and_have_mean_one() -> None:
    counts, beta = [5000, 300, 20, 2], 0.9999
    raw = [(1 - beta) / (1 - beta**count) for count in counts]
    weights = effective_number_weights(torch.tensor(counts), beta)
    assert weights.tolist() == pytest.approx([4 * weight / sum(raw) for weight in raw], rel=1e-9)
    assert weights.mean().item() == pytest.approx(1.0, rel=1e-12)


def test_a_class_without_samples_counts_as_if_it_had_one() -> None:
    with_none = effective_number_weights(torch.tensor([50, 0]), 0.99)
    assert torch.equal(with_none, effective_number_weights(torch.tensor([50, 1]), 0.99))


class WithBuffers(ExactBuffers):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("third", torch.tensor([1 / 3], dtype=torch.float64), persistent=False)
        self.register_buffer("absent", None)
        self.register_buffer("places", torch.tensor([2]), persistent=False)


def test_casts_of_the_module_keep_the_digits_of_its_buffers() -> None:
    module = WithBuffers()
    for cast in (torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.float):
        cast(module)
        assert module.third.dtype == torch.float64
        assert module.third.item() == 1 / 3
        assert module.places.dtype == torch.int64
    assert module.to("meta").third.device.type == "meta"
    assert not WithBuffers().state_dict()
