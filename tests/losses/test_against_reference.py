"""Every loss in each of its forms against explicit loops: value, gradient, statistics and scores."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eqbench import losses, plugins
from eqbench.losses import Loss, fused

from .reference import Reference, cross_entropy, flat
from .reference_forms import CLASSES, FORMS, FREQUENCY, NEVER_SEEN, SOFT, Batch, Form
from .reference_sigmoid import Federated
from .reference_softmax import EQLSoftmax

RARE = torch.tensor([0.5, 0.3, 1e-3, 1e-3, 1e-4])
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
EXACT = 1e-12
SINGLE = 1e-6
"""Relative, elementwise; a rounding in float32 is 6e-8, and some dozen of them add up."""
STEEP = 1e-5
"""The same on a GPU, whose exponentials are approximate, and of gradients with a factor of up to p^10."""


def same(
    actual: Tensor, expected: Tensor | float | list[float], relative: float, what: str, absolute: float = 0.0
) -> None:
    exact = torch.as_tensor(expected, dtype=torch.float64)

    def message(standard: str) -> str:
        return f"{what}: {standard}"

    torch.testing.assert_close(actual.double().cpu(), exact.cpu(), rtol=relative, atol=absolute, msg=message)


def compare(loss: Loss, reference: Reference, batch: Batch, relative: float, of_gradient: float | None = None) -> None:
    """One step of both; then both hold its statistics.

    A gradient element whose terms cancel, or that underflows, is only as exact as the largest of its batch: it may
    differ by a thousandth of the relative tolerance of that one.
    """
    ours = loss(batch.logits, batch.labels, **batch.options())
    ours.backward()
    loss.commit()
    found = batch.logits.grad
    assert ours.dim() == 0
    assert found is not None
    learn_what_was_drawn(reference, batch, found)
    value, gradient = reference.step(batch.logits, batch.labels, **batch.options())
    same(ours.detach(), value, relative, "value")
    same(found, gradient, of_gradient or relative, "gradient", 1e-3 * relative * gradient.abs().max().item())
    same_totals(loss, reference, relative)


def learn_what_was_drawn(reference: Reference, batch: Batch, gradient: Tensor) -> None:
    """What a random loss left out has a gradient of exactly 0, and nothing else has."""
    if isinstance(reference, EQLSoftmax) and 0 < reference.keep_probability < 1:
        reference.masked = flat(gradient == 0).tolist()
    if isinstance(reference, Federated) and reference.num_sampled < CLASSES and batch.negatives is None:
        reference.subset = set(flat(gradient).any(dim=0).nonzero().flatten().tolist())


def same_totals(loss: Loss, reference: Reference, relative: float) -> None:
    statistics = loss.statistics
    same(statistics.positive, reference.positive[:CLASSES], relative, "statistics.positive")
    same(statistics.negative, reference.negative[:CLASSES], relative, "statistics.negative")
    same(statistics.ratio, [reference.ratio(j) for j in range(CLASSES)], 2 * relative, "statistics.ratio")
    assert statistics.committed_steps.item() == reference.steps
    if statistics.background is not None:
        background = [side[reference.background_column] for side in (reference.positive, reference.negative)]
        same(statistics.background, background, relative, "statistics.background")
    if statistics.samples is not None:
        same(statistics.samples, reference.samples[: loss.num_labels], relative, "statistics.samples")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_float64(form: Form, device: str) -> None:
    torch.manual_seed(0)
    loss, reference = form.loss(), form.reference()
    for batch in form.batches():
        compare(loss, reference, batch.leaf(torch.float64, device), EXACT)
    assert loss.statistics.positive[NEVER_SEEN] == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_float32(form: Form, device: str) -> None:
    loss, reference = form.loss(), form.reference()
    for batch in form.batches():
        relative = SINGLE if device == "cpu" else STEEP
        # LDAM's gradient is 30 times that of its logits' rounding.
        of_gradient = STEEP if form.name in ("efl", "eqfl") else max(relative, 2e-6 if form.name == "ldam" else 0)
        compare(loss, reference, batch.leaf(torch.float32, device), relative, of_gradient)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_bfloat16(form: Form, device: str) -> None:
    """Half-precision logits are computed in float32; only the gradient that is returned is rounded."""
    loss, reference = form.loss(), form.reference()
    for batch in form.batches():
        relative = SINGLE if device == "cpu" else STEEP
        compare(loss, reference, batch.leaf(torch.bfloat16, device), relative, of_gradient=2.0**-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_pixels(form: Form, device: str) -> None:
    loss, reference = form.loss(), form.reference()
    for batch in form.batches(steps=2, n=2, pixels=(3, 4)):
        compare(loss, reference, batch.leaf(torch.float64, device), EXACT)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("pixels", [(), (3, 4)])
def test_several_blocks(form: Form, pixels: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's kernels go over the logits block by block, here of about five samples."""
    monkeypatch.setattr(fused.blocks, "BLOCK", 40)
    loss, reference = form.loss(), form.reference()
    for batch in form.batches(steps=2, n=2 if pixels else 24, pixels=pixels):
        compare(loss, reference, batch.leaf(torch.float64), EXACT)


