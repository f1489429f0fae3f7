"""The fused path: compiled or plain, in one block or many, the numbers are the same."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor import config as inductor
from torch._inductor.utils import fresh_cache

from eqbench import losses
from eqbench.loss_contract.subject import Samples, Subject, call, close, same_totals, totals
from eqbench.losses import Loss
from eqbench.losses.fused import blocks, compiled, memory, plain
from eqbench.plugins import load

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("bce", {}),
    ("focal", {}),
    ("sigmoid_eql", {}),
    ("efl", {}),
    ("eqfl", {}),
    ("cross_entropy", {}),
    ("softmax_eql", {"background": True}),
    ("ldam", {}),
    ("seesaw", {"objectness": True}),
]
LAYOUTS = {"rows": (40, ()), "images": (3, (5, 6)), "small images": (3, (5, 6))}


@pytest.fixture(params=FORMS, ids=lambda form: form[0])
def subject(request: pytest.FixtureRequest) -> Subject:
    name, params = request.param
    return Subject(load("loss", name), params, num_classes=9)


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    """Nothing to compare where torch.compile does not work at all."""
    try:
        torch.compile(lambda x: x.exp() + 1, dynamic=True)(torch.ones(3))
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {error}")


def samples(
    subject: Subject, layout: str, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype = torch.float32
) -> Samples:
    """With an ignored sample whose logits are NaN."""
    number, pixels = LAYOUTS[layout]
    if layout == "images":
        monkeypatch.setattr(blocks, "SMALL_IMAGE", 0)
    drawn = subject.samples(number, dtype=dtype, pixels=pixels)
    drawn.labels.view(-1)[1] = -1
    with torch.no_grad():
        drawn.logits.movedim(1, -1)[drawn.labels == -1] = torch.nan
    return drawn


def step(subject: Subject, drawn: Samples) -> tuple[Loss, Tensor, Tensor]:
    loss = subject.trained()
    weight = torch.linspace(0, 2, drawn.labels.numel()).view(drawn.labels.shape)
    value = call(loss, drawn, weight=weight)
    (gradient,) = torch.autograd.grad(value, drawn.logits)
    loss.commit()
    return loss, value, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiled_equals_plain(
    subject: Subject, layout: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = samples(subject, layout, monkeypatch, dtype)
    monkeypatch.setenv("EQBENCH_FUSED", "plain")
    loss, value, gradient = step(subject, drawn)
    monkeypatch.setenv("EQBENCH_FUSED", "compile")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a kernel that cannot be compiled warns
        compiled_loss, compiled_value, compiled_gradient = step(subject, drawn)
    close(compiled_value, value, "value", relative=1e-6)
    rounding = torch.finfo(dtype).eps if dtype != torch.float32 else 5e-6
    close(compiled_gradient, gradient, "gradient", relative=rounding, absolute=1e-9)
    same_totals(compiled_loss, totals(loss), "compiled", relative=1e-6)


@pytest.mark.parametrize("mode", ["plain", "compile"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_blocks_equal_one(subject: Subject, layout: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = samples(subject, layout, monkeypatch)
    monkeypatch.setenv("EQBENCH_FUSED", mode)
    loss, value, gradient = step(subject, drawn)
    for name in ("BLOCK", "COMPILED_BLOCK"):
        monkeypatch.setattr(blocks, name, 70)
    cut_loss, cut_value, cut_gradient = step(subject, drawn)
    close(cut_value, value, "value", relative=1e-6)
    close(cut_gradient, gradient, "gradient", relative=2e-6, absolute=1e-9)
    same_totals(cut_loss, totals(loss), "in blocks", relative=1e-6)


@pytest.mark.parametrize("mode", ["plain", "compile"])
def test_statistics_of_many_samples_keep_their_digits(
    subject: Subject, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2^18 samples; a running float32 sum would be off by 1e-5 and more."""
    monkeypatch.setenv("EQBENCH_FUSED", mode)
    drawn = subject.samples(2**18)
    single, double = subject.trained(), subject.trained()
    close(call(single, drawn), call(double, drawn.leaf(torch.float64)), "value", relative=1e-6)
    single.commit()
    double.commit()
    same_totals(single, totals(double), "float32 against float64", relative=1e-6)


