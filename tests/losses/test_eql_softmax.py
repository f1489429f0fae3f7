from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eqbench.losses.eql_softmax import EQLSoftmax

FREQUENCY = [0.7, 0.2, 0.09, 0.001, 0.0005]
RARE = [3, 4]


def build(**params: Any) -> EQLSoftmax:
    return EQLSoftmax(**{"num_classes": 5, "class_frequency": FREQUENCY, **params})


def samples(count: int = 20) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, 5, dtype=torch.float64, requires_grad=True), torch.arange(count) % 5


def test_certain_masks_leave_rare_classes_out_of_other_samples() -> None:
    logits, labels = samples()
    left_out = torch.zeros(20, 5, dtype=torch.bool)
    left_out[:, RARE] = True
    left_out[torch.arange(20), labels] = False
    values = (
        build(keep_probability=1.0)(logits, labels),
        functional.cross_entropy(logits.masked_fill(left_out, -torch.inf), labels),
    )
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))


@pytest.mark.parametrize("params", [{"keep_probability": 0.0}, {"lambda_": 0.0}, {"lambda_": 0.0005}])
def test_without_rare_classes_or_masks_it_is_cross_entropy(params: dict[str, Any]) -> None:
    """A class at the threshold is not rare."""
    logits, labels = samples()
    torch.testing.assert_close(build(**params)(logits, labels), functional.cross_entropy(logits, labels))


def test_a_rare_class_is_left_out_as_often_as_said_in_each_sample_for_itself() -> None:
    torch.manual_seed(0)
    loss, logits = build(keep_probability=0.8), torch.zeros(4000, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logits, torch.zeros(4000, dtype=torch.int64)), logits)
    left_out = gradient[:, RARE] == 0
    assert left_out.double().mean(0).tolist() == pytest.approx([0.8, 0.8], abs=0.03)
    assert left_out.all(1).double().mean().item() == pytest.approx(0.64, abs=0.03)
    assert (gradient[:, :3] != 0).all()


def test_every_call_draws_anew_and_a_seed_repeats_it() -> None:
    loss = build(keep_probability=0.5)
    logits, labels = samples(200)
    torch.manual_seed(1)
    first, second = loss(logits, labels), loss(logits, labels)
    torch.manual_seed(1)
    assert torch.equal(loss(logits, labels), first)
    assert not torch.equal(second, first)


def test_only_what_draws_is_random() -> None:
    random = {probability: build(keep_probability=probability).random for probability in (0.0, 0.5, 1.0)}
    assert random == {0.0: False, 0.5: True, 1.0: False}


def test_a_rare_class_is_discouraged_less() -> None:
    """Its positive gradients stay, its negative ones shrink to a tenth."""
    torch.manual_seed(0)
    loss, plain = build(), build(keep_probability=0.0)
    logits, labels = torch.zeros(5000, 5, requires_grad=True), torch.arange(5000) % 5
    for each in (loss, plain):
        each(logits, labels)
        each.commit()
    kept = loss.statistics.negative / plain.statistics.negative
    assert kept[RARE].tolist() == pytest.approx([0.1, 0.1], abs=0.05)
    assert (kept[:3] > 1).all()


def test_pixels_have_masks_of_their_own() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(2, 5, 30, 30, requires_grad=True)
    (gradient,) = torch.autograd.grad(build()(logits, torch.zeros(2, 30, 30, dtype=torch.int64)), logits)
    share = (gradient[:, RARE] == 0).double().mean((2, 3))
    assert share.flatten().tolist() == pytest.approx([0.9] * 4, abs=0.05)


def test_inference_uses_the_logits_as_they_are() -> None:
    logits, _ = samples()
    torch.testing.assert_close(build().scores(logits), logits.softmax(1))


def test_half_keeps_the_frequencies() -> None:
    loss = EQLSoftmax(num_classes=2, class_frequency=[1e-9, 2e-9], lambda_=1.5e-9, keep_probability=1.0).half()
    logits = torch.zeros(2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0, 1])), logits)
    assert gradient.ne(0).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lambda_": -1e-3}, "lambda_: -0.001: expected a finite number >= 0"),
        ({"keep_probability": 1.1}, "keep_probability: 1.1: expected a finite number >= 0 and <= 1"),
        ({"keep_probability": -0.1}, "keep_probability: -0.1: expected a finite number >= 0 and <= 1"),
        ({"class_frequency": [0.5]}, r"class_frequency: shape \(1,\): expected .* 5 numbers, one per class"),
    ],
)
def test_hyper_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(**params)


def test_hyper_parameters_are_shown() -> None:
    assert "lambda_=0.00177, keep_probability=0.9" in repr(build())
