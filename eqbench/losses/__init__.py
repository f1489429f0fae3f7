"""Losses for long-tailed recognition, usable in any PyTorch program; needs torch alone.

>>> import torch
>>> from eqbench import losses
>>> loss = losses.build("softmax_eql", num_classes=3)
>>> logits, labels = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 0, 1, 2])
>>> loss(logits, labels).backward()
>>> loss.commit()  # once per optimizer step
>>> loss.statistics.ratio.shape, loss.scores(logits).shape
(torch.Size([3]), torch.Size([4, 3]))
"""

from __future__ import annotations

from typing import Any

from torch import nn

from eqbench.errors import nearest
from eqbench.losses.base import Loss, commit
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.statistics import GradientStatistics

NEEDED = {
    "class_counts": "how many training samples each class has",
    "class_frequency": "how frequent each class is in the training data",
}

__all__ = ["Batch", "GradientStatistics", "Loss", "Terms", "build", "commit", "of"]


def build(name: str, *, num_classes: int, **params: Any) -> Loss:
    """A loss by name: that of its file in `eqbench/losses/`, or `package.module:Class`.

    Args:
        name: `eqbench ls losses` lists them.
        num_classes: C, foreground classes.
        params: of the loss's constructor. Some losses need the `class_counts` or the `class_frequency` (C,) of the
            training data, which in a suite the data set gives.

    Raises:
        eqbench.errors.InputError: there is no such loss.
        TypeError: the loss has no such parameter; the message names the nearest, and all that it takes.
        ValueError: a parameter is missing or out of its range.

    >>> build("softmax_eql", num_classes=10, tau=0.5)
    SoftmaxEQL(
      num_classes=10, loss_weight=1.0, ignore_index=-1, background=False, tau=0.5, eps=0.0001, indicator='positive'
      (statistics): GradientStatistics()
    )
    >>> build("focal", num_classes=10, gama=1.5)
    Traceback (most recent call last):
    TypeError: gama: focal has no such parameter; did you mean 'gamma'? (takes: gamma, alpha, loss_weight, ignore_index)
    """
    from eqbench import plugins

    cls = plugins.load("loss", name)
    parameters = plugins.parameters(cls)
    takes = [parameter for parameter in parameters if parameter != "num_classes"]
    for unknown in (parameter for parameter in params if parameter not in takes):
        hint = f"{nearest(unknown, takes)} (takes: {', '.join(takes)})"
        raise TypeError(f"{unknown}: {name} has no such parameter{hint}")
    for needed, what in NEEDED.items():
        parameter = parameters.get(needed)
        if parameter is not None and parameter.default is parameter.empty and needed not in params:
            raise ValueError(f"{needed}: missing: {name} needs {what}, a tensor of {num_classes} numbers")
    loss: Loss = cls(num_classes=num_classes, **params)
    return loss


def of(module: nn.Module) -> list[tuple[str, Loss]]:
    """The losses inside a module, by name.

    >>> of(nn.ModuleDict({"head": build("cross_entropy", num_classes=2)}))[0][0]
    'head'
    """
    return [(name, child) for name, child in module.named_modules() if isinstance(child, Loss)]
