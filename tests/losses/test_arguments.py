"""What users pass to a loss: wrong arguments are named, right ones of any kind are taken; and its docstring works."""

from __future__ import annotations

import doctest
import inspect
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from eqbench import losses, plugins
from eqbench.loss_contract import Subject
from eqbench.losses.arguments import check_alpha, check_bool, check_choice, check_integer, check_number
from eqbench.losses.class_counts import check_per_class

EVERY = plugins.names("loss")
BACKGROUND = ["cross_entropy", "softmax_eql", "group_softmax"]
OBJECTNESS = ["seesaw", "sigmoid_eql"]
COUNTS = {"class_counts": [50, 20, 2], "class_frequency": [0.5, 0.2, 0.02]}
NOT_TENSORS = [
    (np.zeros(2), "ndarray: expected a torch.Tensor"),
    ([0.0, 1.0], "list: expected a torch.Tensor"),
    (1.0, "float: expected a torch.Tensor"),
    ("zeros", "str: expected a torch.Tensor"),
    (torch.eye(2).to_sparse(), "layout torch.sparse_coo: expected torch.strided"),
]


def build(name: str, **params: Any) -> losses.Loss:
    taken = plugins.parameters(plugins.load("loss", name))
    needed = {key: value for key, value in COUNTS.items() if key in taken}
    return losses.build(name, **{"num_classes": 3, **needed, **params})


@pytest.mark.parametrize(("value", "message"), [*NOT_TENSORS, (None, "NoneType: expected a torch.Tensor")])
def test_what_is_no_dense_tensor_is_named(value: Any, message: str) -> None:
    plain, of_quality, federated = build("bce"), build("quality_focal"), build("federated")
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    calls = [
        ("logits", lambda: plain(value, labels)),
        ("logits", lambda: plain.scores(value)),
        ("labels", lambda: plain(logits, value)),
        ("labels", lambda: build("softmax_eql")(logits, value)),
    ]
    if value is not None:
        calls += [
            ("weight", lambda: plain(logits, labels, weight=value)),
            ("quality", lambda: of_quality(logits, labels, quality=value)),
            ("negatives", lambda: federated(logits, labels, negatives=value)),
        ]
    for name, call in calls:
        with pytest.raises(ValueError, match=f"^{name}: {message}$"):
            call()


