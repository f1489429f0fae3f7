from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eqbench.losses.class_counts import effective_number_weights
from eqbench.losses.ldam import LDAM

COUNTS = [1600, 100, 0, 1]


def cosines(count: int = 12) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits = torch.rand(count, 4, dtype=torch.float64) * 2 - 1
    return logits.requires_grad_(), torch.arange(count) % 4


def expected(loss: LDAM, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    one_hot = functional.one_hot(labels, 4)
    return functional.cross_entropy(loss.scale * (logits - one_hot * loss.margins), labels, weight=weight)


def test_the_rarest_class_has_the_largest_margin() -> None:
    loss = LDAM(num_classes=4, class_counts=COUNTS, max_margin=0.6)
    assert loss.margins.tolist() == pytest.approx([0.6 / 1600**0.25, 0.6 / 100**0.25, 0.6, 0.6])


def test_value_and_gradient_are_those_of_the_shifted_logits() -> None:
    logits, labels = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, scale=20.0)
    values = loss(logits, labels), expected(loss, logits, labels)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))


def test_without_margin_it_is_cross_entropy_at_a_temperature() -> None:
    logits, labels = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, max_margin=0.0, scale=5.0)
    torch.testing.assert_close(loss(logits, labels), functional.cross_entropy(5.0 * logits, labels))


def test_a_sample_on_its_margin_is_undecided() -> None:
    """Two classes: where z_y exceeds the other by exactly m_y, the loss is log 2."""
    loss = LDAM(num_classes=2, class_counts=[81, 1], max_margin=0.3)
    value = loss(torch.tensor([[0.1, 0.0], [0.0, 0.3]]), torch.tensor([0, 1]))
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("deferred_steps", [0, 2])
def test_reweighting_is_deferred(deferred_steps: int) -> None:
    """And then value and gradient are those of torch's weighted mean."""
    logits, labels = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=deferred_steps, beta=0.99)
    weight = effective_number_weights(torch.tensor(COUNTS), 0.99)
    for step in range(4):
        values = loss(logits, labels), expected(loss, logits, labels, weight if step >= deferred_steps else None)
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))
        loss.commit()


def test_reweighting_of_frequent_classes_alone_keeps_the_mean() -> None:
    """Their weights sum to less than 1; torch's mean divides by the sum all the same."""
    loss = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=0)
    assert loss.deferred_weights[0] < 0.5
    logits, labels = cosines()[0][:2], torch.tensor([0, 0])
    torch.testing.assert_close(loss(logits, labels), expected(loss, logits, labels))


def test_over_the_training_samples_weights_have_a_mean_of_one() -> None:
    """So that dividing by the number of samples trains on average as dividing by the sum of weights."""
    counts = torch.tensor(COUNTS).clamp(min=1).double()
    loss = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=0)
    assert ((counts * loss.deferred_weights).sum() / counts.sum()).item() == pytest.approx(1.0)


def test_ignored_samples_are_not_in_the_normalizer() -> None:
    logits, labels = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=0, ignore_index=9)
    some = torch.arange(12) < 5
    kept = loss(logits[~some], labels[~some])
    torch.testing.assert_close(loss(logits, labels.masked_fill(some, 9)), kept)
    assert loss(logits, torch.full_like(labels, 9)).item() == 0


def test_skipped_steps_count_and_a_resumed_run_goes_on_counting() -> None:
    logits, labels = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=2)
    loss(logits, labels)
    loss.commit()
    loss((logits.detach() * torch.nan).requires_grad_(), labels)
    loss.commit()
    assert (int(loss.statistics.committed_steps), int(loss.statistics.skipped_steps)) == (1, 1)
    resumed = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=2)
    before = resumed(logits, labels)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed(logits, labels), loss(logits, labels))
    assert not torch.isclose(resumed(logits, labels), before)


def test_scores_are_at_the_temperature_of_training() -> None:
    logits, _ = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, scale=16.0)
    torch.testing.assert_close(loss.scores(logits), (16.0 * logits).softmax(1))
    assert loss.scores(logits.bfloat16()).dtype == torch.float32


def test_half_keeps_margins_and_weights() -> None:
    logits, labels = cosines()
    loss = LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=0)
    before = loss(logits, labels)
    assert torch.equal(loss.half()(logits, labels), before)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_margin": -0.1}, "max_margin: -0.1: expected a finite number >= 0"),
        ({"scale": 0}, "scale: 0: expected a finite number > 0"),
        ({"deferred_steps": -1}, "deferred_steps: -1: expected an integer >= 0"),
        ({"deferred_steps": 1.5}, "deferred_steps: 1.5: expected an integer >= 0"),
        ({"beta": 1.0}, "beta: 1.0: expected a finite number >= 0 and < 1"),
        ({"beta": -0.5}, "beta: -0.5: expected a finite number >= 0 and < 1"),
        ({"class_counts": [1, 2]}, r"class_counts: shape \(2,\): expected .* 4 numbers, one per class"),
    ],
)
def test_hyper_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        LDAM(**{"num_classes": 4, "class_counts": COUNTS, **params})


def test_hyper_parameters_are_shown() -> None:
    shown = repr(LDAM(num_classes=4, class_counts=COUNTS, deferred_steps=7))
    assert "max_margin=0.5, scale=30.0, deferred_steps=7, beta=0.9999" in shown
