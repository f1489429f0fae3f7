"""The contract finds what is wrong with a loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eqbench.loss_contract import CHECKS, Subject
from eqbench.losses import Batch, Loss, Terms
from eqbench.losses.cross_entropy import CrossEntropy


class WrongGradient(CrossEntropy):
    """Gradient off by a factor."""

    def terms(self, batch: Batch) -> Terms:
        terms = super().terms(batch)
        return terms._replace(gradient=terms.gradient * 1.01)


class SwappedStatistics(CrossEntropy):
    """Positive and negative exchanged."""

    def terms(self, batch: Batch) -> Terms:
        terms = super().terms(batch)
        return terms._replace(positive=terms.negative, negative=terms.positive)


class CountsIgnored(CrossEntropy):
    """Takes ignored samples for samples of class 0."""

    def terms(self, batch: Batch) -> Terms:
        return super().terms(replace(batch, ignored=None))


class ForgetsWeight(CrossEntropy):
    """Leaves the weight out."""

    def terms(self, batch: Batch) -> Terms:
        return super().terms(replace(batch, weight=None))


class HalfPrecision(CrossEntropy):
    """Computes in the logits' dtype."""

    def terms(self, batch: Batch) -> Terms:
        terms = super().terms(batch)
        return terms._replace(value=terms.value.to(batch.logits.dtype), negative=terms.negative.to(batch.logits.dtype))


class KeepsState(CrossEntropy):
    """Changes with every call, whether or not anything is committed."""

    calls = 0

    def adjustment(self) -> Tensor | None:
        self.calls += 1
        return torch.arange(5.0) * self.calls


class ImpatientlyCommitted(CrossEntropy):
    """Folds each call at once."""

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        value = super().forward(*args, **kwargs)
        self.commit()
        return value


class Overflows(CrossEntropy):
    """Exponentials without subtracting the maximum."""

    def terms(self, batch: Batch) -> Terms:
        terms = super().terms(batch)
        logits = batch.logits.to(batch.dtype)
        return terms._replace(value=terms.value + 0 * logits.exp().sum())


class PositionalArguments(CrossEntropy):
    """Not keyword-only."""

    def __init__(self, num_classes: int, loss_weight: float = 1.0, ignore_index: int = -1) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)


class ScoresWithBackground(CrossEntropy):
    """Returns as many scores as logits."""

    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)


@pytest.mark.parametrize(
    ("cls", "checks"),
    [
        (CrossEntropy, set()),
        (WrongGradient, {"gradient"}),
        (SwappedStatistics, {"statistics"}),
        (CountsIgnored, {"ignored", "nothing_to_record"}),
        (ForgetsWeight, {"scaling"}),
        (HalfPrecision, {"half_precision"}),
        (KeepsState, {"order", "micro_batches"}),
        (ImpatientlyCommitted, {"order", "micro_batches"}),
        (Overflows, {"extreme_logits"}),
        (PositionalArguments, {"constructor"}),
        (ScoresWithBackground, {"scores"}),
    ],
)
def test_faults_are_found(cls: type[Loss], checks: set[str]) -> None:
    subject = Subject(cls, {} if cls is PositionalArguments else {"background": cls is not KeepsState})
    for name in checks:
        with pytest.raises(AssertionError):
            CHECKS[name](subject)
    if not checks:
        for check in CHECKS.values():
            check(subject)
