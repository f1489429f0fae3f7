"""Values that are known without running the losses: published constants, limiting cases, torch's own functions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from eqbench import losses
from eqbench.losses import Loss

C = 5
COUNTS = torch.tensor([400, 90, 30, 4, 1])
FREQUENCY = torch.tensor([0.5, 0.1, 1e-2, 1e-3, 1e-4])


def build(name: str, num_classes: int = C, **params: Any) -> Loss:
    return losses.build(name, num_classes=num_classes, **params)


def batch(columns: int = C, labels: int = C, n: int = 40) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, columns, generator=random, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(labels, (n,), generator=random)


def derivative(value: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(value, logits, retain_graph=True)[0]


def equal(logits: Tensor, ours: Tensor, theirs: Tensor, relative: float = 1e-10) -> None:
    torch.testing.assert_close(ours, theirs, rtol=relative, atol=1e-12)
    torch.testing.assert_close(derivative(ours, logits), derivative(theirs, logits), rtol=relative, atol=1e-12)


def pretend(loss: Loss, ratio: float) -> Loss:
    """The loss as if each class had this ratio."""
    loss.statistics.positive.fill_(1e6 * ratio)
    loss.statistics.negative.fill_(1e6)
    return loss


def onehot(labels: Tensor, columns: int = C) -> Tensor:
    """(N, K) targets; labels beyond the columns, background, are positive for none."""
    return functional.one_hot(labels, max(columns, int(labels.max()) + 1))[:, :columns].double()


# Sigmoid-EQL (EQL v2)


@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize(
    ("ratio", "negative", "positive"), [(0.0, 6.772e-5, 4.99973), (0.8, 0.5, 3.0), (1.0, 0.916827, 1.332691)]
)
def test_sigmoid_eql_weights(ratio: float, negative: float, positive: float, objectness: bool) -> None:
    loss = pretend(build("sigmoid_eql", objectness=objectness), ratio)
    logits, labels = batch(C + objectness, C + objectness)
    weights = derivative(loss(logits, labels, normalizer=1), logits) / (
        logits.sigmoid() - onehot(labels, C + objectness)
    )
    is_label = onehot(labels).bool()
    assert weights[:, :C][is_label].tolist() == pytest.approx([positive] * int(is_label.sum()), rel=1e-4, abs=0)
    assert weights[:, :C][~is_label].tolist() == pytest.approx([negative] * int((~is_label).sum()), rel=1e-4, abs=0)
    assert weights[:, C:].flatten().tolist() == pytest.approx([1.0] * 40 * objectness)


def test_sigmoid_eql_begins_as_binary_cross_entropy() -> None:
    logits, labels = batch(C + 1, C + 1)
    theirs = functional.binary_cross_entropy_with_logits(logits, onehot(labels, C + 1), reduction="sum") / 40
    equal(logits, build("sigmoid_eql")(logits, labels), theirs)


def test_sigmoid_eql_statistics_have_no_scale() -> None:
    """At z = 0 each of 4 samples gives 1/2 to each column, whatever loss_weight and normalizer."""
    loss = build("sigmoid_eql", loss_weight=9.0)
    loss(torch.zeros(4, C + 1, requires_grad=True), torch.tensor([0, 0, 1, C]), normalizer=123.0)
    loss.commit()
    assert loss.statistics.positive.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0])
    assert loss.statistics.negative.tolist() == pytest.approx([1.0, 1.5, 2.0, 2.0, 2.0])


# EQL


def test_eql_spares_rare_classes_of_foreground_only() -> None:
    loss, (logits, labels) = build("eql", class_frequency=FREQUENCY), batch(C, C + 1)
    weights = derivative(loss(logits, labels, normalizer=1), logits) / (logits.sigmoid() - onehot(labels))
    rare, foreground = FREQUENCY < 1.77e-3, (labels < C).unsqueeze(1)
    assert rare.tolist() == [False, False, False, True, True]
    torch.testing.assert_close(weights, (~(rare & foreground) | onehot(labels).bool()).double())


def test_eql_without_rare_classes_is_binary_cross_entropy() -> None:
    logits, labels = batch(C, C + 1)
    equal(logits, build("eql", class_frequency=FREQUENCY, lambda_=0.0)(logits, labels), build("bce")(logits, labels))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_eql_softmax_leaves_rare_classes_out_of_the_softmax(probability: float) -> None:
    loss, (logits, labels) = build("eql_softmax", class_frequency=FREQUENCY, keep_probability=probability), batch()
    left_out = (FREQUENCY < 1.77e-3) & (probability == 1) & ~onehot(labels).bool()
    theirs = functional.cross_entropy(logits.masked_fill(left_out, -math.inf), labels)
    equal(logits, loss(logits, labels), theirs)


# Focal losses


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (2.0, None), (1.0, 0.5), (0.0, 0.25)])
def test_focal_is_torchvisions(gamma: float, alpha: float | None) -> None:
    logits, labels = batch(C, C + 1)
    theirs = sigmoid_focal_loss(logits, onehot(labels), -1 if alpha is None else alpha, gamma, reduction="sum")
    equal(logits, build("focal", gamma=gamma, alpha=alpha)(logits, labels, normalizer=1), theirs)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.25, None])
def test_efl_of_balanced_classes_is_focal(ratio: float, alpha: float | None) -> None:
    (logits, labels), focal = batch(C, C + 1), build("focal", gamma=1.5, alpha=alpha)
    loss = build("efl", focal_gamma=1.5, focal_alpha=alpha)
    equal(logits, loss(logits, labels), focal(logits, labels))
    equal(logits, pretend(loss, ratio)(logits, labels), focal(logits, labels), 1e-8)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_eqfl_of_balanced_classes_is_quality_focal(ratio: float) -> None:
    (logits, labels), quality = batch(C, C + 1), torch.rand(40)
    loss, plain = build("eqfl"), build("quality_focal")(logits, labels, quality=quality)
    equal(logits, loss(logits, labels, quality=quality), plain)
    equal(logits, pretend(loss, ratio)(logits, labels, quality=quality), plain, 1e-8)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.9])
def test_efl_gradient(ratio: float) -> None:
    """alpha W (1-p)^G (G p log p - (1-p)) for the label, (1-alpha) W p^G (p - G (1-p) log(1-p)) for the others."""
    loss, (logits, labels) = pretend(build("efl"), ratio), batch()
    gamma, p = 2 + 8 * (1 - ratio), logits.sigmoid()
    own = 0.25 * gamma / 2 * (1 - p) ** gamma * (gamma * p * p.log() - (1 - p))
    other = 0.75 * gamma / 2 * p**gamma * (p - gamma * (1 - p) * (1 - p).log())
    expected = torch.where(onehot(labels).bool(), own, other)
    torch.testing.assert_close(derivative(loss(logits, labels, normalizer=1), logits), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("beta", [2.0, 1.0])
def test_quality_focal_is_that_of_generalized_focal_loss(beta: float) -> None:
    """All columns as negatives first, then the label's replaced, as the GFL release writes it."""
    (logits, labels), quality = batch(C, C + 1), torch.rand(40, dtype=torch.float64)
    bce, p = functional.binary_cross_entropy_with_logits, logits.sigmoid()
    each = bce(logits, torch.zeros_like(logits), reduction="none") * p**beta
    rows = (labels < C).nonzero().flatten()
    of_label, q = (rows, labels[rows]), quality[rows]
    positive = bce(logits[of_label], q, reduction="none") * (q - p[of_label]).abs() ** beta
    theirs = each.index_put(of_label, positive).sum()
    equal(logits, build("quality_focal", beta=beta)(logits, labels, quality=quality, normalizer=1), theirs)


