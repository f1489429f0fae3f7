from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eqbench.losses.cross_entropy import CrossEntropy
from eqbench.losses.softmax_eql import Indicator, SoftmaxEQL

from . import reference_softmax


def batches(columns: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """Four batches with a long tail: label j about half as often as label j - 1."""
    torch.manual_seed(0)
    probabilities = 0.5 ** torch.arange(columns)
    return [
        (
            torch.randn(20, columns, dtype=dtype, requires_grad=True),
            torch.multinomial(probabilities, 20, replacement=True),
        )
        for _ in range(4)
    ]


@pytest.mark.parametrize("indicator", ["positive", "negative", "both"])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-6)])
def test_equals_the_loops(
    indicator: Indicator, background: bool, tau: float, dtype: torch.dtype, tolerance: float
) -> None:
    columns = 6 + background
    loss = SoftmaxEQL(num_classes=6, background=background, tau=tau, eps=1e-3, indicator=indicator, loss_weight=2.0)
    reference = reference_softmax.SoftmaxEQL(
        6, background=background, tau=tau, eps=1e-3, indicator=indicator, loss_weight=2.0
    )
    for logits, labels in batches(columns, dtype):
        value, gradient = reference.step(logits, labels)
        ours = loss(logits, labels)
        ours.backward()
        loss.commit()
        assert ours.item() == pytest.approx(value, rel=tolerance)
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad.double(), gradient, rtol=tolerance, atol=tolerance)
        assert loss.statistics.positive.tolist() == pytest.approx(reference.positive[:6], rel=tolerance)
        assert loss.statistics.negative.tolist() == pytest.approx(reference.negative[:6], rel=tolerance)


def test_first_step_is_cross_entropy() -> None:
    (logits, labels), *_ = batches(6)
    torch.testing.assert_close(SoftmaxEQL(num_classes=6)(logits, labels), functional.cross_entropy(logits, labels))


def test_without_exponent_it_stays_cross_entropy() -> None:
    loss, plain = SoftmaxEQL(num_classes=6, tau=0.0), CrossEntropy(num_classes=6)
    for logits, labels in batches(6):
        assert torch.equal(loss(logits, labels), plain(logits, labels))
        loss.commit()
        plain.commit()
    assert torch.equal(loss.statistics.positive, plain.statistics.positive)


def test_equals_logit_adjustment_with_the_accumulated_prior() -> None:
    loss = SoftmaxEQL(num_classes=6, tau=1.5)
    for logits, labels in batches(6):
        prior = loss.statistics.positive.clamp(min=1e-4) / loss.statistics.positive.clamp(min=1e-4).sum()
        adjusted = functional.cross_entropy(logits + 1.5 * prior.log().float(), labels)
        torch.testing.assert_close(loss(logits, labels), adjusted)
        loss.commit()


def test_a_frequent_class_pushes_a_rare_one_less() -> None:
    """After evidence for class 0 alone, a sample of class 0 hardly pushes class 1 down, and the reverse more."""
    loss = SoftmaxEQL(num_classes=2)
    loss(torch.zeros(8, 2, requires_grad=True), torch.zeros(8, dtype=torch.int64))
    loss.commit()
    assert loss.statistics.positive.tolist() == [0.5, 0.0]
    logits = torch.zeros(2, 2, requires_grad=True)
    loss(logits, torch.tensor([0, 1]), normalizer=1).backward()
    assert logits.grad is not None
    m = 1e-4 / 0.5
    assert logits.grad[0, 1].item() == pytest.approx(m / (1 + m), rel=1e-5)
    assert logits.grad[1, 0].item() == pytest.approx(1 / (1 + m), rel=1e-5)


def test_background_has_an_indicator_of_its_own() -> None:
    loss = SoftmaxEQL(num_classes=2, background=True)
    loss(torch.zeros(9, 3, requires_grad=True), torch.full((9,), 2))
    loss.commit()
    assert loss.statistics.positive.tolist() == [0.0, 0.0]
    assert loss.statistics.negative.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert loss.statistics.background.tolist() == pytest.approx([2 / 3, 0.0])
    assert loss.adjustment().exp().tolist() == pytest.approx([1e-4, 1e-4, 2 / 3])


def test_inference_uses_the_logits_as_they_are() -> None:
    loss = SoftmaxEQL(num_classes=6)
    logits, labels = batches(6)[0]
    loss(logits, labels)
    loss.commit()
    torch.testing.assert_close(loss.scores(logits), logits.softmax(1))


def test_hyper_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^tau: -1: expected a finite number >= 0$"):
        SoftmaxEQL(num_classes=2, tau=-1)
    with pytest.raises(ValueError, match=r"^eps: 0.0: expected a finite number > 0$"):
        SoftmaxEQL(num_classes=2, eps=0.0)
    with pytest.raises(ValueError, match=r"^indicator: 'postive': expected one of .*; did you mean 'positive'\?$"):
        SoftmaxEQL(num_classes=2, indicator="postive")
