"""What holds for every loss whatever the shapes, dtypes, labels and size of the logits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eqbench.losses import Loss

from .reference import IGNORED, flat
from .reference_forms import FORMS, Batch, Form

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
MIXES = ["any", "one class", "background", "ignored"]
FIXED = [form for form in FORMS if not form.random]


@dataclass(frozen=True)
class Case:
    """What a batch is drawn from; `trained`: the loss has the statistics of another batch."""

    seed: int
    n: int
    num_classes: int
    pixels: tuple[int, ...]
    size: float
    mix: str
    dtype: torch.dtype
    trained: bool

    def loss(self, form: Form) -> Loss:
        torch.manual_seed(self.seed)
        loss = form.loss(self.num_classes)
        if self.trained:
            other = replace(self, seed=self.seed + 1, n=6, size=2.0, mix="any", dtype=torch.float32)
            step(loss, other.batch(form))
        return loss

    def batch(self, form: Form) -> Batch:
        random, plain = torch.Generator().manual_seed(self.seed), form.loss(self.num_classes)
        shape, classes = (self.n, *self.pixels), self.num_classes
        logits = self.size * torch.randn(self.n, plain.columns, *self.pixels, generator=random).clamp(-1, 1)
        if self.mix == "any":
            labels = torch.randint(-1, classes + form.background, shape, generator=random)
        else:
            constant = {"one class": 0, "background": classes if form.background else 0, "ignored": IGNORED}
            labels = torch.full(shape, constant[self.mix])
        weight = torch.rand(shape, generator=random)
        weight[weight < 0.2] = 0
        quality = torch.rand(shape, generator=random)
        negatives = torch.rand(self.n, classes, *self.pixels, generator=random) < 0.5
        return Batch(
            logits.to(self.dtype).requires_grad_(),
            labels,
            weight=weight,
            quality=quality if form.quality else None,
            negatives=negatives if form.negatives else None,
            normalizer=3.0,
        )


def cases(dtypes: list[torch.dtype] = DTYPES, mixes: list[str] = MIXES) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        seed=st.integers(0, 1000),
        n=st.integers(0, 6),
        num_classes=st.sampled_from([1, 2, 7]),
        pixels=st.sampled_from([(), (2, 3)]),
        size=st.sampled_from([1e4, 0.0, 3.0, 100.0]),
        mix=st.sampled_from(mixes),
        dtype=st.sampled_from(dtypes),
        trained=st.booleans(),
    )


def step(loss: Loss, batch: Batch) -> tuple[Tensor, Tensor]:
    """Value and gradient of one committed step."""
    value = loss(batch.logits, batch.labels, **batch.options())
    (gradient,) = torch.autograd.grad(value, batch.logits)
    loss.commit()
    return value.detach(), gradient


def rows(batch: Batch, index: Tensor) -> Batch:
    """Some samples, or images, in the order of `index`."""
    chosen = {
        name: value[index] for name, value in vars(batch).items() if isinstance(value, Tensor) and name != "logits"
    }
    return replace(batch, logits=batch.logits.detach()[index].requires_grad_(), **chosen)


def close(actual: Tensor, expected: Tensor, what: str) -> None:
    """Up to the order in which float32 numbers are added, and down to where they have fewer digits."""
    largest = expected.abs().max().item() if expected.numel() else 0.0
    atol = max(1e-6 * largest, torch.finfo(torch.float32).smallest_normal * 1e-3)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=atol, msg=lambda text: f"{what}: {text}")


def same_statistics(loss: Loss, other: Loss) -> None:
    expected = other.statistics.state_dict()
    for name, value in loss.statistics.state_dict().items():
        if not name.endswith("_steps"):
            close(value, expected[name], name)


@pytest.mark.parametrize("form", FORMS, ids=str)
@settings(max_examples=8)
@given(case=cases())
def test_finite(form: Form, case: Case) -> None:
    loss, batch = case.loss(form), case.batch(form)
    value, gradient = step(loss, batch)
    assert value.isfinite()
    assert value >= 0
    assert gradient.isfinite().all()
    assert gradient.dtype == case.dtype
    assert not flat(gradient)[batch.labels.flatten() == IGNORED].any()
    for total in loss.statistics.state_dict().values():
        assert total.isfinite().all()
        assert (total >= 0).all()
    assert loss.scores(batch.logits).isfinite().all()
    assert loss.statistics.skipped_steps == 0


@pytest.mark.parametrize("form", FORMS, ids=str)
@settings(max_examples=8)
@given(case=cases(DTYPES[:2]))
def test_statistics_are_the_gradient_split_by_label(form: Form, case: Case) -> None:
    loss, batch = case.loss(form), case.batch(form)
    before = loss.statistics.state_dict()
    positive, negative = before["positive"].clone(), before["negative"].clone()
    _, gradient = step(loss, batch)
    for row, label in zip(flat(gradient).double(), batch.labels.flatten().tolist(), strict=True):
        for j in range(case.num_classes):
            size = row[j].abs() * (1.0 if loss.normalized else 3.0 / loss.loss_weight)
            (positive if j == label else negative)[j] += size
    close(loss.statistics.positive, positive, "positive")
    close(loss.statistics.negative, negative, "negative")


@pytest.mark.parametrize("form", FIXED, ids=str)
@settings(max_examples=8)
@given(case=cases(DTYPES[:2]), share=st.floats(0, 1))
def test_parts_add_up(form: Form, case: Case, share: float) -> None:
    whole, parts, batch = case.loss(form), case.loss(form), case.batch(form)
    value, gradient = step(whole, batch)
    pieces = [rows(batch, index) for index in torch.arange(case.n).tensor_split([round(share * case.n)])]
    values = [parts(piece.logits, piece.labels, **piece.options()) for piece in pieces]
    close(torch.stack(values).sum().detach(), value, "value")
    gradients = [torch.autograd.grad(each, piece.logits)[0] for each, piece in zip(values, pieces, strict=True)]
    close(torch.cat(gradients), gradient, "gradient")
    parts.commit()
    same_statistics(parts, whole)


@pytest.mark.parametrize("form", FIXED, ids=str)
@settings(max_examples=6)
@given(case=cases(DTYPES[:2], ["any"]))
def test_order_of_samples_does_not_matter(form: Form, case: Case) -> None:
    loss, other, batch = case.loss(form), case.loss(form), case.batch(form)
    order = torch.randperm(case.n, generator=torch.Generator().manual_seed(case.seed))
    value, gradient = step(loss, batch)
    shuffled, of_shuffled = step(other, rows(batch, order))
    close(shuffled, value, "value")
    close(of_shuffled, gradient[order], "gradient")
    same_statistics(other, loss)


@pytest.mark.parametrize("form", FORMS, ids=str)
@settings(max_examples=8)
@given(case=cases(mixes=["ignored"]), default=st.booleans())
def test_nothing_comes_of_no_samples(form: Form, case: Case, default: bool) -> None:
    loss, batch = case.loss(form), case.batch(form)
    before = {name: total.clone() for name, total in loss.statistics.state_dict().items()}
    value, gradient = step(loss, replace(batch, normalizer=None) if default else batch)
    assert value == 0
    assert not gradient.any()
    assert all(torch.equal(total, before[name]) for name, total in loss.statistics.state_dict().items())


@pytest.mark.parametrize("form", FORMS, ids=str)
@settings(max_examples=8)
@given(case=cases())
def test_half_precision_is_computed_in_single(form: Form, case: Case) -> None:
    """The same numbers as float32 logits give the same value and statistics; the gradient is rounded at the end."""
    batch = case.batch(form)
    single = replace(batch, logits=batch.logits.detach().float().requires_grad_())
    if case.dtype in (torch.bfloat16, torch.float16):
        loss = case.loss(form)
        value, gradient = step(loss, batch)
        other = case.loss(form)
        expected, exact = step(other, single)
        close(value, expected, "value")
        same_statistics(loss, other)
        eps = torch.finfo(case.dtype).eps
        torch.testing.assert_close(gradient.float(), exact, rtol=eps, atol=eps * 1e-3)
