"""What every worker executes to train one run. It knows nothing of images, of Ray, or of MLflow.

Everything that changes from step to step is a function of the run's seed and the iteration (order of samples,
augmentation, random state, learning rate) or is in the checkpoint (weights, buffers with the gradient statistics,
optimizer, gradient scaler, averaged weights). So a run that is killed and resumed equals one that never was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eqbench import distributed, optimization
from eqbench.checkpoint import CheckpointError, Checkpoints
from eqbench.cost import Stopwatch, cost
from eqbench.data import samplers
from eqbench.data.base import Draw
from eqbench.evaluation.failure import EvaluationFailed
from eqbench.evaluation.weight_norms import add_weight_norms
from eqbench.preparation import cautions, prepare
from eqbench.recording import Recorder
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.seeding import seed_everything
from eqbench.storage.training import fetch_checkpoint, manifest_digest
from eqbench.supervision import UNWATCHED, Supervision
from eqbench.tasks.base import Evaluation, Evaluator, Task
from eqbench.trainer import Trainer

logger = logging.getLogger(__name__)
Listener = Callable[[int], None]


def ignore(iteration: int) -> None:
    """A listener that does nothing."""


@dataclass
class Outcome:
    """How training ended: the last evaluation and what it cost."""

    evaluation: Evaluation
    cost: dict[str, Any]
    skipped_steps: int
    warnings: list[str]


def train(
    spec: RunSpec, folder: RunFolder, device: torch.device, evaluated: Listener = ignore, watch: Supervision = UNWATCHED
) -> Outcome:
    """Train `spec` from its newest checkpoint in `folder` to the end of its budget on this worker's `device`.

    `evaluated` is told the iteration of each evaluation, once numbers and checkpoint are written; it may end training.

    Raises:
        TrainingFailed: a gradient was not finite.
    """
    budget = spec.budget
    with watch.evaluating():  # the store that has the checkpoint may be away for a while
        task, trainer = prepare(spec, folder, device)
        first, progress, warnings = restore(trainer, Checkpoints(folder.checkpoints))
    pending = progress.get("pending", first == budget.iterations)  # an evaluation: most are before their checkpoint
    warnings += cautions(trainer, task, folder)
    recorder = Recorder(folder, task, trainer.model, device, budget, spec.data.params.get("root"))
    recorder.start(first, not pending, progress.get("since_record"))
    batches = training_batches(task, spec, first, device)
    network = trainer.distribute()
    clock = Stopwatch(progress.get("elapsed", 0.0))
    saver = Saver(trainer, recorder, clock, warnings)
    tell = clock.paused()(evaluated)
    judged = task, trainer.evaluated, spec, folder, device
    if pending and first < budget.iterations:
        warnings += look(recorder, first, clock, watch, *judged)
        tell(first)
    for iteration in range(first, budget.iterations):
        lr, normalizer = begin(iteration, spec, trainer)
        recorder.add(trainer.step(network, task, batches, normalizer, iteration))
        watch.stepped()
        done = iteration + 1
        due, looks, ends = milestones(spec, done)
        if due:
            recorder.record(done, lr)
        if (leaving := watch.leaving(done)) and (looks or not due):
            saver.write(done, pending=looks, since_record=recorder.since_record())
        if not due:
            continue
        if looks:
            warnings += look(recorder, done, clock, watch, *judged)
        if leaving or ends or saver.idle >= 60 * spec.resources.checkpoint_minutes:
            saver.write(done)
        if looks:
            tell(done)
    trainer.check_weights()
    with watch.evaluating():
        outcome = conclude(warnings, recorder, clock, *judged)
    evaluated(budget.iterations)
    return outcome


class Saver:
    """Writes checkpoints on the first rank; when one fails, training goes on with that before and `warnings` say so."""

    def __init__(self, trainer: Trainer, recorder: Recorder, clock: Stopwatch, warnings: list[str]) -> None:
        self._checkpoints = Checkpoints(recorder.folder.checkpoints)
        self._trainer, self._recorder, self._clock, self._warnings = trainer, recorder, clock, warnings
        self._saved = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since the last one."""
        return time.monotonic() - self._saved

    def write(self, iteration: int, **more: Any) -> None:
        """Write the checkpoint of `iteration`, with `more`: what training has left to do there, at a notice."""
        if not self._recorder.writes:
            return
        try:
            state = self._trainer.state_dict() | {"elapsed": self._clock.seconds, **more}
            self._checkpoints.save(iteration, state)
        except CheckpointError as error:
            logger.warning("%s; training goes on with the previous checkpoint", error)
            self._warnings.append(str(error))
        self._saved = time.monotonic()


def milestones(spec: RunSpec, done: int) -> tuple[bool, bool, bool]:
    """Whether after `done` iterations a record is due, an evaluation on the way, and a checkpoint in any case."""
    epoch, within_epoch = divmod(done, spec.budget.iterations_per_epoch)
    last = done == spec.budget.iterations
    looks = not within_epoch and not last and epoch % spec.train.evaluate_every_epochs == 0
    ends = last or not within_epoch
    return ends or done % spec.resources.record_every == 0, looks, ends


def begin(iteration: int, spec: RunSpec, trainer: Trainer) -> tuple[float, float]:
    """Random states and learning rate of a step; returns the latter, and the divisor of this worker's losses."""
    seed_everything(spec.seed, iteration, distributed.rank())
    factor = optimization.lr_factor(spec.train.schedule, iteration, spec.budget.iterations)
    lr = spec.train.optimizer.lr * factor
    optimization.set_lr(trainer.optimizer, lr)
    return lr, spec.budget.samples_of(iteration) / distributed.world_size()


