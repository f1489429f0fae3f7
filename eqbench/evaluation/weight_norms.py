"""The norm of each class's weights in the classifier, beside the result of the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from eqbench.tasks.base import Evaluation

COLUMN = "weight_norm"


@runtime_checkable
class HasWeightNorms(Protocol):
    """A model whose classifier may have a row of weights for each class."""

    def weight_norms(self) -> Tensor | None:
        """(C,) Euclidean norms of what is multiplied with the features; None where classes have no rows."""


@torch.no_grad()
def add_weight_norms(evaluation: Evaluation, model: nn.Module) -> None:
    """Put the column `weight_norm` into the table of classes, where there is such a table and the model has norms."""
    if not isinstance(model, HasWeightNorms) or not evaluation.per_class:
        return
    norms = model.weight_norms()
    if norms is not None and len(norms) == len(next(iter(evaluation.per_class.values()))):
        evaluation.per_class[COLUMN] = norms.double().cpu().tolist()


def row_norms(weights: list[Tensor], number: int) -> Tensor | None:
    """(number,) norms of the first rows of weights (K, ...), which are added to one logit; None if they are fewer.

    >>> row_norms([torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0], [0.0]])], 2)
    tensor([5., 1.])
    """
    if not weights or any(len(weight) < number for weight in weights):
        return None
    squares = [weight.detach().float().flatten(1).square().sum(dim=1)[:number] for weight in weights]
    return torch.stack(squares).sum(dim=0).sqrt()