@pytest.mark.parametrize("form", SOFT, ids=str)
@pytest.mark.parametrize("pixels", [(), (3, 4)])
def test_soft_labels(form: Form, pixels: tuple[int, ...]) -> None:
    loss, reference = form.loss(), form.reference()
    for batch in form.batches(steps=3, n=1 if pixels else 12, pixels=pixels, soft=True):
        compare(loss, reference, batch.leaf(torch.float64), EXACT)


@pytest.mark.parametrize("form", SOFT, ids=str)
def test_one_hot_soft_labels_are_labels(form: Form) -> None:
    hard, soft = form.loss(), form.loss()
    for batch in form.batches():
        keep = batch.labels >= 0
        labels = torch.nn.functional.one_hot(batch.labels[keep], batch.logits.shape[1]).double()
        logits, weight = batch.logits[keep], torch.rand(len(labels))
        same(soft(logits, labels, weight=weight), hard(logits, batch.labels[keep], weight=weight), 1e-12, "value")
        for loss in (hard, soft):
            loss.commit()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_scores(form: Form) -> None:
    loss, reference = form.loss(), form.reference()
    for pixels in ((), (2, 3)):
        batch = next(form.batches(n=3, pixels=pixels))
        same(loss.scores(batch.logits), reference.scores(batch.logits), EXACT, "scores")
        single = batch.logits.float()
        assert loss.scores(single).dtype == torch.float32
        same(loss.scores(single), reference.scores(single), SINGLE, "scores in float32", absolute=1e-7)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_nothing_but_ignored_samples(form: Form) -> None:
    """A step without samples is no step: neither statistics nor a deferral counts it."""
    loss, reference = form.loss(), form.reference()
    for step, batch in enumerate(form.batches()):
        labels = torch.full_like(batch.labels, -1) if step < 2 else batch.labels
        compare(loss, reference, replace(batch, labels=labels).leaf(torch.float64), EXACT)


def test_what_is_tracked() -> None:
    """`same_totals` compares these where they are; they have to be where formulas or users need them."""
    for form in FORMS:
        statistics, one_softmax = form.loss().statistics, form.name in ("cross_entropy", "softmax_eql")
        assert (statistics.samples is not None) == (form.name in ("seesaw", "group_softmax"))
        assert (statistics.background is not None) == (
            form.background and (one_softmax or form.name == "group_softmax")
        )