def conclude(
    warnings: list[str],
    recorder: Recorder,
    clock: Stopwatch,
    task: Task,
    model: nn.Module,
    spec: RunSpec,
    folder: RunFolder,
    device: torch.device,
) -> Outcome:
    """The last evaluation, and what all of it cost."""
    seconds = clock.seconds
    evaluation = evaluate(task, model, spec, folder, device)
    recorder.evaluation(spec.budget.iterations, evaluation)
    costs = cost(spec, seconds, clock.seconds - seconds, device)
    return Outcome(evaluation, costs, recorder.skipped_steps, warnings + evaluation.warnings)


def look(recorder: Recorder, iteration: int, clock: Stopwatch, watch: Supervision, *judged: Any) -> list[str]:
    """Record an evaluation on the way; when that fails, training goes on and the reason is returned."""
    with clock.paused(), watch.evaluating():
        try:
            recorder.evaluation(iteration, evaluate(*judged))
        except EvaluationFailed as error:
            logger.warning("after %d iterations: %s; training goes on", iteration, error)
            return [f"after {iteration} iterations: {error}"]
    return []


def evaluate(task: Task, model: nn.Module, spec: RunSpec, folder: RunFolder, device: torch.device) -> Evaluation:
    """Evaluate `model` on all ranks, each on its share of the data; every rank returns the numbers.

    Raises:
        EvaluationFailed: the first rank could not compute them; all ranks raise it.
    """
    _share_buffers(model)
    model.eval()
    evaluator = task.evaluator(folder)
    shard = samplers.eval_shard(len(task.eval_data), distributed.rank(), distributed.world_size())
    draws = [Draw(index, 0) for index in shard]
    size = -(-spec.train.batch_size // (distributed.world_size() * spec.train.accumulate))  # as many as in training
    loader: DataLoader[Any] = DataLoader(
        task.eval_data,  # type: ignore[arg-type]
        batch_sampler=[draws[start : start + size] for start in range(0, len(draws), size)],
        collate_fn=task.eval_data.collate,
        num_workers=spec.resources.loader_processes,
    )
    with torch.inference_mode():
        for batch in loader:
            evaluator.update(model, _to(batch, device))
    states = distributed.gather_to_first_rank(evaluator.state())
    outcome = distributed.from_first_rank(_computed(evaluator, states) if states else Evaluation({}))
    if isinstance(outcome, EvaluationFailed):
        raise outcome
    add_weight_norms(outcome, model)
    return outcome


def _computed(evaluator: Evaluator, states: list[Any]) -> Evaluation | EvaluationFailed:
    try:
        return evaluator.compute(states)
    except EvaluationFailed as error:
        return error


def training_batches(task: Task, spec: RunSpec, first: int, device: torch.device) -> Iterator[Any]:
    """This worker's micro-batches from iteration `first` to the end of the budget, on its device."""
    train = spec.train
    loader: DataLoader[Any] = DataLoader(
        task.train_data,  # type: ignore[arg-type]
        batch_sampler=samplers.StepBatches(
            samplers.build(train.sampler, task.data, spec.budget.epochs),
            batch_size=train.batch_size,
            accumulate=train.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            seed=spec.seed,
            first_iteration=first,
            last_iteration=spec.budget.iterations,
        ),
        collate_fn=task.train_data.collate,
        num_workers=spec.resources.loader_processes,
        persistent_workers=spec.resources.loader_processes > 0,
        pin_memory=device.type == "cuda",
    )
    return (_to(batch, device, channels_last=train.channels_last) for batch in loader)


def restore(trainer: Trainer, checkpoints: Checkpoints) -> tuple[int, dict[str, Any], list[str]]:
    """Load the newest intact checkpoint, the same on all ranks.

    Returns:
        Its iteration, what else it says of the training behind it, and warnings about damaged checkpoints.
    """
    iteration: int = 0
    state: dict[str, Any] = {}
    warnings: list[str] = []
    if distributed.rank() == 0:
        checkpoints.clean()
        iteration, state, warnings = checkpoints.load_newest()
        for warning in warnings:
            logger.warning("%s; continuing from iteration %d", warning, iteration)
    progress: dict[str, Any] = {key: state[key] for key in ("elapsed", "pending", "since_record") if key in state}
    known = iteration, progress, manifest_digest(checkpoints.path(iteration))
    iteration, progress, digest = distributed.from_first_rank(known)
    if iteration and not state:
        fetch_checkpoint(checkpoints.folder, iteration, digest)
        state = checkpoints.load(iteration)
    if state:
        trainer.load_state_dict(state)
    return iteration, progress, warnings


def _share_buffers(model: nn.Module) -> None:
    """Running statistics differ by rank until DDP's next forward; all ranks evaluate with rank 0's."""
    if distributed.world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def _to(batch: Any, device: torch.device, channels_last: bool = False) -> Any:
    if isinstance(batch, Tensor):
        if channels_last and batch.ndim == 4:
            return batch.to(device, non_blocking=True, memory_format=torch.channels_last)
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_to(part, device, channels_last) for part in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(_to(part, device, channels_last) for part in batch)
    if isinstance(batch, dict):
        return {key: _to(part, device, channels_last) for key, part in batch.items()}
    return batch
