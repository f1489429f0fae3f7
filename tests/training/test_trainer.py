"""One optimizer step: clipping, accumulation, precision, averaging, and what is not finite."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eqbench import tasks
from eqbench.data.base import Draw
from eqbench.tasks.base import Task
from eqbench.trainer import SMALLEST_SCALE, Trainer, TrainingFailed

from .same_runs import differences
from .tiny_runs import CPU, tiny_spec

Batch = tuple[Tensor, Tensor]


def build(**changes: Any) -> tuple[Trainer, Task]:
    spec = tiny_spec(**{"norm": "group", **changes})
    task = tasks.build(spec)
    torch.manual_seed(0)
    return Trainer(task.build_model(), spec.train, CPU), task


def batch(task: Task, *indices: int) -> Batch:
    samples: Batch = task.train_data.collate([task.train_data[Draw(index, index)] for index in indices])
    return samples


def take_steps(trainer: Trainer, task: Task, *steps: list[Batch]) -> list[float]:
    network = trainer.distribute()
    batches: Iterator[Batch] = iter([part for parts in steps for part in parts])
    return [
        trainer.step(network, task, batches, float(sum(len(labels) for _, labels in parts)), iteration).item()
        for iteration, parts in enumerate(steps)
    ]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_a_step_is_gradient_descent_on_the_mean_loss() -> None:
    trainer, task = build(optimizer={"name": "sgd", "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0})
    model = copy.deepcopy(trainer.model)
    images, labels = batch(task, 0, 5, 20, 28)
    value = nn.functional.cross_entropy(model(images), labels)
    value.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad
    assert take_steps(trainer, task, [(images, labels)]) == [pytest.approx(value.item())]
    torch.testing.assert_close(weights(trainer.model), weights(model))


def test_micro_batches_make_one_step() -> None:
    """Of any sizes, none of the samples too; weights and statistics are those of the whole batch at once."""
    whole, task = build()
    parts, _ = build(accumulate=3)
    values = take_steps(whole, task, [batch(task, *range(8))], [batch(task, 20, 28)])
    others = take_steps(
        parts,
        task,
        [batch(task, 0, 1, 2, 3, 4), batch(task, 5), batch(task, 6, 7)],
        [batch(task, 20), batch(task), batch(task, 28)],
    )
    assert others == pytest.approx(values, rel=1e-5)
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=1e-5, atol=1e-6)
    statistics = [trainer.losses[0].statistics for trainer in (whole, parts)]
    torch.testing.assert_close(statistics[1].state_dict(), statistics[0].state_dict(), rtol=1e-6, atol=0)
    assert int(statistics[1].committed_steps) == 2


@pytest.mark.parametrize("clip_norm", [0.01, 1e6])
def test_clipping(clip_norm: float) -> None:
    plain = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    free, task = build(optimizer=plain)
    clipped, _ = build(optimizer=plain, clip_norm=clip_norm)
    before = weights(free.model)
    for trainer in (free, clipped):
        take_steps(trainer, task, [batch(task, 0, 20, 28)])
    step, limited = weights(free.model) - before, weights(clipped.model) - before
    assert step.norm() > 0.01
    assert limited.norm() == pytest.approx(min(clip_norm, step.norm().item()), rel=1e-3)
    torch.testing.assert_close(limited / limited.norm(), step / step.norm(), rtol=1e-3, atol=1e-4)


def test_averaged_weights_are_those_of_the_formula_and_are_evaluated() -> None:
    trainer, task = build(ema_decay=0.75)
    expected = None
    for step in range(4):
        take_steps(trainer, task, [batch(task, step, 20, 28)])
        now = weights(trainer.model)
        expected = now if expected is None else 0.75 * expected + 0.25 * now
    torch.testing.assert_close(weights(trainer.evaluated), expected)
    assert trainer.evaluated is not trainer.model


def test_without_averaging_the_model_is_evaluated() -> None:
    trainer, _ = build()
    assert trainer.evaluated is trainer.model


# -- precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_low_precision_follows_float32(precision: str, dtype: torch.dtype) -> None:
    exact, task = build()
    rough, _ = build(precision=precision)
    seen = []
    network = rough.model.network
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))  # type: ignore[operator,union-attr]
    steps = [[batch(task, *range(start, 29, 4))] for start in range(4)]
    assert take_steps(rough, task, *steps) == pytest.approx(take_steps(exact, task, *steps), rel=0.02)
    assert set(seen) == {dtype}
    assert {parameter.dtype for parameter in rough.model.parameters()} == {torch.float32}
    assert rough.scaler.is_enabled() == (precision == "fp16")
    positive = [trainer.losses[0].statistics.positive for trainer in (exact, rough)]
    torch.testing.assert_close(positive[1], positive[0], rtol=0.05, atol=1e-3)


def test_a_gradient_that_overflows_in_fp16_costs_one_step_and_halves_the_scale() -> None:
    trainer, task = build(precision="fp16")
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**120})
    before = weights(trainer.model)
    step = [batch(task, 0, 20)]
    take_steps(trainer, task, step)
    assert torch.equal(weights(trainer.model), before)
    assert trainer.scaler.get_scale() == 2.0**119
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**10})
    take_steps(trainer, task, step)
    assert not torch.equal(weights(trainer.model), before)


def test_gradients_that_never_become_finite_in_fp16_stop_training() -> None:
    trainer, task = build(precision="fp16")
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingFailed, match=r"^non-finite gradient at iteration 28 "):
        take_steps(trainer, task, *[[batch(task, 0, 20)]] * 40)
    assert trainer.scaler.get_scale() <= SMALLEST_SCALE


def test_a_loss_that_is_not_finite_in_fp16_stops_at_once() -> None:
    trainer, task = build(precision="fp16")
    images, labels = batch(task, 0, 20)
    before = weights(trainer.model)
    with pytest.raises(TrainingFailed, match=r"^non-finite loss at iteration 1 "):
        take_steps(trainer, task, [(images * float("nan"), labels)])
    assert torch.equal(weights(trainer.model), before)


def test_weights_that_are_not_finite_are_not_evaluated() -> None:
    trainer, _ = build()
    trainer.check_weights()
    with torch.no_grad():
        next(trainer.model.parameters()).flatten()[0] = float("nan")
    with pytest.raises(TrainingFailed, match="non-finite weights"):
        trainer.check_weights()


# -- not finite --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_gradient_that_is_not_finite_stops_before_the_update(
    value: str, precision: str, clip_norm: float | None
) -> None:
    trainer, task = build(precision=precision, clip_norm=clip_norm)
    images, labels = batch(task, 0, 20)
    take_steps(trainer, task, [(images, labels)])
    before = copy.deepcopy(trainer.state_dict())
    with pytest.raises(TrainingFailed, match=r"^non-finite gradient at iteration 1 \(loss nan on rank 0\)$"):
        take_steps(trainer, task, [(images * float(value), labels)])
    assert differences(trainer.state_dict(), before) == []


def test_weights_are_checked_after_the_last_step() -> None:
    trainer, _ = build()
    trainer.check_weights()
    with torch.no_grad():
        next(trainer.model.parameters())[0] = float("inf")
    with pytest.raises(TrainingFailed, match=r"^non-finite weights after the last iteration$"):
        trainer.check_weights()


# -- state -------------------------------------------------------------------------------------------------------


def test_state_is_everything() -> None:
    """A trainer that was given another's state goes on like it."""
    options: dict[str, Any] = {"precision": "fp16", "ema_decay": 0.9, "optimizer": {"name": "adamw", "lr": 0.01}}
    trainer, task = build(**options)
    steps = [[batch(task, *range(start, 29, 4))] for start in range(4)]
    take_steps(trainer, task, *steps[:2])
    state = copy.deepcopy(trainer.state_dict())
    other, _ = build(**options)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.zero_()
    other.load_state_dict(state)
    assert take_steps(other, task, *steps[2:]) == take_steps(trainer, task, *steps[2:])
    assert differences(other.state_dict(), trainer.state_dict()) == []


def test_channels_last() -> None:
    trainer, task = build(channels_last=True)
    plain, _ = build()
    images, labels = batch(task, *range(0, 29, 3))
    values = take_steps(trainer, task, [(images.to(memory_format=torch.channels_last), labels)])
    assert values == pytest.approx(take_steps(plain, task, [(images, labels)]), rel=1e-5)
    torch.testing.assert_close(weights(trainer.model), weights(plain.model), rtol=1e-4, atol=1e-6)
    filters = [parameter for parameter in trainer.model.parameters() if parameter.ndim == 4 and parameter.shape[1] > 1]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in filters)
