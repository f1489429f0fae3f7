"""Plugins by name, their parameters, and what is said when either is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from eqbench import plugins
from eqbench.data.digits import Digits
from eqbench.errors import InputError
from eqbench.losses.cross_entropy import CrossEntropy

OUTSIDE = '''
from eqbench.losses.base import Loss
from eqbench.losses.cross_entropy import CrossEntropy

class Sharper(CrossEntropy):
    """Cross entropy of logits times a number."""

    def __init__(self, *, num_classes: int, sharpness: float = 2, **kwargs: float) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        self.sharpness = sharpness

class Unfinished(Loss):
    pass
'''


class Base:
    def __init__(self, *, weight: float = 1.0, size: int = 4) -> None: ...


class Example(Base):
    def __init__(
        self,
        *,
        num_classes: int,
        tau: float,
        mode: Literal["positive", "both"] = "positive",
        sizes: tuple[int, ...] = (1, 2),
        root: Path | None = None,
        threshold: float | str = "mean",
        **kwargs: Any,
    ) -> None: ...


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's module, as the current one."""
    (tmp_path / "outside_losses.py").write_text(OUTSIDE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "outside_losses", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bind(**params: Any) -> dict[str, Any]:
    return plugins.bind(Example, params, where="losses[0]", supplied={"num_classes"})


def problems(**params: Any) -> str:
    with pytest.raises(plugins.ParameterError) as caught:
        bind(**params)
    return str(caught.value)


def test_every_file_of_a_kind_is_a_plugin_or_known_as_support() -> None:
    for kind, facts in plugins.KINDS.items():
        folder = Path(plugins.__file__).parent / facts.folder
        assert facts.support <= {file.stem for file in folder.glob("*.py")}
        for name in plugins.names(kind):
            cls = plugins.load(kind, name)
            assert cls.__module__ == f"eqbench.{facts.folder}.{name}"
            assert plugins.describe(kind, name) == (cls.__doc__ or "").split("\n")[0]
            assert plugins.describe(kind, name)


def test_names_and_descriptions_need_no_heavy_package() -> None:
    code = (
        "import sys; from eqbench import plugins\n"
        "for kind in plugins.KINDS:\n    for name in plugins.names(kind): plugins.describe(kind, name)\n"
        "print({'torch', 'pydantic', 'yaml', 'numpy', 'ray'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_load_by_file_name() -> None:
    assert plugins.load("loss", "cross_entropy") is CrossEntropy
    assert plugins.load("dataset", "digits") is Digits


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("loss", "sofmax_eql", "unknown loss 'sofmax_eql'; did you mean 'softmax_eql'? (known: balanced_softmax"),
        ("loss", "base", "unknown loss 'base'"),
        ("dataset", "../digits", "unknown dataset '../digits'; did you mean 'digits'?"),
        ("loss", "no.such:Loss", "loss 'no.such:Loss': no module 'no' in the current folder or on the Python path"),
        ("loss", "outside_losses:Sharp", "outside_losses has no class 'Sharp'; did you mean 'Sharper'?"),
        ("loss", "outside_losses:OUTSIDE", "outside_losses has no class 'OUTSIDE'"),
        ("task", "outside_losses:Sharper", "Sharper is not a subclass of eqbench.tasks.base.Task"),
        ("loss", "outside_losses:Unfinished", "Unfinished does not define scores, terms"),
        ("loss", "outside_losses.py:", "loss 'outside_losses.py:': expected package.module:Class"),
        ("loss", "/outside_losses.py:Sharper", "expected package.module:Class"),
        ("model", "collections:OrderedDict", "OrderedDict is not a subclass of torch.nn.Module"),
    ],
)
def test_wrong_names(outside: Path, kind: plugins.KindName, name: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        plugins.load(kind, name)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import no_such_package", "importing broken failed: ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f(:", "importing broken failed: SyntaxError: invalid syntax"),
        ("raise SystemExit(1)", "importing broken failed: SystemExit: 1"),
    ],
)
def test_error_inside_a_users_module(
    outside: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    (outside / "broken.py").write_text(source)
    with pytest.raises(InputError) as caught:
        plugins.load("loss", "broken:Loss")
    assert str(caught.value).startswith(f"loss 'broken:Loss': {expected}")


def test_class_outside_eqbench(outside: Path) -> None:
    loss = plugins.construct("loss", "outside_losses:Sharper", {"sharpness": 3}, num_classes=5, class_counts=None)
    assert (loss.num_classes, loss.sharpness) == (5, 3.0)
    assert isinstance(loss.sharpness, float)


def test_base_class_parameters_count_where_the_constructor_takes_kwargs() -> None:
    bound = bind(tau=1, size=7)
    assert bound["size"] == 7
    assert bound["weight"] == 1.0


def test_all_parameters_but_the_supplied_ones_are_returned() -> None:
    assert bind(tau=1, sizes=[3], root="images") == {
        "tau": 1.0,
        "mode": "positive",
        "sizes": (3,),
        "root": Path("images"),
        "threshold": "mean",
        "weight": 1.0,
        "size": 4,
    }
    assert isinstance(bind(tau=1)["tau"], float)


def test_binding_what_was_bound_changes_nothing() -> None:
    once = bind(tau=2, sizes=[3], threshold=0.5)
    assert bind(**once) == once


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "losses[0].tau: missing, but Example requires it"),
        ({"tua": 1, "tau": 1}, "losses[0].tua: unknown parameter of Example; did you mean 'tau'?"),
        ({"tau": 1, "num_classes": 3}, "losses[0].num_classes: is set by the task and cannot be set in a suite"),
        ({"tau": "1"}, "losses[0].tau: '1', expected a number"),
        ({"tau": True}, "losses[0].tau: true, expected a number"),
        ({"tau": None}, "losses[0].tau: null, expected a number"),
        ({"tau": 1, "size": True}, "losses[0].size: true, expected a whole number"),
        ({"tau": 1, "size": 4.0}, "losses[0].size: 4.0, expected a whole number"),
        ({"tau": 1, "sizes": 3}, "losses[0].sizes: 3, expected a list"),
        ({"tau": 1, "sizes": [1, "x"]}, "losses[0].sizes[1]: 'x', expected a whole number"),
        ({"tau": 1, "root": 3}, "losses[0].root: 3, expected text"),
        ({"tau": 1, "threshold": [1]}, "losses[0].threshold: [1], expected a number or text"),
        (
            {"tau": 1, "mode": "postive"},
            "losses[0].mode: 'postive', expected 'positive' or 'both'; did you mean 'positive'?",
        ),
    ],
)
def test_wrong_parameters(params: dict[str, Any], expected: str) -> None:
    assert expected in problems(**params)


