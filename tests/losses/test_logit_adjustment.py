from __future__ import annotations

import math

import pytest
import torch

from eqbench.losses.balanced_softmax import BalancedSoftmax
from eqbench.losses.cross_entropy import CrossEntropy
from eqbench.losses.logit_adjustment import LogitAdjustment

COUNTS = [1000, 200, 30, 4, 0]


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(20, 5, requires_grad=True), torch.randint(5, (20,))


def test_tau_one_is_balanced_softmax() -> None:
    logits, labels = samples()
    adjusted = LogitAdjustment(num_classes=5, class_counts=COUNTS)(logits, labels)
    balanced = BalancedSoftmax(num_classes=5, class_counts=COUNTS)(logits, labels)
    torch.testing.assert_close(adjusted, balanced)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (adjusted, balanced)))


def test_tau_zero_is_cross_entropy() -> None:
    logits, labels = samples()
    adjusted = LogitAdjustment(num_classes=5, class_counts=COUNTS, tau=0.0)(logits, labels)
    torch.testing.assert_close(adjusted, CrossEntropy(num_classes=5)(logits, labels))


def test_only_ratios_of_counts_matter() -> None:
    logits, labels = samples()
    small, large = (
        LogitAdjustment(num_classes=5, class_counts=[factor * count for count in (9, 7, 5, 3, 1)])(logits, labels)
        for factor in (1, 1000)
    )
    torch.testing.assert_close(small, large)


def test_the_margin_of_a_pair_grows_with_the_ratio_of_their_counts() -> None:
    """The loss of two classes is log(1 + e^{-(margin)}) with the margin short by tau log(n_other / n_own)."""
    for tau in (0.5, 1.0, 2.0):
        loss = LogitAdjustment(num_classes=2, class_counts=[300, 3], tau=tau)
        value = loss(torch.tensor([[0.0, 4.0]]), torch.tensor([1]))
        assert value.item() == pytest.approx(math.log1p(math.exp(-4.0 + tau * math.log(100))), rel=1e-5)


def test_prior_sums_to_one() -> None:
    loss = LogitAdjustment(num_classes=5, class_counts=COUNTS)
    assert loss.adjustment().exp().sum().item() == pytest.approx(1.0)
    assert loss.adjustment().exp().tolist() == pytest.approx([n / 1235 for n in (1000, 200, 30, 4, 1)])


def test_inference_uses_the_logits_as_they_are() -> None:
    logits, _ = samples()
    torch.testing.assert_close(LogitAdjustment(num_classes=5, class_counts=COUNTS).scores(logits), logits.softmax(1))


def test_hyper_parameters_are_checked_and_shown() -> None:
    with pytest.raises(ValueError, match=r"^tau: -0.5: expected a finite number >= 0$"):
        LogitAdjustment(num_classes=2, class_counts=[1, 2], tau=-0.5)
    with pytest.raises(ValueError, match=r"^class_counts: shape \(1,\)"):
        LogitAdjustment(num_classes=2, class_counts=[1])
    assert "tau=0.5" in repr(LogitAdjustment(num_classes=2, class_counts=[1, 2], tau=0.5))