@pytest.mark.parametrize("name", EVERY)
def test_scores_want_a_tensor_with_data(name: str) -> None:
    loss = Subject(plugins.load("loss", name)).build()
    for logits, message in (
        ([[1.0]], "list: expected a torch.Tensor"),
        (torch.zeros(2, loss.columns, device="meta"), "on meta: expected a device with data"),
        (torch.zeros(2, loss.columns, dtype=torch.int64), "dtype torch.int64: expected a floating dtype"),
        (torch.zeros(2, loss.columns + 1), r"shape \(2, "),
    ):
        with pytest.raises(ValueError, match=f"^logits: {message}"):
            loss.scores(logits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("normalizer", "message"),
    [
        (0, "0: expected a finite number > 0"),
        (float("inf"), "inf: expected a finite number > 0"),
        (10**400, "10+: expected a finite number > 0"),
        (1j, "1j: expected a finite number > 0"),
        (True, "True: expected a finite number > 0"),
        ([1.0], r"\[1.0\]: expected a finite number > 0"),
        ("2", "'2': expected a finite number > 0"),
        (torch.tensor(float("inf")), "inf: expected a finite number > 0"),
        (torch.tensor(-1), "-1: expected a finite number > 0"),
        (torch.tensor(1j), "dtype torch.complex64: expected a real number"),
        (torch.tensor(True), "dtype torch.bool: expected a real number"),
        (torch.tensor([1.0]), r"shape \(1,\): expected a number or a 0-dim tensor"),
        (torch.tensor(1.0, device="meta"), "on meta: expected a device with data"),
    ],
)
def test_a_wrong_normalizer_is_named(normalizer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^normalizer: {message}$"):
        build("cross_entropy")(torch.zeros(2, 3), torch.tensor([0, 1]), normalizer=normalizer)


@pytest.mark.parametrize("value", ["yes", "no", None, 2, 1, 0, 0.5])
@pytest.mark.parametrize("name", BACKGROUND + OBJECTNESS)
def test_flags_are_true_or_false(name: str, value: Any) -> None:
    parameter = "background" if name in BACKGROUND else "objectness"
    with pytest.raises(ValueError, match=f"^{parameter}: {value!r}: expected True or False$"):
        build(name, **{parameter: value})
    for flag in (False, True):
        assert f"{parameter}={flag}" in build(name, **{parameter: flag}).extra_repr()


@pytest.mark.parametrize("normalizer", [4, np.int64(4), np.float32(4), np.float64(4), Fraction(4), torch.tensor(4)])
def test_normalizers_of_any_kind_are_the_same(normalizer: Any) -> None:
    logits, labels = torch.eye(3), torch.tensor([0, 1, 1])
    assert torch.equal(build("focal")(logits, labels, normalizer=normalizer), build("focal")(logits, labels) * 3 / 4)


@pytest.mark.parametrize("name", EVERY)
def test_numbers_of_numpy_are_taken(name: str) -> None:
    """A loss built of NumPy's numbers is the loss built of Python's."""
    taken = plugins.parameters(plugins.load("loss", name))
    numbers = {key: each.default for key, each in taken.items() if type(each.default) in (int, float)}
    numbers["num_classes"] = 3
    kinds = {int: np.int64, float: np.float64}
    plain, other = (build(name, **each) for each in (numbers, {key: kinds[type(n)](n) for key, n in numbers.items()}))
    assert repr(other) == repr(plain)
    logits, labels = torch.linspace(-1, 1, 3 * plain.columns).view(3, -1), torch.tensor([0, 2, -1])
    values = []
    for loss in (plain, other):
        torch.manual_seed(0)
        quality = torch.tensor([0.2, 0.7, 0.0]) if loss.uses_quality else None
        values.append(loss(logits.clone().requires_grad_(), labels, quality=quality))
        loss.commit()
    assert torch.equal(*values)
    torch.testing.assert_close(other.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_counts_of_numpy_are_taken() -> None:
    for counts in (np.arange(5)[::-1], np.arange(5)[::-1].astype(np.float32), np.arange(4, -1, -1, dtype=np.uint8)):
        assert check_per_class("class_counts", counts, 5).tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]
    for wrong, message in (
        (np.zeros(2, dtype=complex), "expected"),
        ([10**400, 1], "expected"),
        (torch.zeros(2, device="meta"), "on meta: expected"),
        (torch.zeros(2).to_sparse(), "layout torch.sparse_coo: expected torch.strided"),
    ):
        with pytest.raises(ValueError, match=rf"^class_counts: .*{message}"):
            check_per_class("class_counts", wrong, 2)  # type: ignore[arg-type]
    boundaries = (np.int64(3), np.int64(30))
    assert losses.build("group_softmax", num_classes=2, class_counts=[1, 9], boundaries=boundaries).columns == 4


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (2, {"at_most": 1}, "<= 1"),
        (1, {"below": 1}, "< 1"),
        (0, {"above": 0, "at_most": 1}, "> 0 and <= 1"),
        (-1e-9, {"at_least": 0, "below": 1}, ">= 0 and < 1"),
        (np.float32("nan"), {"at_least": 0}, ">= 0"),
        (np.True_, {"at_least": 0}, ">= 0"),
        (False, {"at_least": 0}, ">= 0"),
        (torch.tensor(1.0), {"at_least": 0}, ">= 0"),
        (None, {"at_least": 0}, ">= 0"),
    ],
)
def test_numbers_out_of_range(value: Any, limits: dict[str, float], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^x: .*: expected a finite number {expected}$"):
        check_number("x", value, **limits)


def test_checks_give_the_value_back() -> None:
    numbers = [check_number("x", value, at_least=0, at_most=1) for value in (0, 1, np.float32(0.5), Fraction(1, 4))]
    assert numbers == [0.0, 1.0, 0.5, 0.25]
    assert {type(number) for number in numbers} == {float}
    assert type(check_integer("x", np.int32(7), at_least=7)) is int  # type: ignore[arg-type]
    assert check_alpha("x", None) is None
    assert check_alpha("x", np.float64(1.0)) == 1.0
    assert check_bool("x", False) is False
    check_choice("x", "b", ["a", "b"])


@pytest.mark.parametrize("value", [None, 3, np.array(["softmax", "focal"]), ["softmax"]])
def test_a_choice_of_a_wrong_type_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^form: .*: expected one of 'softmax', 'sigmoid', 'focal'"):
        build("class_balanced", form=value)
    with pytest.raises(ValueError, match=r"^indicator: .*: expected one of 'positive', 'negative', 'both'"):
        build("softmax_eql", indicator=value)


def test_an_unknown_parameter_is_named() -> None:
    message = r"^gama: focal has no such parameter; did you mean 'gamma'\? \(takes: gamma, alpha, loss_weight, ignore_"
    with pytest.raises(TypeError, match=message):
        build("focal", gama=2.0)
    with pytest.raises(TypeError, match=r"^class_count: ldam has no such parameter; did you mean 'class_counts'\?"):
        losses.build("ldam", num_classes=3, class_count=[1, 2, 3])


@pytest.mark.parametrize("name", EVERY)
def test_the_docstring_is_a_program_to_paste(name: str) -> None:
    """Import, build by name, call, backward and commit in six lines of one statement each, then what came of it."""
    cls = plugins.load("loss", name)
    text = inspect.getdoc(cls)
    assert text is not None
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    sources = [each.source.strip() for each in example.examples]
    shown = next(i for i, each in enumerate(example.examples) if each.want)
    assert not any("\n" in source for source in sources), "a continuation line"
    assert shown <= 6
    assert sources[:2] == ["import torch", "from eqbench import losses"]
    assert sources[2].startswith(f'loss = losses.build("{name}", num_classes=')
    assert ".backward()" in sources[shown - 2]
    assert sources[shown - 1].startswith("loss.commit()")
    torch.manual_seed(0)
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0