class Pairs:
    def __init__(
        self,
        *,
        scale: tuple[float, float] = (0.5, 1.0),
        jitter: tuple[float, float, float, float] | None = None,
        names: tuple[str, str] = ("a", "b"),
        nested: list[tuple[int, int]] | None = None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"scale": [0.5]}, "data.scale: 1 number, expected 2"),
        ({"scale": [0.5, 1, 1]}, "data.scale: 3 numbers, expected 2"),
        ({"scale": []}, "data.scale: 0 entries, expected 2"),
        ({"jitter": [1, 2]}, "data.jitter: 2 numbers, expected 4 or null"),
        ({"names": ["a"]}, "data.names: 1 entry, expected 2"),
        ({"scale": [0.5, "x"]}, "data.scale[1]: 'x', expected a number"),
        ({"scale": 3}, "data.scale: 3, expected a list"),
    ],
)
def test_a_list_of_the_wrong_length(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(plugins.ParameterError) as caught:
        plugins.bind(Pairs, params, where="data")
    assert str(caught.value) == expected


def test_a_nested_list_of_the_wrong_length_is_not_taken_for_the_outer_one() -> None:
    with pytest.raises(plugins.ParameterError) as caught:
        plugins.bind(Pairs, {"nested": [[1, 2], [3]]}, where="data")
    assert "expected 2" not in str(caught.value)
    assert str(caught.value).startswith("data.nested[1]")


def test_all_problems_are_listed() -> None:
    assert len(problems(tau="x", size=1.5, speed=3).splitlines()) == 3
