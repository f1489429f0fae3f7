"""Tasks: what is trained and how it is judged."""

from __future__ import annotations

from typing import Any

from eqbench import plugins
from eqbench.data.base import Dataset
from eqbench.losses.base import Loss
from eqbench.run_spec import Plugin, RunSpec
from eqbench.tasks.base import Evaluation, Evaluator, Task

__all__ = ["Evaluation", "Evaluator", "Task", "build", "build_loss", "supplied_to_loss"]


def build(spec: RunSpec) -> Task:
    """The task of a run, with its data.

    Raises:
        InputError: a plugin does not exist, or parameters do not fit its constructor.
        ValueError: a parameter's value is not possible.
    """
    data = plugins.construct("dataset", spec.data.name, spec.data.params)
    task: Task = plugins.construct(
        "task", spec.task.name, spec.task.params, data=data, model=spec.model, loss=spec.loss
    )
    return task


def supplied_to_loss(data: Dataset) -> dict[str, Any]:
    """Constructor arguments of losses that the data decides; a loss gets those that it has parameters for.

    `class_counts` (C,) int64 are training samples, in detection instances; `class_frequency` (C,) float32 the share of
    training samples, in detection images, that show the class.
    """
    return {
        "num_classes": data.num_classes,
        "class_counts": data.class_counts,
        "class_frequency": data.class_frequency,
    }


def build_loss(plugin: Plugin, data: Dataset, **supplied: Any) -> Loss:
    """The loss that `plugin` describes, for the classes of `data`; of `supplied` it gets what it has parameters for.

    Raises:
        InputError: the loss does not exist, or parameters do not fit its constructor.
        ValueError: a parameter's value is not possible.
    """
    loss: Loss = plugins.construct("loss", plugin.name, plugin.params, **supplied_to_loss(data), **supplied)
    return loss