@pytest.mark.parametrize("mode", ["plain", "compile"])
def test_channels_last_logits(subject: Subject, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = samples(subject, "images", monkeypatch)
    monkeypatch.setenv("EQBENCH_FUSED", mode)
    loss, value, gradient = step(subject, drawn)
    turned = replace(drawn, logits=drawn.logits.detach().to(memory_format=torch.channels_last).requires_grad_())
    turned_loss, turned_value, turned_gradient = step(subject, turned)
    close(turned_value, value, "value", relative=1e-6)
    close(turned_gradient, gradient, "gradient", relative=5e-6, absolute=1e-9)
    same_totals(turned_loss, totals(loss), "channels-last", relative=1e-6)
    assert turned_gradient.is_contiguous(memory_format=torch.channels_last)


def test_compiling_is_for_large_float_logits_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = torch.zeros(10, 10), torch.zeros(1, 1).expand(2**10, 2**10)
    monkeypatch.delenv("EQBENCH_FUSED", raising=False)
    assert [compiled.wanted(each) for each in (small, large, large.double())] == [False, True, False]
    monkeypatch.setenv("EQBENCH_FUSED", "compile")
    assert [compiled.wanted(each) for each in (small, large, large.double())] == [True, True, False]
    monkeypatch.setenv("EQBENCH_FUSED", "plain")
    assert not compiled.wanted(large)


def test_a_wrong_setting_is_refused_when_a_loss_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_FUSED", "compiled")
    with pytest.raises(ValueError, match=r"^EQBENCH_FUSED: 'compiled': expected auto, compile, plain; did you mean"):
        losses.build("focal", num_classes=3)


def test_without_a_compiler_the_plain_kernels_take_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one warning for each kernel, and the same numbers."""
    logits, labels = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 5
    loss = losses.build("focal", num_classes=5)
    monkeypatch.setenv("EQBENCH_FUSED", "plain")
    expected = loss(logits, labels).item()
    monkeypatch.setenv("EQBENCH_FUSED", "compile")
    monkeypatch.setattr(compiled, "_unusable", set())
    torch.compiler.reset()
    nowhere = inductor.patch({"cpp.cxx": ("/nowhere/c++",)})
    with nowhere, fresh_cache(dir=str(tmp_path)), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = [loss(logits, labels).item() for _ in range(3)]
    torch.compiler.reset()
    assert values == [expected] * 3
    [warning] = [str(each.message) for each in caught if "torch.compile" in str(each.message)]
    assert warning.startswith("sigmoid losses run without torch.compile, slower: ")
    assert "compiler" in warning


def test_the_logarithm_of_fractions_is_exact_to_rounding() -> None:
    fraction = torch.cat([torch.linspace(0, 1, 100_001), torch.logspace(-38, 0, 10_001)])
    exact = fraction.double().log1p()
    found_plainly = plain.log1p_of_fraction(fraction, out=torch.empty_like(fraction))
    for found in (found_plainly, compiled._log1p_of_fraction(fraction)):
        assert ((found.double() - exact).abs() <= 2.5e-7 * exact).all()
    assert torch.equal(plain.log1p_of_fraction(fraction.double(), out=torch.empty_like(exact)), exact)


def test_memory_for_gradients_is_like_the_logits() -> None:
    logits = torch.zeros(2**11, 2**10).t()
    gradient = memory.empty_gradient(logits)
    assert gradient.shape == logits.shape
    assert gradient.is_contiguous()
    assert gradient.fill_(1.0).sum() == 2**21


def test_the_gradient_is_scaled_where_it_lies() -> None:
    """Backward hands the very memory that forward wrote to autograd, whatever factor arrives."""
    logits = torch.randn(8, 5, requires_grad=True)
    value = losses.build("bce", num_classes=5)(logits, torch.arange(8) % 5)
    place = value.grad_fn.saved_tensors[0].data_ptr()
    (value * 3.0).backward()
    assert logits.grad is not None
    assert logits.grad.data_ptr() == place
