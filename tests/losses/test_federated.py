from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from eqbench.losses.bce import BinaryCrossEntropy
from eqbench.losses.federated import Federated

FREQUENCY = [0.4, 0.3, 0.2, 0.1, 0.05, 0.0]


def build(**params: Any) -> Federated:
    return Federated(**{"num_classes": 6, "class_frequency": FREQUENCY, "num_sampled": 3, **params})


def counted(loss: Federated, labels: list[int], **options: Any) -> list[bool]:
    """Columns that have a gradient in one call."""
    logits = torch.zeros(len(labels), 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logits, torch.tensor(labels), **options), logits)
    columns: list[bool] = gradient.any(0).tolist()
    return columns


def test_what_occurs_is_filled_up_to_the_number() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        columns = counted(build(), [2, 2, 6, -1])
        assert columns[2]
        assert sum(columns) == 3


def test_all_samples_count_the_same_columns() -> None:
    logits = torch.zeros(4, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(build()(logits, torch.tensor([0, 1, 6, 0])), logits)
    assert (gradient.ne(0) == gradient.any(0)).all()


def test_more_than_the_number_may_occur() -> None:
    assert counted(build(num_sampled=1), [0, 3, 5, 3]) == [True, False, False, True, False, True]


def test_ignored_samples_and_background_are_no_occurrence() -> None:
    torch.manual_seed(0)
    loss = build(num_sampled=1, class_frequency=[0, 0, 0, 0, 1, 0])
    assert counted(loss, [-1, 6, 6]) == [False] * 4 + [True, False]


def test_a_class_of_frequency_zero_is_not_drawn_but_may_occur() -> None:
    for power in (0.0, 0.5):
        for seed in range(20):
            torch.manual_seed(seed)
            assert not counted(build(num_sampled=5, power=power), [0])[5]
    assert counted(build(num_sampled=2, class_frequency=[0] * 6), [5]) == [False] * 5 + [True]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_first_draw_is_proportional_to_the_power_of_the_frequency(power: float) -> None:
    torch.manual_seed(0)
    loss = build(num_sampled=1, power=power)
    drawn = torch.stack([torch.tensor(counted(loss, [6])) for _ in range(1000)]).double().mean(0)
    weights = torch.tensor([f**power if f else 0.0 for f in FREQUENCY])
    assert drawn.tolist() == pytest.approx((weights / weights.sum()).tolist(), abs=0.05)


def test_further_draws_are_without_replacement() -> None:
    """As often both of two classes as torch.multinomial draws them."""
    torch.manual_seed(0)
    loss = build(num_sampled=2, power=1.0)
    pairs = torch.stack([torch.tensor(counted(loss, [6])) for _ in range(1000)])
    wanted = torch.multinomial(torch.tensor(FREQUENCY).expand(3000, 6), 2)
    together = ((wanted == 0).any(1) & (wanted == 1).any(1)).double().mean().item()
    assert (pairs[:, 0] & pairs[:, 1]).double().mean().item() == pytest.approx(together, abs=0.05)
    assert (pairs.sum(1) == 2).all()


def test_columns_that_count_are_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 6, dtype=torch.float64, requires_grad=True), torch.arange(8) % 7
    loss, plain = build(num_sampled=6), BinaryCrossEntropy(num_classes=6)
    assert not loss.random
    torch.testing.assert_close(loss(logits, labels), plain(logits, labels))
    loss = build()
    few = labels.clamp(max=1)
    (gradient,) = torch.autograd.grad(loss(logits, few), logits)
    (full,) = torch.autograd.grad(plain(logits, few), logits)
    torch.testing.assert_close(gradient, full * gradient.any(0))
    assert gradient.any(0).sum() == 3


def given(logits: Tensor, labels: list[int], negatives: list[list[int]], **params: Any) -> Tensor:
    loss = build(**params)
    value = loss(logits, torch.tensor(labels), negatives=torch.tensor(negatives, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(value, logits)
    return gradient


@pytest.mark.parametrize("num_sampled", [3, 50])
def test_negatives_say_what_counts_for_each_sample(num_sampled: int) -> None:
    logits = torch.zeros(3, 6, requires_grad=True)
    absent = [[0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
    gradient = given(logits, [0, 0, 6], absent, num_sampled=num_sampled)
    # The second sample's own class is marked absent; it is its label all the same.
    wanted = [[-0.5, 0.5, 0, 0, 0, 0.5], [-0.5, 0, 0, 0, 0, 0], [0, 0, 0, 0.5, 0, 0]]
    torch.testing.assert_close(gradient, torch.tensor(wanted) / 3)


def test_negatives_leave_nothing_to_chance() -> None:
    loss, logits = build(), torch.randn(5, 6)
    state = torch.get_rng_state()
    loss(logits, torch.arange(5), negatives=torch.zeros(5, 6, dtype=torch.bool))
    assert torch.equal(torch.get_rng_state(), state)


def test_negatives_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^negatives: shape \(5, 5\): expected \(5, 6\)"):
        build()(torch.zeros(5, 6), torch.arange(5), negatives=torch.zeros(5, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^negatives: dtype torch.float32: expected torch.bool"):
        build()(torch.zeros(5, 6), torch.arange(5), negatives=torch.zeros(5, 6))


def test_a_seed_repeats_the_draw() -> None:
    loss, logits, labels = build(), torch.randn(4, 6), torch.tensor([0, 6, 6, 0])
    values = []
    for seed in (3, 3, 4, 5, 6):
        torch.manual_seed(seed)
        values.append(loss(logits, labels).item())
    assert values[0] == values[1]
    assert len(set(values)) > 1


def test_scores_are_sigmoids() -> None:
    logits = torch.randn(3, 6, 2, 2)
    torch.testing.assert_close(build().scores(logits), logits.sigmoid())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_sampled": 0}, "num_sampled: 0: expected an integer >= 1"),
        ({"num_sampled": 2.0}, "num_sampled: 2.0: expected an integer >= 1"),
        ({"power": -1.0}, "power: -1.0: expected a finite number >= 0"),
        ({"class_frequency": [0.5] * 5}, r"class_frequency: shape \(5,\): expected .* 6 numbers, one per class"),
    ],
)
def test_hyper_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(**params)


def test_hyper_parameters_are_shown() -> None:
    assert "num_sampled=3, power=0.5" in repr(build())