# Binary cross entropy over all or some columns


def test_bce_is_torchs() -> None:
    logits, labels = batch(C, C + 1)
    theirs = functional.binary_cross_entropy_with_logits(logits, onehot(labels), reduction="sum") / 40
    equal(logits, build("bce")(logits, labels), theirs)


def test_federated_over_all_classes_is_bce() -> None:
    logits, labels = batch(C, C + 1)
    plain = build("bce")(logits, labels)
    equal(logits, build("federated", class_frequency=FREQUENCY, num_sampled=C)(logits, labels), plain)
    everything = torch.ones(40, C, dtype=torch.bool)
    some = build("federated", class_frequency=FREQUENCY, num_sampled=1)
    equal(logits, some(logits, labels, negatives=everything), plain)


@pytest.mark.parametrize(
    ("form", "name", "params"),
    [("softmax", "cross_entropy", {}), ("sigmoid", "bce", {}), ("focal", "focal", {"alpha": None})],
)
def test_class_balanced_without_beta_is_plain(form: str, name: str, params: dict[str, Any]) -> None:
    logits, labels = batch()
    loss = build("class_balanced", class_counts=COUNTS, form=form, beta=0.0)
    equal(logits, loss(logits, labels), build(name, **params)(logits, labels))


def test_class_balanced_tends_to_inverse_counts() -> None:
    (logits, labels), inverse = batch(), 1 / COUNTS.double()
    loss = build("class_balanced", class_counts=COUNTS, beta=1 - 1e-9)
    theirs = functional.cross_entropy(logits, labels, C * inverse / inverse.sum(), reduction="sum") / 40
    equal(logits, loss(logits, labels), theirs, 1e-5)


# One softmax


@pytest.mark.parametrize("columns", [C, C + 1])
def test_cross_entropy_is_torchs(columns: int) -> None:
    logits, labels = batch(columns, columns)
    loss = build("cross_entropy", background=columns > C)
    equal(logits, loss(logits, labels), functional.cross_entropy(logits, labels))
    soft = batch(columns)[0].detach().flip(0).softmax(1)
    equal(logits, loss(logits, soft), functional.cross_entropy(logits, soft))


