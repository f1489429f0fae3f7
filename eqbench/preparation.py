"""What a worker builds before it trains a run: the task with its data, the network with its loss, the trainer."""

from __future__ import annotations

import torch
from torch import nn

from eqbench import distributed, origin, tasks
from eqbench.errors import InputError
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.seeding import make_deterministic, seed_everything
from eqbench.supervision import stuck
from eqbench.tasks.base import Task
from eqbench.trainer import Trainer, TrainingFailed


def prepare(spec: RunSpec, folder: RunFolder, device: torch.device) -> tuple[Task, Trainer]:
    """Task and trainer of a run as they are before the first step, on `device`."""
    make_deterministic(spec.train.deterministic)
    seed_everything(spec.seed, "model")
    task = build_task(spec)
    return task, Trainer(build_model(task, spec, folder).to(device), spec.train, device)


def build_task(spec: RunSpec) -> Task:
    """The task of a run, with the data that the run was planned with.

    Raises:
        InputError: the data found here are others.
    """
    task = tasks.build(spec)
    if task.data.digest != spec.data_digest:
        raise InputError(
            f"data set {spec.data.name!r}: its digest here is {task.data.digest}, expected {spec.data_digest}, which "
            "the run was planned with; the data have changed or differ between machines"
        )
    return task


def build_model(task: Task, spec: RunSpec, folder: RunFolder) -> nn.Module:
    """The network and loss of a run, with the weights of the run that it starts from, if it does.

    Raises:
        TrainingFailed: that run has not finished, or its weights are not there.
        InputError: its weights are not those of this model.
    """
    model = task.build_model()
    if spec.origin:
        try:
            weights = origin.load_weights(spec.origin, folder.path.parent.parent)
        except origin.OriginMissing as error:
            raise TrainingFailed(str(error)) from error
        model.start_from(weights)  # type: ignore[operator]
    return model


def cautions(trainer: Trainer, task: Task, folder: RunFolder) -> list[str]:
    """What a reader of the result should know of how it was trained."""
    shares = distributed.world_size() * trainer.config.accumulate
    warnings = stuck(folder) + trainer.warnings()
    if task.data.mixes and shares > 1:
        warnings += [f"images are mixed within each of {shares} shares of a batch: the result depends on their number"]
    return warnings
