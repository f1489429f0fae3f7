from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eqbench.losses.group_softmax import GroupSoftmax

COUNTS = [1000, 999, 100, 99, 10, 9, 0]
GROUPS = [[0], [1, 2], [3, 4], [5, 6]]
"""Of the default boundaries, most samples first."""


def build(**params: Any) -> GroupSoftmax:
    return GroupSoftmax(**{"num_classes": 7, "class_counts": COUNTS, **params})


def test_boundaries_belong_to_the_group_above() -> None:
    loss = build()
    columns = [index.tolist() for index in loss.groups()]
    assert columns == [[5, 6, 7], [3, 4, 8], [1, 2, 9], [0, 10]]
    assert loss.columns == 7 + 4


def test_empty_groups_are_dropped() -> None:
    loss = GroupSoftmax(num_classes=3, class_counts=[5000, 3, 4])
    assert [index.tolist() for index in loss.groups()] == [[1, 2, 3], [0, 4]]
    assert GroupSoftmax(num_classes=3, class_counts=[5, 3, 4], boundaries=()).columns == 4


@pytest.mark.parametrize("background", [False, True])
def test_first_step_is_the_sum_of_the_groups_cross_entropies(background: bool) -> None:
    torch.manual_seed(0)
    loss = build(background=background)
    logits = torch.randn(16, loss.columns, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(16) % (7 + background)
    expected = torch.zeros((), dtype=torch.float64)
    for others, classes in zip([10, 9, 8, 7], GROUPS, strict=True):
        local = torch.tensor([classes.index(y) if y in classes else len(classes) for y in labels.tolist()])
        expected = expected + functional.cross_entropy(logits[:, [*classes, others]], local)
    if background:
        expected = expected + functional.cross_entropy(logits[:, -2:], (labels == 7).long())
    values = loss(logits, labels), expected
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))


def test_others_weigh_by_the_counts_of_steps_before() -> None:
    """Committed: 8 samples of group [1000, inf), 2 of [100, 1000), 10 of background, one of them of weight 2."""
    loss = build(background=True, others_ratio=3.0)
    assert loss.others_weights().tolist() == [1.0] * 4
    labels = torch.tensor([0] * 8 + [1, 2] + [7] * 9)
    weight = torch.ones(19)
    weight[-1] = 2.0
    loss(torch.zeros(19, loss.columns, requires_grad=True), labels, weight=weight)
    assert loss.others_weights().tolist() == [1.0] * 4
    loss.commit()
    assert loss.others_weights().tolist() == pytest.approx([0.0, 0.0, 3 * 2 / 18, 1.0])
    # Kept: at least 4 = 1 + 3 of the one step, of 20; 2 + 6 of the third group; all of the last.
    assert loss.group_weights().tolist() == pytest.approx([20 / 4, 20 / 4, 20 / 8, 1.0])


def test_where_all_samples_are_of_one_group_its_others_weigh_one() -> None:
    loss = build(others_ratio=0.5)
    loss(torch.zeros(4, loss.columns, requires_grad=True), torch.zeros(4, dtype=torch.int64))
    loss.commit()
    assert loss.others_weights().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_the_weight_of_others_multiplies_value_and_gradient() -> None:
    loss = GroupSoftmax(num_classes=2, class_counts=[1000, 5], others_ratio=0.25)  # columns: 2 classes, rare, frequent
    logits = torch.zeros(4, 4, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1])
    # After the first step the rare group keeps 1 + 0.25 of 4 samples, the frequent one 3 + 0.75.
    for rare, frequent, (a, b) in ((1.0, 1.0, (1.0, 1.0)), (0.25 / 3, 0.25 * 3, (4 / 1.25, 4 / 3.75))):
        value = loss(logits, labels, normalizer=1)
        assert value.item() == pytest.approx((3 * b + a + 3 * rare * a + frequent * b) * math.log(2), rel=1e-6)
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient[0].tolist() == pytest.approx([-0.5 * b, 0.5 * rare * a, -0.5 * rare * a, 0.5 * b])
        assert gradient[3].tolist() == pytest.approx([0.5 * frequent * b, -0.5 * a, 0.5 * a, -0.5 * frequent * b])
        loss.commit()