def test_softmax_eql_is_logit_adjustment_by_accumulated_gradient() -> None:
    loss, (logits, labels) = build("softmax_eql", tau=1.5), batch()
    for _ in range(3):
        received = loss.statistics.positive.clamp(min=1e-4)
        adjusted = build("logit_adjustment", class_counts=received / received.min(), tau=1.5)
        equal(logits, loss(logits, labels), adjusted(logits, labels))
        loss.commit()


def test_logit_adjustment_between_cross_entropy_and_balanced_softmax() -> None:
    logits, labels = batch()
    none, full = (build("logit_adjustment", class_counts=COUNTS, tau=tau) for tau in (0.0, 1.0))
    equal(logits, none(logits, labels), functional.cross_entropy(logits, labels))
    equal(logits, full(logits, labels), build("balanced_softmax", class_counts=COUNTS)(logits, labels))
    equal(logits, full(logits, labels), functional.cross_entropy(logits + COUNTS.double().log(), labels))


def test_ldam_without_margin_and_scale_is_cross_entropy() -> None:
    logits, labels = batch()
    loss = build("ldam", class_counts=COUNTS, max_margin=0.0, scale=1.0)
    equal(logits, loss(logits, labels), functional.cross_entropy(logits, labels))


def test_ldam_margins_and_deferred_weights() -> None:
    """Counts 1600 and 100 have the margins 1/4 and 1/2; from step 2 on, torch's weighted mean."""
    logits, labels = batch(2, 2)
    loss = build("ldam", num_classes=2, class_counts=torch.tensor([1600, 100]), deferred_steps=2)
    shifted = 30 * (logits - torch.tensor([0.25, 0.5], dtype=torch.float64) * onehot(labels, 2))
    effective = [(1 - 0.9999**n) / 1e-4 for n in (1600, 100)]
    inverse = torch.tensor([1 / n for n in effective], dtype=torch.float64)
    for step in range(4):
        weight = inverse if step >= 2 else None
        equal(logits, loss(logits, labels), functional.cross_entropy(shifted, labels, weight))
        mean_one = None if weight is None else 1700 * weight / (1600 * weight[0] + 100 * weight[1])
        summed = functional.cross_entropy(shifted, labels, mean_one, reduction="sum")
        equal(logits, loss(logits, labels, normalizer=7), summed / 7)
        loss.commit()


# Losses that count samples


def test_seesaw_without_exponents_is_cross_entropy() -> None:
    loss, (logits, labels) = build("seesaw", p=0.0, q=0.0), batch()
    for _ in range(2):
        equal(logits, loss(logits, labels), functional.cross_entropy(logits, labels))
        loss.commit()


def test_seesaw_factors() -> None:
    """Mitigation (10/100)^0.8 from the frequent to the rare class only; compensation (e^2)^2 of a mistake."""
    loss = build("seesaw", num_classes=2)
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 0])
    loss(torch.zeros(110, 2, requires_grad=True), torch.tensor([0] * 100 + [1] * 10))
    loss.commit()
    gradient = derivative(loss(logits, labels, normalizer=1), logits)
    mitigation = 0.1**0.8
    factors = [mitigation, 1.0, mitigation * math.exp(2 + 4)]
    wrong = [gradient[0, 1], gradient[1, 0], gradient[2, 1]]
    assert [each.item() for each in wrong] == pytest.approx([m / (1 + m) for m in factors], rel=1e-10)


def test_group_softmax_of_one_group_is_cross_entropy_with_another_column() -> None:
    loss, (logits, labels) = build("group_softmax", class_counts=COUNTS, boundaries=(1000,)), batch(C + 1)
    for _ in range(2):
        equal(logits, loss(logits, labels), functional.cross_entropy(logits, labels))
        loss.commit()


def test_group_softmax_weighs_others_by_counts() -> None:
    """90 samples of a frequent and 10 of a rare class: the rare group's others count 2 * 10 / 90, and it keeps 30."""
    loss = build("group_softmax", num_classes=2, class_counts=torch.tensor([50, 5]), others_ratio=2.0)
    logits = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1])
    loss(torch.zeros(100, 4, requires_grad=True), torch.tensor([0] * 90 + [1] * 10))
    before = derivative(loss(logits, labels, normalizer=1), logits)
    assert before.tolist() == [[-0.5, 0.5, -0.5, 0.5], [0.5, -0.5, 0.5, -0.5]]
    loss = build("group_softmax", num_classes=2, class_counts=torch.tensor([50, 5]), others_ratio=2.0)
    loss(torch.zeros(100, 4, requires_grad=True), torch.tensor([0] * 90 + [1] * 10))
    loss.commit()
    rho = 2 * 10 / 90 / 2
    gradient = derivative(loss(logits, labels, normalizer=1), logits) * torch.tensor([1, 0.3, 0.3, 1])
    torch.testing.assert_close(
        gradient, torch.tensor([[-0.5, rho, -rho, 0.5], [0.5, -0.5, 0.5, -0.5]], dtype=torch.float64)
    )
