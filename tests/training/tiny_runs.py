"""Runs of seconds: data, model and loss for them, and processes that die or run out of disk where a test says so."""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eqbench.data.base import Dataset, Draw, Samples
from eqbench.evaluation.failure import EvaluationFailed
from eqbench.losses.base import Loss
from eqbench.losses.softmax_eql import SoftmaxEQL
from eqbench.recipe import Train
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Budget, Plugin, Resources, RunSpec
from eqbench.tasks.base import Evaluation, Evaluator
from eqbench.tasks.classification import Classification, ClassificationEvaluator
from eqbench.train_loop import train
from eqbench.trainer import TrainingFailed
from eqbench.trial import train_and_record

CPU = torch.device("cpu")
CODE = {"git_sha": None, "dirty": None}
TRAIN_SIZES = (17, 9, 3)
EVAL_SIZE = 5
TRAIN: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    "deterministic": True,
}

processes = multiprocessing.get_context("forkserver")
# Its processes are forked from one that has imported all this, and done nothing else.
processes.set_forkserver_preload(
    [
        "eqbench.losses.softmax_eql",
        "eqbench.models.classifier",
        "eqbench.tasks.classification",
        "eqbench.train_loop",
        "eqbench.trial",
        # What takes most of the time when mmdet is imported; itself it has to wait for its operators.
        "matplotlib.pyplot",
        "imagecorruptions",
        "imgaug",
        "mmcv.transforms",
        "mmengine.runner",
        "pandas",
        "psutil",
        "pyarrow.parquet",
        "pycocotools.mask",
        "scipy.optimize",
        "scipy.stats",
        "sklearn.metrics",
        "torch._dynamo",
        "torch.nn.parallel",
        "torchvision.transforms.v2",
    ]
)

at_step: dict[int, Callable[[], None]] = {}
"""What happens to this process in the loss of an optimizer step, counted from 0."""


# -- what is trained ---------------------------------------------------------------------------------------------


class TinySamples(Samples):
    """Noise with a class-dependent mean; the noise of a training sample is decided by `Draw.seed`."""

    def __init__(self, sizes: Sequence[int], *, augment: bool) -> None:
        self.labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self._augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(draw.seed if self._augment else draw.index)
        label = self.labels[draw.index]
        return torch.randn(1, 8, 8, generator=generator) + label, label

    def collate(self, samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if not samples:
            return torch.empty(0, 1, 8, 8), self.labels.new_empty(0)
        images, labels = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(labels)


class Tiny(Dataset):
    """29 training samples of three classes."""

    class_names = ("zero", "one", "two")
    group_names = ("many", "medium", "few")
    groups = group_names
    digest = "tiny"

    @property
    def class_counts(self) -> Tensor:
        return torch.tensor(TRAIN_SIZES)

    @cached_property
    def train(self) -> TinySamples:
        return TinySamples(TRAIN_SIZES, augment=True)

    @cached_property
    def eval(self) -> TinySamples:
        return TinySamples([EVAL_SIZE] * 3, augment=False)


class WithDropout(nn.Module):
    """A network that draws from the global random state in every step."""

    def __init__(self, *, num_classes: int, in_channels: int, loss: Loss, dropout: float = 0.5) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(144, num_classes)
        )
        self.loss = loss

    def forward(self, images: Tensor, labels: Tensor | None = None, normalizer: float | None = None) -> Tensor:
        logits: Tensor = self.network(images)
        return logits if labels is None else self.loss(logits, labels, normalizer=normalizer)


class Faulty(SoftmaxEQL):
    """Softmax-EQL that does what `at_step` says, and yields NaN at a step on a rank if asked to."""

    def __init__(self, *, num_classes: int, nan_at: int = -1, nan_rank: int = 0) -> None:
        super().__init__(num_classes=num_classes)
        self.nan_at = nan_at
        self.nan_rank = nan_rank

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        step = int(self.statistics.committed_steps)
        at_step.get(step, lambda: None)()
        value = super().forward(*args, **kwargs)
        distributed = torch.distributed.is_initialized()
        faulty = step == self.nan_at and self.nan_rank == (torch.distributed.get_rank() if distributed else 0)
        return value * float("nan") if faulty else value


class RarelyJudged(Classification):
    """Classification of which only the second evaluation in a process succeeds."""

    def evaluator(self, folder: RunFolder) -> Evaluator:
        return FailingFirst(self.data, folder, drawn=0)


