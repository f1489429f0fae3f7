"""Every loss in eqbench/losses, in each of its forms, keeps the contract of eqbench.loss_contract."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from eqbench import plugins
from eqbench.loss_contract import Subject, check_ranks, checks_for

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


Form = tuple[str, dict[str, Any]]
FURTHER: list[Form] = [
    ("softmax_eql", {"indicator": "both", "tau": 0.5, "background": True}),
    ("softmax_eql", {"indicator": "negative", "eps": 0.01}),
    ("focal", {"alpha": None, "gamma": 0.0}),
    ("quality_focal", {"beta": 0.0}),
    ("quality_focal", {"beta": 1.5}),
    ("efl", {"focal_alpha": None}),
    ("eql", {"lambda_": 0.2}),
    ("eql_softmax", {"lambda_": 0.2}),
    ("eql_softmax", {"lambda_": 0.2, "keep_probability": 1.0}),
    ("ldam", {"deferred_steps": 0}),
    ("class_balanced", {"form": "sigmoid"}),
    ("class_balanced", {"form": "focal"}),
    ("group_softmax", {"boundaries": (25,), "others_ratio": 0.5, "background": True}),
    ("federated", {"num_sampled": 3}),
]
"""Forms with parameters other than their defaults that are not flags."""


def forms() -> list[Form]:
    """(name, parameters): the defaults, then one for each other value of a parameter that changes the formula."""
    found: list[Form] = []
    for name in plugins.names("loss"):
        parameters = inspect.signature(plugins.load("loss", name)).parameters
        found.append((name, {}))
        found += [
            (name, {key: not parameter.default})
            for key, parameter in parameters.items()
            if isinstance(parameter.default, bool)
        ]
    return found + FURTHER


def subject(form: Form, device: str = "cpu") -> Subject:
    name, params = form
    return Subject(plugins.load("loss", name), params, device=device)


def identify(form: Form) -> str:
    return "-".join([form[0], *(f"{key}={value}" for key, value in form[1].items())])


def checks() -> list[Any]:
    """(check, form) for each form and each check it has to pass within one process."""
    cases = []
    for form in forms():
        names = [name for name in checks_for(subject(form)) if name != "ranks"]
        cases += [pytest.param(name, form, id=f"{name}-{identify(form)}") for name in names]
    return cases


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("check", "form"), checks())
def test_contract(check: str, form: Form, device: str) -> None:
    tested = subject(form, device)
    checks_for(tested)[check](tested)


def test_ranks_have_the_totals_of_one() -> None:
    """Four of them; two are what a user's loss is checked with."""
    subjects = [subject(form) for form in forms()]
    check_ranks(*(each for each in subjects if "ranks" in checks_for(each)), world_size=4)
