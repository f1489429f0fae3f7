"""The Triton kernels against the formulas in float64.

Run by test_triton.py in a process of its own, under Triton's interpreter, and without it where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import triton
from torch import Tensor
from torch.nn.functional import softplus

from eqbench.losses.fused import triton_sigmoid, triton_softmax
from eqbench.losses.fused.triton_layout import Layout
from eqbench.losses.fused.triton_scale import scale_

DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"

# So small that a few columns and pixels take several tiles, chunks and programs.
SIGMOID = {"TILE": 16, "ROW": 8, "PIXELS": 8, "SHORT": 4, "PROGRAMS": 3, "TILES": 2}
SOFTMAX = {"TILE": 8, "LINE": 4, "PIXELS": 8, "PROGRAMS": 2, "TILES": 2}
PAIR = {"WHOLE_ROW": 1, "WHOLE_PIXEL": 1, "PAIR_SAMPLES": 16, "PAIR_COLUMNS": 16, "PAIR_ROW": 4}
KINDS = ["none", "columns", "labels"]
MATRIX, IMAGES = (7, 19, 1), (2, 5, 11)
SHAPES = [(4, 1, 1), (1, 5, 1), (5, 64, 1), (1, 1, 6), (3, 4, 8)]
# The device's exp2 is off by 2 units in the last place.
RELATIVE = {torch.float32: 1e-5 if DEVICE == "cpu" else 3e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def rows(shape: tuple[int, int, int]) -> Tensor:
    return torch.empty(shape)


def slices(shape: tuple[int, int, int]) -> Tensor:
    n, k, p = shape
    return torch.empty(n, k + 3, p)[:, 1 : k + 1]


def channels_last(shape: tuple[int, int, int]) -> Tensor:
    n, k, p = shape
    return torch.empty(n, p, k).transpose(1, 2)


def columns_first(shape: tuple[int, int, int]) -> Tensor:
    n, k, p = shape
    return torch.empty(k, p + 1, n).permute(2, 0, 1)[..., :p]


FORMS: dict[str, Callable[[tuple[int, int, int]], Tensor]] = {
    form.__name__: form for form in (rows, slices, channels_last, columns_first)
}
MIXED = [("slices", "channels_last"), ("channels_last", "columns_first"), ("columns_first", "slices")]
PLAIN = (IMAGES, "rows", "rows", torch.float32, True)
CASES = [
    PLAIN,
    (MATRIX, "rows", "rows", torch.float32, True),
    *[(shape, "rows", "rows", torch.float32, False) for shape in SHAPES],
    (MATRIX, "rows", "rows", torch.bfloat16, False),
    (IMAGES, "rows", "rows", torch.float16, False),
    *[(MATRIX, *forms, torch.float32, True) for forms in MIXED],
    *[(IMAGES, *forms, torch.float32, False) for forms in MIXED],
    (IMAGES, "channels_last", "channels_last", torch.float32, True),
]


class Case:
    """Arguments of one call, its output poisoned, and its float64 logits with harmless numbers where nothing counts."""

    def __init__(self, shape: tuple[int, int, int], form: str, out: str, dtype: torch.dtype, weighted: bool) -> None:
        n, k, p = shape
        torch.manual_seed(n * 100 + k * 10 + p)
        self.logits = FORMS[form](shape).to(dtype)
        self.logits.copy_(torch.randn(shape) * 4)
        self.gradient = FORMS[out](shape).to(dtype).fill_(torch.nan)
        self.labels = torch.randint(0, k, (n, p))
        self.weight = torch.rand(n, p) + 0.5 if weighted else None
        if self.weight is not None:
            self.weight.view(-1)[::3] = 0.0
            self.logits.movedim(1, 2)[self.weight == 0] = torch.nan
        self.scale = torch.tensor(0.25)
        self.z = self.logits.double().nan_to_num(0.0)
        self.row = torch.ones(n, 1, p) if self.weight is None else self.weight.unsqueeze(1)
        self.row = self.row.double()
        self.labelled = torch.arange(k)[None, :, None] == self.labels[:, None, :]

    def check(self, gradient: Tensor, value: Tensor, negative: Tensor, found: tuple[Tensor, ...]) -> None:
        near(found[0], value, 1e-5)
        near(found[-1], negative, 1e-5)
        assert found[0].dtype == found[-1].dtype == torch.float64
        near(self.gradient, gradient * self.scale, RELATIVE[self.gradient.dtype])
        assert (self.gradient[(self.row == 0).expand_as(gradient)] == 0).all()


def near(found: Tensor, expected: Tensor, relative: float) -> None:
    small = 1e-7 if found.dtype == torch.float16 else 1e-30
    torch.testing.assert_close(found.double(), expected, rtol=relative, atol=small)


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with torch.device(DEVICE):
        yield


def set_constants(monkeypatch: pytest.MonkeyPatch, module: ModuleType, constants: dict[str, int]) -> None:
    for name, number in constants.items():
        monkeypatch.setattr(module, name, number)


@pytest.fixture(params=["large tiles", "small tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small tiles":
        set_constants(monkeypatch, triton_sigmoid, SIGMOID)
        monkeypatch.setattr(Layout, "wide", lambda *_: True)


@pytest.fixture(params=["as it is", "small tiles", "pair"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"as it is": {}, "small tiles": SOFTMAX, "pair": SOFTMAX | PAIR}[request.param]
    set_constants(monkeypatch, triton_softmax, chosen)
    if request.param != "as it is":
        monkeypatch.setattr(Layout, "wide", lambda *_: True)


def sigmoid_reference(case: Case, u: Tensor, exponent: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    p, loss = case.z.sigmoid(), softplus(case.z)
    g = torch.zeros(()) if exponent is None else exponent.double()[None, :, None]
    factor = torch.where(case.labelled, 0.0, case.row * u.double()[None, :, None]) * p**g
    gradient = factor * (p + g * (-case.z).sigmoid() * loss)
    return gradient, (factor * loss).sum(), gradient.sum((0, 2))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(
    ("case", "focal"), [*[(case, True) for case in CASES], *[(case, False) for case in CASES[:2]]], ids=str
)
def test_sigmoid(case: Any, focal: bool) -> None:
    made = Case(*case)
    columns = made.logits.shape[1]
    u, exponent = torch.rand(columns), torch.rand(columns) * 4 if focal else None
    if exponent is not None:
        exponent[0] = 0.0
    made.labels[0, 0] = columns
    made.labelled[0, :, 0] = False
    arguments = (made.logits, made.labels, made.weight, u, exponent, made.scale, made.gradient)
    made.check(*sigmoid_reference(made, u, exponent), triton_sigmoid.sigmoid_sums(*arguments))
    assert (made.gradient[made.labelled] == 0).all()


def softmax_reference(case: Case, x: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    e = x.log_softmax(1).exp()
    others = torch.where(case.labelled, 0.0, e) * case.row * temperature
    remainder = others.sum(1)
    loss = -(x.log_softmax(1) * case.labelled).sum(1) * case.row.squeeze(1)
    gradient = torch.where(case.labelled, -remainder.unsqueeze(1), others)
    return gradient, loss.sum(), others.sum((0, 2)), remainder


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("case", "shifts"), [*[(case, "both") for case in CASES], *[(PLAIN, kind) for kind in KINDS]], ids=str
)
def test_softmax(case: Any, shifts: str) -> None:
    made = Case(*case)
    columns, temperature = made.logits.shape[1], 1.5
    shift = torch.randn(columns) if shifts in ("columns", "both") else None
    label_shift = torch.randn(columns) if shifts in ("labels", "both") else None
    x = temperature * made.z
    if shift is not None:
        x = x + shift[None, :, None]
    if label_shift is not None:
        x = x + label_shift[None, :, None] * made.labelled
    arguments = (shift, label_shift, temperature, made.scale, made.gradient)
    found = triton_softmax.softmax_sums(made.logits, made.labels, made.weight, *arguments)
    *expected, remainder = softmax_reference(made, x, temperature)
    made.check(*expected, found)
    near(found[1], remainder, 1e-5)


# Where logits and gradient lie differently in memory: see `test_softmax`, whose kernels these are.
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", [case for case in CASES if case[1] == case[2]], ids=str)
def test_seesaw(case: Any) -> None:
    made = Case(*case)
    counts, q, eps = torch.randn(made.logits.shape[1]) * 2, 2.0, 0.01
    arguments = (counts, q, eps, made.scale, made.gradient)
    found = triton_softmax.seesaw_sums(made.logits, made.labels, made.weight, *arguments)
    log_share = made.z.log_softmax(1)
    own = log_share.gather(1, made.labels.unsqueeze(1)).clamp(min=torch.tensor(eps).log())
    mitigation = (counts[None, :, None] - counts[made.labels].unsqueeze(1)).clamp(max=0).double()
    x = torch.where(made.labelled, made.z, made.z + mitigation + q * (log_share - own).clamp(min=0))
    *expected, remainder = softmax_reference(made, x, 1.0)
    made.check(*expected, found)
    near(found[1], remainder, 1e-5)


@pytest.mark.usefixtures("way")
def test_extreme_logits() -> None:
    made = Case((6, 5, 1), "rows", "rows", torch.float32, False)
    made.logits.copy_(torch.tensor([1e4, -1e4, 0.0, 30.0, -60.0]).repeat(6).view(5, 6).t().unsqueeze(2))
    made.z = made.logits.double()
    arguments = (None, None, 1.0, made.scale, made.gradient)
    found = triton_softmax.softmax_sums(made.logits, made.labels, None, *arguments)
    *expected, remainder = softmax_reference(made, made.z, 1.0)
    near(found[1], remainder, 1e-4)
    near(found[0], expected[1], 1e-5)
    near(made.gradient, expected[0] * made.scale, 1e-4)
    seesaw = triton_softmax.seesaw_sums(made.logits, made.labels, None, torch.ones(5), 2.0, 0.0, *arguments[3:])
    u, exponent = torch.ones(5), torch.full((5,), 2.0)
    sigmoid = triton_sigmoid.sigmoid_sums(made.logits, made.labels, None, u, exponent, made.scale, made.gradient)
    assert all(tensor.isfinite().all() for tensor in (*seesaw, *sigmoid, made.gradient))


def test_relative_accuracy_of_tiny_terms() -> None:
    """Where e = exp(-|z|) is far below float32's resolution at 1."""
    z = torch.tensor([[[-30.0], [-20.0], [-40.0], [2.0]]])
    gradient, labels, scale = torch.empty_like(z), torch.tensor([[3]]), torch.ones(())
    value, negative = triton_sigmoid.sigmoid_sums(z, labels, None, torch.ones(4), None, scale, gradient)
    expected = z.double()[0, :3, 0].sigmoid()
    near(gradient[0, :3, 0], expected, 3e-6)
    near(negative[:3], expected, 3e-6)
    near(value, softplus(z.double()[0, :3]).sum(), 3e-6)
    softmax = triton_softmax.softmax_sums(z, labels, None, None, None, 1.0, scale, gradient)
    rest = (z.double() - 2.0).exp()[0, :3].sum()
    near(softmax[0], torch.log1p(rest), 3e-6)
    near(softmax[1].squeeze(), rest / (1 + rest), 3e-6)


