from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from eqbench.losses.cross_entropy import CrossEntropy

from . import reference_softmax


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_equals_the_loops(background: bool, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    columns = 6 + background
    loss = CrossEntropy(num_classes=6, background=background, loss_weight=0.7)
    reference = reference_softmax.CrossEntropy(6, background=background, loss_weight=0.7)
    for _ in range(3):
        logits = (torch.randn(20, columns, dtype=dtype) * 3).requires_grad_()
        labels, weight = torch.randint(-1, columns, (20,)), torch.rand(20, dtype=dtype)
        value, gradient = reference.step(logits, labels, weight=weight, normalizer=7.0)
        ours = loss(logits, labels, weight=weight, normalizer=7.0)
        ours.backward()
        loss.commit()
        assert ours.item() == pytest.approx(value, rel=tolerance)
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad.double(), gradient, rtol=tolerance, atol=tolerance)
    assert loss.statistics.positive.tolist() == pytest.approx(reference.positive[:6], rel=tolerance)
    assert loss.statistics.negative.tolist() == pytest.approx(reference.negative[:6], rel=tolerance)
    if background:
        expected = [reference.positive[6], reference.negative[6]]
        assert loss.statistics.background.tolist() == pytest.approx(expected, rel=tolerance)
    else:
        assert loss.statistics.background is None


@pytest.mark.parametrize("pixels", [(), (5, 3)])
def test_equals_torch(pixels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 10, *pixels, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 10, (8, *pixels))
    ours = CrossEntropy(num_classes=10)(logits, labels)
    theirs = functional.cross_entropy(logits, labels, ignore_index=-1)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (ours, theirs)))


def test_confident_samples_keep_their_digits() -> None:
    """Where 1 - p rounds badly in float32, value and gradient of the label are exact all the same."""
    margins = torch.tensor([9.0, 14.0, 18.0, 30.0, 60.0])
    logits = torch.stack([margins, torch.zeros(5)], dim=1).requires_grad_()
    loss = CrossEntropy(num_classes=2)
    for row, margin in enumerate(margins.double()):
        value = loss(logits[row : row + 1], torch.tensor([0]))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == pytest.approx(torch.log1p((-margin).exp()).item(), rel=1e-6)
        assert gradient[row].tolist() == pytest.approx(
            [-torch.sigmoid(-margin).item(), torch.sigmoid(-margin).item()], rel=1e-6
        )


def test_half_precision_gradient_survives_a_large_normalizer() -> None:
    """What a GradScaler lifts may not have been rounded away before."""
    logits = torch.zeros(1, 1000, dtype=torch.float16, requires_grad=True)
    value = CrossEntropy(num_classes=1000)(logits, torch.tensor([0]), normalizer=1e5)
    (gradient,) = torch.autograd.grad(value * 2.0**16, logits)
    assert gradient[0, 1].item() == pytest.approx(2.0**16 / 1e5 / 1000, rel=1e-3)


def test_positive_and_negative_of_a_balanced_softmax_sum_alike() -> None:
    """The gradient of a softmax sums to 0 over the columns, so both sides have the same total."""
    torch.manual_seed(0)
    loss = CrossEntropy(num_classes=50)
    loss(torch.randn(400, 50, requires_grad=True), torch.randint(50, (400,)))
    loss.commit()
    statistics = loss.statistics
    assert statistics.positive.sum().item() == pytest.approx(statistics.negative.sum().item(), rel=1e-6)


def test_scores_leave_background_out() -> None:
    logits = torch.randn(3, 5)
    scores = CrossEntropy(num_classes=4, background=True).scores(logits)
    torch.testing.assert_close(scores, logits.softmax(1)[:, :4])
    with pytest.raises(ValueError, match=r"^logits: shape \(3, 4\): expected \(N, 5\)"):
        CrossEntropy(num_classes=4, background=True).scores(logits[:, :4])


def test_messages_name_argument_value_and_expectation() -> None:
    loss, logits = CrossEntropy(num_classes=3), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"^labels: 3: expected 0 to 2, or ignore_index -1$"):
        loss(logits, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"^labels: dtype torch.int32: expected torch.int64$"):
        loss(logits, torch.tensor([0, 1], dtype=torch.int32))
    with pytest.raises(ValueError, match=r"^weight: -1.0: expected >= 0$"):
        loss(logits, torch.tensor([0, 1]), weight=torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"^normalizer: 0: expected a finite number > 0$"):
        loss(logits, torch.tensor([0, 1]), normalizer=0)
    with pytest.raises(ValueError, match=r"^num_classes: '3': expected an integer >= 1$"):
        CrossEntropy(num_classes="3")
    with pytest.raises(ValueError, match=r"^ignore_index: 2: expected none of the labels 0..2$"):
        CrossEntropy(num_classes=3, ignore_index=2)
    with pytest.raises(ValueError, match=r"^loss_weight: nan: expected a finite number >= 0$"):
        CrossEntropy(num_classes=3, loss_weight=float("nan"))
