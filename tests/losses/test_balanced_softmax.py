from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from eqbench.losses.balanced_softmax import BalancedSoftmax
from eqbench.losses.cross_entropy import CrossEntropy

COUNTS = [1000, 200, 30, 4, 1]


def test_equals_cross_entropy_of_shifted_logits() -> None:
    torch.manual_seed(0)
    logits = torch.randn(12, 5, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 5, (12, 3, 2))
    ours = BalancedSoftmax(num_classes=5, class_counts=COUNTS)(logits, labels)
    shift = torch.tensor(COUNTS, dtype=torch.float64).log().view(5, 1, 1)
    theirs = functional.cross_entropy(logits + shift, labels, ignore_index=-1)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (ours, theirs)))


def test_at_equal_logits_a_sample_costs_the_surprise_of_its_class() -> None:
    logits = torch.zeros(1, 5)
    loss = BalancedSoftmax(num_classes=5, class_counts=COUNTS)
    for label, count in enumerate(COUNTS):
        expected = -torch.tensor(count / sum(COUNTS)).log().item()
        assert loss(logits, torch.tensor([label])).item() == pytest.approx(expected, rel=1e-6)


def test_equal_counts_are_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 5), torch.randint(5, (12,))
    balanced = BalancedSoftmax(num_classes=5, class_counts=[7] * 5)(logits, labels)
    torch.testing.assert_close(balanced, CrossEntropy(num_classes=5)(logits, labels))


def test_the_adjusted_optimum_is_the_balanced_classifier() -> None:
    """Where z is the logarithm of the balanced posterior, softmax(z + log n) is the posterior of the training data."""
    counts = torch.tensor([900.0, 100.0])
    likelihood = torch.tensor([[0.2, 0.6]])  # p(x | class) of one input
    logits = likelihood.log().requires_grad_()
    seen = (counts * likelihood)[0] / (counts * likelihood).sum()
    loss = BalancedSoftmax(num_classes=2, class_counts=counts)
    value = sum(share * loss(logits, torch.tensor([label])) for label, share in enumerate(seen))
    assert isinstance(value, torch.Tensor)
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.abs().max().item() < 1e-6


def test_a_class_without_samples_counts_as_if_it_had_one() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    none, one = (BalancedSoftmax(num_classes=3, class_counts=[9, 3, last])(logits, labels) for last in (0, 1))
    assert none.isfinite()
    assert torch.equal(none, one)


def test_inference_uses_the_logits_as_they_are() -> None:
    logits = torch.randn(4, 5)
    torch.testing.assert_close(BalancedSoftmax(num_classes=5, class_counts=COUNTS).scores(logits), logits.softmax(1))


def test_half_keeps_the_counts() -> None:
    logits, labels = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    loss = BalancedSoftmax(num_classes=2, class_counts=[1_418_594, 14])  # more than float16 can hold
    before = loss(logits, labels)
    assert torch.equal(loss.half()(logits, labels), before)
    assert "class_counts" not in loss.state_dict()


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="class_counts"):
        BalancedSoftmax(num_classes=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"^class_counts: shape \(3,\): expected .* 2 numbers, one per class$"):
        BalancedSoftmax(num_classes=2, class_counts=[1, 2, 3])
    with pytest.raises(ValueError, match=r"^class_counts: -1.0 for class 1"):
        BalancedSoftmax(num_classes=2, class_counts=[1, -1])