@pytest.mark.usefixtures("way")
def test_nan_weight_counts() -> None:
    for weight in (torch.tensor([[torch.nan], [0.0]]), torch.tensor([[1.0], [0.0]])):
        z = torch.tensor([[[1.0], [2.0]], [[torch.nan], [torch.nan]]])
        if weight[0].isfinite():
            z[0, 1] = torch.nan
        labels, scale, gradient = torch.tensor([[0], [0]]), torch.ones(()), torch.empty_like(z)
        value, negative = triton_sigmoid.sigmoid_sums(z, labels, weight, torch.ones(2), None, scale, gradient)
        assert value.isnan()
        assert negative.isnan().tolist() == [False, True]
        assert gradient.flatten().isnan().tolist() == [False, True, False, False]
        found = triton_softmax.softmax_sums(z, labels, weight, None, None, 1.0, scale, gradient)
        assert found[0].isnan()
        assert found[1].flatten().isnan().tolist() == [True, False]
        assert gradient.flatten().isnan().tolist() == [True, True, False, False]


@pytest.mark.parametrize("shape", [(0, 3, 1), (0, 3, 4), (2, 3, 0)])
def test_no_samples(shape: tuple[int, int, int]) -> None:
    z, labels, scale = torch.empty(shape), torch.empty(shape[0], shape[2], dtype=torch.int64), torch.ones(())
    sigmoid = triton_sigmoid.sigmoid_sums(z, labels, None, torch.ones(3), None, scale, z)
    softmax = triton_softmax.softmax_sums(z, labels, None, None, None, 1.0, scale, z)
    for value, *_, negative in (sigmoid, softmax):
        assert value.item() == 0
        assert negative.tolist() == [0, 0, 0]
    assert softmax[1].shape == labels.shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0,), (3,), (5, 1000), (2, 3, 4, 700)])
def test_scale(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.randn(shape).to(dtype)
    expected = tensor.double() * 0.3
    near(scale_(tensor, torch.tensor(0.3, dtype=torch.float64)), expected, RELATIVE.get(dtype, 1e-15))
    before = tensor.clone()
    assert torch.equal(scale_(tensor, torch.ones(())), before)
    if tensor.dim() == 4:
        last = torch.randn(shape).to(memory_format=torch.channels_last)
        near(scale_(last, torch.tensor(-2.0)), last.double(), 1e-6)
        with pytest.raises(ValueError, match="dense"):
            scale_(last[:, 1:], torch.ones(()))
