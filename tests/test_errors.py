"""Exit codes and the nearest name."""

from __future__ import annotations

import pytest

from eqbench.errors import EnvironmentProblem, EqbenchError, InputError, nearest


@pytest.mark.parametrize(("error", "code"), [(EqbenchError, 3), (InputError, 2), (EnvironmentProblem, 3)])
def test_exit_codes(error: type[EqbenchError], code: int) -> None:
    assert error("message").exit_code == code
    assert issubclass(error, EqbenchError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epocs", "; did you mean 'epochs'?"),
        ("batchsize", "; did you mean 'batch_size'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_nearest_name(name: str, hint: str) -> None:
    assert nearest(name, ["epochs", "batch_size"]) == hint


def test_nearest_of_nothing() -> None:
    assert nearest("epochs", []) == ""