def test_frequent_and_rare_classes_do_not_compete() -> None:
    """However large the logit of a frequent class, a sample of a rare class is as well off."""
    loss = build()
    logits = torch.zeros(1, loss.columns)
    values = [loss(logits.index_fill(1, torch.tensor([0]), z), torch.tensor([5]), normalizer=1) for z in (0.0, 3.0)]
    of_others = functional.cross_entropy(torch.tensor([[3.0, 0.0]]), torch.tensor([1])) - math.log(2)
    torch.testing.assert_close(values[1] - values[0], of_others)


def test_statistics_are_of_classes_and_background() -> None:
    loss = build(background=True)
    loss(torch.zeros(6, loss.columns, requires_grad=True), torch.tensor([0, 7, 7, 7, 5, 6]))
    loss.commit()
    statistics = loss.statistics
    assert statistics.positive.tolist() == pytest.approx([0.5 / 6, 0, 0, 0, 0, 2 / 18, 2 / 18])
    assert statistics.negative.tolist() == pytest.approx([2.5 / 6, *[2 / 6] * 4, 5 / 18, 5 / 18])
    assert statistics.background.tolist() == pytest.approx([1.5 / 6, 1.5 / 6])
    assert statistics.samples.tolist() == [1, 0, 0, 0, 0, 1, 1, 3]
    assert build().statistics.background is None


def test_scores_are_probabilities_within_groups_times_object() -> None:
    torch.manual_seed(0)
    loss = build(background=True)
    logits = torch.randn(5, loss.columns, 2, 3, dtype=torch.float64)
    scores = loss.scores(logits)
    for others, classes in zip([10, 9, 8, 7], GROUPS, strict=True):
        within = logits[:, [*classes, others]].softmax(1)[:, :-1]
        torch.testing.assert_close(scores[:, classes], within * logits[:, -2:].softmax(1)[:, :1])
    torch.testing.assert_close(build().scores(logits[:, :-2]) * logits[:, -2:].softmax(1)[:, :1], scores)


def test_state_carries_the_counts_that_weights_depend_on() -> None:
    torch.manual_seed(0)
    loss, resumed = build(), build()
    logits, labels = torch.randn(20, loss.columns, requires_grad=True), torch.arange(20) % 7
    loss(logits, labels)
    loss.commit()
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed.others_weights(), loss.others_weights())
    assert set(loss.state_dict()) == {f"statistics.{name}" for name in loss.statistics.state_dict()}
    assert torch.equal(resumed.half()(logits, labels), loss(logits, labels))


def gradient_of(loss: GroupSoftmax, logits: Tensor, labels: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    return gradient


def test_half_precision_logits() -> None:
    torch.manual_seed(0)
    loss = build(background=True)
    exact = torch.randn(12, loss.columns).half().float().requires_grad_()
    labels = torch.arange(12) % 8
    found = gradient_of(loss, exact.detach().half().requires_grad_(), labels)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), gradient_of(loss, exact, labels), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"boundaries": (10, 10)}, r"boundaries: \(10, 10\): expected increasing integers >= 1"),
        ({"boundaries": (100, 10)}, r"boundaries: \(100, 10\): expected increasing integers >= 1"),
        ({"boundaries": (0, 10)}, r"boundaries: \(0, 10\): expected increasing integers >= 1"),
        ({"boundaries": (1.5,)}, r"boundaries: \(1.5,\): expected increasing integers >= 1"),
        ({"boundaries": 10}, "boundaries: 10: expected increasing integers >= 1"),
        ({"others_ratio": -1.0}, "others_ratio: -1.0: expected a finite number >= 0"),
        ({"class_counts": [1, 2]}, r"class_counts: shape \(2,\): expected .* 7 numbers, one per class"),
        ({"num_classes": 0}, "num_classes: 0: expected an integer >= 1"),
    ],
)
def test_hyper_parameters_are_checked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(**params)


def test_hyper_parameters_are_shown() -> None:
    assert "boundaries=(10, 100, 1000), others_ratio=8.0, background=True" in repr(build(background=True))
