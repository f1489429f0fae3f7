"""Optimizer, learning-rate schedule and weight averaging, from their configuration."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from eqbench.recipe import SGD, AdamW, Constant, Cosine, MultiStep, Poly


def build_optimizer(model: nn.Module, config: SGD | AdamW) -> torch.optim.Optimizer:
    """The optimizer over all parameters of `model` that are trained; weight decay applies to all of them.

    Where none is trained, it has one that belongs to no model, since torch's optimizers refuse to have none.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parameters = parameters or [nn.Parameter(torch.zeros(()))]
    if isinstance(config, SGD):
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
    )


def lr_factor(schedule: Constant | Cosine | MultiStep | Poly, iteration: int, budget: int) -> float:
    """What the learning rate is multiplied by in `iteration` (from 0) of `budget`: warm-up times schedule.

    A pure function, so a resumed run needs no scheduler state.

    >>> [round(lr_factor(Cosine(), iteration, 4), 3) for iteration in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    progress = iteration / budget
    if isinstance(schedule, Cosine):
        low = schedule.final_factor
        factor = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))
    elif isinstance(schedule, MultiStep):
        factor = schedule.factor ** sum(progress >= milestone for milestone in schedule.milestones)
    elif isinstance(schedule, Poly):
        factor = (1 - progress) ** schedule.power
    else:
        factor = 1.0
    warmup = schedule.warmup
    if iteration < warmup.iterations:
        factor *= warmup.start_factor + (1 - warmup.start_factor) * iteration / warmup.iterations
    return factor


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def build_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights; buffers follow the model's."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
