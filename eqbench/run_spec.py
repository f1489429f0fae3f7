"""What one training run is: a frozen, complete description with a stable identity.

`RunSpec` says everything that decides a result. Its `run_id` is a hash of that, so the same description is the same
run wherever and whenever it is written down. Names (`suite`, labels) and placement (`resources`, a data set's `root`)
are carried along but are not part of the identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from eqbench.recipe import Count, Model, NonNegative, Train, WholeNumber

RUN_SPEC_VERSION = 1
PLACEMENT_PARAMETERS = frozenset({"root"})
OPTIONS_WITHOUT_EFFECT = frozenset({"evaluator", "pictures"})


class Plugin(Model):
    """A named component and the arguments of its constructor, defaults filled in."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None
    """Of a class outside eqbench: digest of the file that defines it, so that an edited class is another run."""


class Resources(Model):
    """What a run uses of a machine or cluster, and how often it saves. Not part of its identity.

    Samples, normalisers and statistics do not depend on the number of workers. Batch normalisation does: each worker
    normalises its own share unless `train.sync_batchnorm` is set. So do mixup and CutMix, which mix the images of a
    share. The result of such a run says so.
    """

    num_workers: Annotated[int, Field(ge=1, le=2**16)] = 1
    cpus_per_worker: Annotated[float, Field(ge=0.01, le=2**16)] = 1
    gpus_per_worker: Annotated[float, Field(ge=0, le=2**10)] = 0
    loader_processes: Annotated[int, Field(ge=0, le=1024)] = 0
    record_every: Count = 50
    """Iterations between two records of the training metrics; a checkpoint is only taken at a record."""
    checkpoint_minutes: NonNegative = 5
    """A checkpoint is written at the end of each epoch, and at the first record after this many minutes."""
    max_failures: Annotated[int, Field(ge=0, le=1000)] = 2
    """How often a run is started again after a worker was lost; machines that announce that they go do not count."""
    min_workers: Annotated[int, Field(ge=1, le=2**16)] | None = None
    """Fewer workers than `num_workers` with which the run may start or go on; batch and learning rate stay."""
    stuck_minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)] = 30
    """A worker that takes longer for a step is ended and the run goes on from its newest checkpoint."""

    @model_validator(mode="after")
    def _at_most_all_workers(self) -> Resources:
        if self.min_workers and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers {self.min_workers}: expected at most num_workers, which is {self.num_workers}"
            )
        return self

    @model_validator(mode="after")
    def _whole_gpus_for_several_workers(self) -> Resources:
        if self.gpus_per_worker % 1 and (self.num_workers > 1 or self.gpus_per_worker > 1):
            raise ValueError(
                f"gpus_per_worker {self.gpus_per_worker:g} with num_workers {self.num_workers}: expected whole GPUs; a "
                "share of one is for runs of a single worker, since workers of one run cannot share a GPU"
            )
        return self


class Budget(Model):
    """What a run may consume, in optimizer steps and in training samples."""

    iterations: Count
    samples: Count
    iterations_per_epoch: Count
    samples_per_epoch: Count
    batch_size: Count

    @classmethod
    def of(cls, train: Train, samples_per_epoch: int) -> Budget:
        """The budget of `train` on an epoch of so many samples; the last batch of an epoch may be smaller."""
        per_epoch = -(-samples_per_epoch // train.batch_size)
        iterations = train.iterations if train.iterations is not None else (train.epochs or 0) * per_epoch
        return cls(
            iterations=iterations,
            samples=_samples_after(iterations, per_epoch, samples_per_epoch, train.batch_size),
            iterations_per_epoch=per_epoch,
            samples_per_epoch=samples_per_epoch,
            batch_size=train.batch_size,
        )

    @property
    def epochs(self) -> int:
        """Epochs that the iterations are part of, the last one maybe not to its end."""
        return -(-self.iterations // self.iterations_per_epoch)

    def samples_after(self, iteration: int) -> int:
        """Training samples that the first `iteration` optimizer steps consume.

        >>> Budget.of(Train(epochs=2, batch_size=4), samples_per_epoch=10).samples_after(4)
        14
        """
        return _samples_after(iteration, self.iterations_per_epoch, self.samples_per_epoch, self.batch_size)

    def samples_of(self, iteration: int) -> int:
        """Training samples of one optimizer step, the first being 0."""
        return self.samples_after(iteration + 1) - self.samples_after(iteration)


def _samples_after(iteration: int, iterations_per_epoch: int, samples_per_epoch: int, batch_size: int) -> int:
    epochs, steps = divmod(iteration, iterations_per_epoch)
    return epochs * samples_per_epoch + min(steps * batch_size, samples_per_epoch)


class Origin(Model):
    """The run whose last weights another starts from. Only its id is part of that one's identity."""

    suite: str
    run_id: str
    name: str
    recipe: str = ""
    """The same for runs that differ in their seed alone, unless a suite says which seed to start from."""
    command: str = ""
    """What trains it."""


class Membership(Model):
    """The place of a run in a population whose members take weights and values from each other while they train."""

    sweep: str
    member: WholeNumber


class RunSpec(Model):
    """One run: task, model, data, loss, training, seed. `run_id` identifies it."""

    suite: str
    task_label: str
    loss_label: str
    task: Plugin
    task_version: int
    protocol: str
    model: Plugin
    data: Plugin
    data_digest: str
    loss: Plugin
    train: Train
    budget: Budget
    seed: WholeNumber
    origin: Origin | None = None
    population: Membership | None = None
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _warm_up_within_budget(self) -> RunSpec:
        warmup = self.train.schedule.warmup.iterations
        if warmup >= self.budget.iterations:
            raise ValueError(
                f"train.schedule.warmup.iterations: {warmup} is not below the budget of "
                f"{self.budget.iterations} iterations"
            )
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as plain data."""
        names = dict.fromkeys(("suite", "task_label", "loss_label", "origin", "resources"), True)
        not_deciding: Any = {**names, "train": {"evaluate_every_epochs"}}
        fields = self.model_dump(mode="json", exclude=not_deciding)
        fields["data"]["params"] = {
            key: value for key, value in fields["data"]["params"].items() if key not in PLACEMENT_PARAMETERS
        }
        weights = fields["model"]["params"].get("backbone_weights")
        if weights is not None and fields["model"]["source"] is not None:
            fields["model"]["params"]["backbone_weights"] = "file"  # its content is in `source`
        options = fields["task"]["params"]
        fields["task"]["params"] = {key: options[key] for key in options if key not in OPTIONS_WITHOUT_EFFECT}
        if self.origin:
            fields["starts_from"] = self.origin.run_id
        if self.population is None:
            del fields["population"]
        return {"version": RUN_SPEC_VERSION, **fields}

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the canonical JSON of `identity`."""
        return digest(self.identity)

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result but the loss and the seed; runs that share it can be compared."""
        fields = {key: value for key, value in self.identity.items() if key not in ("loss", "seed", "population")}
        return {**fields, "starts_from": self.origin.recipe} if self.origin else fields

    @property
    def name(self) -> str:
        """For people: `digits · softmax_eql · s0`."""
        return f"{self.task_label} · {self.loss_label} · s{self.seed}"


def digest(fields: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the canonical JSON of plain data."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys; anything else is a leaf.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