def test_eql_softmax_draws_each_rare_class_for_itself() -> None:
    """Of 3 rare classes, each sample leaves out each with the probability, independently: 8 patterns as often."""
    probability, n, frequent = 0.7, 8000, 0
    torch.manual_seed(0)
    loss = losses.build("eql_softmax", num_classes=5, class_frequency=RARE, keep_probability=probability)
    logits = torch.tensor([[0.5, -1.0, 1.0, 0.3, -0.4]], dtype=torch.float64)
    leaf = logits.repeat(n, 1).requires_grad_()
    value = loss(leaf, torch.full((n,), frequent))
    masked = torch.autograd.grad(value, leaf)[0] == 0
    assert not masked[:, :2].any()
    expected = []
    for pattern in itertools.product([False, True], repeat=3):
        chance = math.prod(probability if left_out else 1 - probability for left_out in pattern)
        count = (masked[:, 2:] == torch.tensor(pattern)).all(dim=1).sum().item()
        assert abs(count - n * chance) < 5 * math.sqrt(n * chance * (1 - chance)), pattern
        weights = [1.0, 1.0, *(0.0 if left_out else 1.0 for left_out in pattern)]
        expected.append((chance, cross_entropy(logits[0].unbind(), frequent, weights).item()))
    mean = sum(chance * each for chance, each in expected)
    deviation = math.sqrt(sum(chance * (each - mean) ** 2 for chance, each in expected))
    assert abs(value.item() - mean) < 5 * deviation / math.sqrt(n)


def test_federated_draws_in_proportion() -> None:
    """Without labels, class j is among two draws without replacement with p_j + sum_i p_i p_j / (1 - p_i)."""
    torch.manual_seed(0)
    frequency, calls = [0.4, 0.3, 0.1, 0.05, 0.01], 600
    for power in (0.5, 0.0):
        loss = losses.build(
            "federated", num_classes=5, class_frequency=torch.tensor(frequency), num_sampled=2, power=power
        )
        drawn = torch.zeros(5)
        for _ in range(calls):
            logits = torch.zeros(1, 5, requires_grad=True)
            (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([5])), logits)
            assert gradient.count_nonzero() == 2
            drawn += gradient[0] != 0
        p = [each**power / sum(other**power for other in frequency) for each in frequency]
        for j in range(5):
            chance = p[j] + sum(p[i] * p[j] / (1 - p[i]) for i in range(5) if i != j)
            assert abs(drawn[j].item() - calls * chance) < 5 * math.sqrt(calls * chance * (1 - chance)), (power, j)


@pytest.mark.parametrize("labels", [[0], [3, 3, 1], [0, 1, 2, 3, 4, 5], [7, -1, 2]], ids=str)
def test_federated_fills_up_the_labels_of_the_call(labels: list[int]) -> None:
    loss = losses.build("federated", num_classes=7, class_frequency=torch.tensor(FREQUENCY), num_sampled=4)
    seen = set(labels) - {-1, 7}
    for seed in range(20):
        torch.manual_seed(seed)
        logits = torch.zeros(len(labels), 7, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor(labels)), logits)
        columns = set(gradient.any(dim=0).nonzero().flatten().tolist())
        assert seen <= columns
        assert len(columns) == max(4, len(seen))
        for row, label in zip(gradient, labels, strict=True):
            assert set(row.nonzero().flatten().tolist()) == (columns if label != -1 else set())


@pytest.mark.parametrize("form", [form for form in FORMS if form.random], ids=str)
def test_random_numbers_come_from_the_seed(form: Form) -> None:
    (batch,) = form.batches(steps=1, n=3)
    batch = replace(batch, labels=torch.tensor([0, 1, 1]))

    def gradient(seed: int) -> Tensor:
        torch.manual_seed(seed)
        leaf = batch.leaf(torch.float64)
        return torch.autograd.grad(form.loss()(leaf.logits, leaf.labels), leaf.logits)[0]

    assert all(torch.equal(gradient(seed), gradient(seed)) for seed in range(3))
    assert len({tuple(gradient(seed).flatten().tolist()) for seed in range(20)}) > 1


def test_every_loss_has_a_reference() -> None:
    assert {form.name for form in FORMS} == set(plugins.names("loss"))
