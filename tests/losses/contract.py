"""Every loss in eqbench/losses, in each of its forms, keeps the contract of eqbench.loss_contract."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from eqbench import plugins
from eqbench.loss_contract import CHECKS, Subject, check_ranks

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def forms() -> list[tuple[str, dict[str, Any]]]:
    """(name, parameters): the defaults, then one for each other value of a parameter that changes the formula."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in plugins.names("loss"):
        parameters = inspect.signature(plugins.load("loss", name)).parameters
        found.append((name, {}))
        found += [
            (name, {key: not parameter.default})
            for key, parameter in parameters.items()
            if isinstance(parameter.default, bool)
        ]
    found.append(("softmax_eql", {"indicator": "both", "tau": 0.5, "background": True}))
    found.append(("softmax_eql", {"indicator": "negative", "eps": 0.01}))
    return found


def identify(form: tuple[str, dict[str, Any]]) -> str:
    return "-".join([form[0], *(f"{key}={value}" for key, value in form[1].items())])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", forms(), ids=identify)
@pytest.mark.parametrize("check", CHECKS)
def test_contract(check: str, form: tuple[str, dict[str, Any]], device: str) -> None:
    name, params = form
    CHECKS[check](Subject(plugins.load("loss", name), params, device=device))


def test_two_ranks_have_the_totals_of_one() -> None:
    check_ranks(*(Subject(plugins.load("loss", name), params) for name, params in forms()))
