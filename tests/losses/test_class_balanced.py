from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eqbench.losses.bce import BinaryCrossEntropy
from eqbench.losses.class_balanced import ClassBalanced, Form
from eqbench.losses.cross_entropy import CrossEntropy
from eqbench.losses.focal import Focal

COUNTS = [5000, 300, 20, 2]


def samples() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(16, 4, dtype=torch.float64, requires_grad=True), torch.arange(16) % 4


def plain(form: str) -> torch.nn.Module:
    if form == "softmax":
        return CrossEntropy(num_classes=4)
    return BinaryCrossEntropy(num_classes=4) if form == "sigmoid" else Focal(num_classes=4, gamma=1.5, alpha=None)


def build(form: Any, **params: Any) -> ClassBalanced:
    return ClassBalanced(**{"num_classes": 4, "class_counts": COUNTS, "form": form, "gamma": 1.5, **params})


@pytest.mark.parametrize("form", get_args(Form))
def test_is_the_plain_loss_with_the_weight_of_the_class(form: str) -> None:
    logits, labels = samples()
    loss = build(form, beta=0.99)
    weighted = plain(form)(logits, labels, weight=loss.class_weights[labels])
    values = loss(logits, labels), weighted
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("params", [{"beta": 0.0}, {"class_counts": [9] * 4}])
def test_without_imbalance_or_beta_it_is_the_plain_loss(form: str, params: dict[str, Any]) -> None:
    logits, labels = samples()
    torch.testing.assert_close(build(form, **params)(logits, labels), plain(form)(logits, labels))


def test_the_normalizer_is_the_number_of_samples_not_the_sum_of_weights() -> None:
    logits, labels = samples()
    loss = build("softmax")
    each = functional.cross_entropy(logits, labels, reduction="none") * loss.class_weights[labels]
    torch.testing.assert_close(loss(logits, labels), each.mean())


def test_weights_of_samples_multiply() -> None:
    logits, labels = samples()
    weight = torch.linspace(0, 2, 16, dtype=torch.float64)
    loss = build("softmax")
    each = functional.cross_entropy(logits, labels, reduction="none") * loss.class_weights[labels] * weight
    torch.testing.assert_close(loss(logits, labels, weight=weight), each.mean())


def test_classes_of_a_balanced_epoch_get_equal_gradients_near_beta_one() -> None:
    """Weighted by the inverse count, all samples of a class together weigh the same for every class."""
    counts = [8, 4, 2]
    loss = ClassBalanced(num_classes=3, class_counts=counts, beta=1 - 1e-9)
    loss(torch.zeros(14, 3, requires_grad=True), torch.repeat_interleave(torch.arange(3), torch.tensor(counts)))
    loss.commit()
    positive = loss.statistics.positive
    assert positive.tolist() == pytest.approx([positive[0].item()] * 3, rel=1e-5)


def test_scores_are_those_of_the_form() -> None:
    logits, _ = samples()
    torch.testing.assert_close(build("softmax").scores(logits), logits.softmax(1))
    for form in ("sigmoid", "focal"):
        torch.testing.assert_close(build(form).scores(logits), logits.sigmoid())


def test_there_is_no_background() -> None:
    with pytest.raises(ValueError, match=r"^labels: 4: expected 0 to 3, or ignore_index -1$"):
        build("sigmoid")(torch.zeros(1, 4), torch.tensor([4]))


def test_half_keeps_the_weights() -> None:
    logits, labels = samples()
    loss = build("focal")
    before = loss(logits, labels)
    assert torch.equal(loss.half()(logits, labels), before)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"form": "sofmax"}, r"form: 'sofmax': expected one of .*; did you mean 'softmax'\?"),
        ({"beta": 1}, "beta: 1: expected a finite number >= 0 and < 1"),
        ({"gamma": -1.0}, "gamma: -1.0: expected a finite number >= 0"),
        (
            {"class_counts": [1.0, float("nan"), 1.0, 1.0]},
            "class_counts: nan for class 1: expected a finite number >= 0",
        ),
    ],
)
def test_hyper_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(**{"form": "softmax", **params})


def test_hyper_parameters_are_shown() -> None:
    assert "beta=0.9999, form='focal', gamma=1.5" in repr(build("focal"))