class FailingFirst(ClassificationEvaluator):
    evaluations = 0

    def compute(self, states: Sequence[Any]) -> Evaluation:
        FailingFirst.evaluations += 1
        if FailingFirst.evaluations == 1:
            raise EvaluationFailed("out of memory")
        return super().compute(states)


def tiny_spec(model: str = "classifier", loss: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    """A run; `changes` are those of `Train`, or of `Resources` where it has the field."""
    resources = {key: changes.pop(key) for key in list(changes) if key in Resources.model_fields}
    params = {"backbone": "resnet8", "width": 4, "norm": changes.pop("norm", "batch")} if model == "classifier" else {}
    params |= changes.pop("model_params", {})
    if "iterations" in changes:
        changes = {"epochs": None, **changes}
    task = changes.pop("task", "classification")
    config = Train.model_validate({**TRAIN, **changes})
    return RunSpec(
        suite="tiny",
        task_label="tiny",
        loss_label="faulty",
        task=Plugin(name=task),
        task_version=1,
        protocol="accuracy:last",
        model=Plugin(name=model, params=params),
        data=Plugin(name="training.tiny_runs:Tiny"),
        data_digest="tiny",
        loss=Plugin(name="training.tiny_runs:Faulty", params=loss or {}),
        train=config,
        budget=Budget.of(config, samples_per_epoch=sum(TRAIN_SIZES)),
        seed=3,
        resources=Resources.model_validate(resources),
    )


# -- processes ---------------------------------------------------------------------------------------------------


def planned(path: Path, spec: RunSpec) -> RunFolder:
    run = RunFolder(path)
    run.write_spec(spec)
    return run


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_operation(number: int, folder: Path) -> None:
    """Have this process killed before its `number`-th change of the file system below `folder`, from 1."""
    done = 0

    def look(event: str, args: tuple[Any, ...]) -> None:
        nonlocal done
        if event == "open":
            changes = isinstance(args[1], str) and args[1][0] in "wax" and str(args[0]).startswith(str(folder))
        elif event in ("os.rename", "os.mkdir"):
            changes = str(args[0]).startswith(str(folder))
        else:
            changes = event in ("os.remove", "os.rmdir")
        done += changes
        if changes and done == number:
            kill_self()

    sys.addaudithook(look)


def in_process(target: Callable[..., None], *args: Any) -> int:
    """Call a function in a fresh process; returns its exit code, -9 if it was killed."""
    process = processes.Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def attempt(run: RunFolder, *, die_at_step: int = -1, die_at_operation: int = 0, largest_file: int = 0) -> int:
    """Train a run in a fresh process; returns its exit code."""
    return in_process(_attempt, run.path, die_at_step, die_at_operation, largest_file)


def _attempt(path: Path, die_at_step: int, die_at_operation: int, largest_file: int) -> None:
    multiprocessing.set_start_method("fork", force=True)  # loader processes that end when this one is killed
    torch.set_num_threads(1)
    at_step[die_at_step] = kill_self
    if die_at_operation:
        die_before_operation(die_at_operation, path)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    run = RunFolder(path)
    try:
        failure = train_and_record(run, CPU, code=CODE)
    except OSError as error:
        failure = {"failure": str(error)}
    if failure:
        print(failure["failure"], file=(path / "failure.txt").open("w"))
        sys.exit(1)


def group(run: RunFolder, world_size: int, *, die_at_step: int = -1) -> list[Any]:
    """Train a run in a gloo group; returns each rank's numbers, or how it failed."""
    return in_group(world_size, train_in_group, run, die_at_step)


def train_in_group(run: RunFolder, die_at_step: int) -> dict[str, float] | str:
    at_step[die_at_step] = kill_self
    try:
        metrics = train(run.read_spec(), run, CPU).evaluation.metrics
        return {name: value for name, value in metrics.items() if math.isfinite(value)}
    except TrainingFailed as error:
        return str(error)


def in_group(world_size: int, target: Callable[..., Any], run: RunFolder, *args: Any) -> list[Any]:
    """What a function returns on each rank of a gloo group, of those that live to return."""
    for left in run.path.glob("rank*"):
        left.unlink()
    members = [
        processes.Process(target=_member, args=(rank, world_size, target, run, *args)) for rank in range(world_size)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join()
    return [torch.load(file, weights_only=True) for file in sorted(run.path.glob("rank*.pt"))]


def _member(rank: int, world_size: int, target: Callable[..., Any], run: RunFolder, *args: Any) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{run.path}/rank-meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    torch.save(target(run, *args), run.path / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()
