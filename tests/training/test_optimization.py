"""Schedules against numbers worked out by hand, optimizers and averaged weights against their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from eqbench.optimization import build_ema, build_optimizer, lr_factor, set_lr
from eqbench.recipe import SGD, AdamW, Constant, Cosine, MultiStep, Poly, WarmUp


def factors(schedule: Constant | Cosine | MultiStep | Poly, budget: int) -> list[float]:
    return [lr_factor(schedule, iteration, budget) for iteration in range(budget)]


def test_constant() -> None:
    assert factors(Constant(), 3) == [1.0, 1.0, 1.0]


def test_cosine() -> None:
    half = math.sqrt(0.5)
    assert factors(Cosine(), 4) == pytest.approx([1, (1 + half) / 2, 0.5, (1 - half) / 2])
    assert factors(Cosine(final_factor=0.2), 2) == pytest.approx([1, 0.6])
    assert lr_factor(Cosine(final_factor=0.2), 10**6 - 1, 10**6) == pytest.approx(0.2)


@pytest.mark.parametrize("iterations_per_epoch", [1, 7, 10, 1832, 7327])
def test_multi_step_drops_at_the_first_iteration_of_epochs_8_and_11_of_12(iterations_per_epoch: int) -> None:
    budget = 12 * iterations_per_epoch
    found = factors(MultiStep(), budget)
    expected = [1.0] * 8 + [0.1] * 3 + [0.01]
    assert found == pytest.approx([factor for factor in expected for _ in range(iterations_per_epoch)])


def test_multi_step_with_a_budget_that_milestones_do_not_divide() -> None:
    assert factors(MultiStep(milestones=(0.5, 0.9), factor=0.5), 5) == [1.0, 1.0, 1.0, 0.5, 0.5]
    assert factors(MultiStep(milestones=(0.9,)), 10)[8:] == pytest.approx([1.0, 0.1])


def test_poly() -> None:
    assert factors(Poly(power=2.0), 4) == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16])
    assert lr_factor(Poly(), 500, 1000) == pytest.approx(0.5**0.9)


@pytest.mark.parametrize("schedule", [Constant, Cosine, MultiStep, Poly])
def test_warm_up_is_linear_and_multiplies_the_schedule(schedule: type[Any]) -> None:
    warm = factors(schedule(warmup=WarmUp(iterations=4, start_factor=0.2)), 12)
    cold = factors(schedule(), 12)
    rise = [0.2, 0.4, 0.6, 0.8, *[1.0] * 8]
    assert warm == pytest.approx([factor * part for factor, part in zip(cold, rise, strict=True)])


def test_set_lr_reaches_every_group() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias], "lr": 5.0}], lr=1.0)
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_sgd_is_as_configured() -> None:
    """One step by hand: weight decay into the gradient, Nesterov momentum, learning rate."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, SGD(lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.25))
    model.weight.grad = torch.tensor([[1.0]])
    optimizer.step()
    gradient = 1.0 + 0.25 * 2.0
    assert model.weight.item() == pytest.approx(2.0 - 0.1 * (gradient + 0.5 * gradient))


def test_adamw_is_as_configured() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, AdamW(lr=0.1, betas=(0.5, 0.25), eps=1.0, weight_decay=0.5))
    model.weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1 * 3.0 / (3.0 + 1.0))
    assert optimizer.defaults["betas"] == (0.5, 0.25)


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(model, SGD()).param_groups
    assert [id(parameter) for parameter in group["params"]] == [id(model.weight)]


def test_averaged_weights_follow_the_formula_and_buffers_the_model() -> None:
    model = nn.BatchNorm1d(1)
    ema = build_ema(model, decay=0.75)
    expected = 0.0
    for step, weight in enumerate((1.0, 3.0, -2.0, 5.0)):
        with torch.no_grad():
            model.weight.fill_(weight)
            model.running_mean.fill_(10 * weight)  # type: ignore[union-attr,operator]
        ema.update_parameters(model)
        expected = weight if step == 0 else 0.75 * expected + 0.25 * weight
        assert ema.module.weight.item() == pytest.approx(expected)
        assert ema.module.running_mean.item() == 10 * weight
