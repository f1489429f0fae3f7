"""The contract that every loss keeps, as checks of a class: for eqbench's own losses and for a user's.

Each check builds the loss small, runs it, and raises AssertionError with what was found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eqbench import plugins
from eqbench.errors import InputError
from eqbench.loss_contract import behaviour, mathematics
from eqbench.loss_contract.ranks import check_ranks
from eqbench.loss_contract.subject import Subject
from eqbench.losses import Loss

__all__ = ["CHECKS", "Subject", "check_loss", "check_ranks", "check_user_loss", "checks_for"]

CHECKS: dict[str, Callable[[Subject], None]] = {
    "constructor": behaviour.check_constructor,
    "arguments": behaviour.check_arguments,
    "scores": behaviour.check_scores,
    "gradient": mathematics.check_gradient,
    "statistics": mathematics.check_statistics,
    "soft_labels": mathematics.check_soft_labels,
    "scaling": mathematics.check_scaling,
    "micro_batches": mathematics.check_micro_batches,
    "pixels": mathematics.check_pixels,
    "ignored": mathematics.check_ignored,
    "half_precision": mathematics.check_half_precision,
    "order": behaviour.check_order,
    "nothing_to_record": behaviour.check_nothing_to_record,
    "gradient_scaling": behaviour.check_gradient_scaling,
    "extreme_logits": behaviour.check_extreme_logits,
    "non_finite_step": behaviour.check_non_finite_step,
    "state": behaviour.check_state,
}
"""The checks within one process, by name."""
ACROSS_DRAWS = frozenset({"scaling", "micro_batches", "pixels", "ignored", "ranks"})
"""Checks that compare calls of different shapes: nothing that a loss with random numbers in it can keep."""


def checks_for(subject: Subject) -> dict[str, Callable[[Subject], None]]:
    """The checks, that over two ranks among them, which a loss has to pass."""
    left_out = ACROSS_DRAWS if subject.build().random else frozenset()
    every = {**CHECKS, "ranks": check_ranks}
    return {name: check for name, check in every.items() if name not in left_out}


def check_loss(cls: type[Loss], **params: Any) -> dict[str, str]:
    """Run every check on a loss class; what failed, by name of the check. Empty: the class keeps the contract.

    Processes started for the check over two ranks import the class by its module's name.

    >>> from eqbench.losses.cross_entropy import CrossEntropy
    >>> check_loss(CrossEntropy, background=True)
    {}
    """
    subject = Subject(cls, params)
    failures = {}
    try:
        checks = checks_for(subject)
    except Exception as error:
        return {"constructor": f"{type(error).__name__}: {error}"}
    for name, check in checks.items():
        try:
            check(subject)
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}"
    return failures


def check_user_loss(name: str) -> dict[str, str]:
    """`check_loss` on a class named as `file.py:Class`, `package.module:Class`, or as one of eqbench's own.

    Raises:
        InputError: there is no such file, module or class, or it is not a loss.
    """
    place, colon, class_name = name.rpartition(":")
    if colon and place.endswith(".py"):
        file = Path(place).resolve()
        if not file.is_file():
            raise InputError(f"{place}: there is no such file; expected FILE:CLASS, e.g. mine.py:MyLoss")
        sys.path.insert(0, str(file.parent))
        name = f"{file.stem}:{class_name}"
    return check_loss(plugins.load("loss", name))
