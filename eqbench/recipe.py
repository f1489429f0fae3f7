"""How a run is trained: optimizer, schedule, sampling, precision, budget; as a suite's `train` says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**31)]
WholeNumber = Annotated[int, Field(ge=0, le=2**31)]


class Model(BaseModel):
    """Base of every configuration object: frozen, unknown keys refused, no silent type conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SGD(Model):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4


class AdamW(Model):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 1e-2

    @model_validator(mode="after")
    def _betas_in_range(self) -> AdamW:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {list(self.betas)}: expected two numbers in [0, 1)")
        return self


class WarmUp(Model):
    """Linear rise of the learning rate from `start_factor` to 1 over the first `iterations`."""

    iterations: WholeNumber = 0
    start_factor: Annotated[float, Field(ge=0, le=1)] = 1e-3


class Constant(Model):
    """The learning rate stays."""

    name: Literal["constant"] = "constant"
    warmup: WarmUp = WarmUp()


class Cosine(Model):
    """Half a cosine from the learning rate to `final_factor` times it, over the whole budget."""

    name: Literal["cosine"] = "cosine"
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup: WarmUp = WarmUp()


class MultiStep(Model):
    """The learning rate is multiplied by `factor` at each milestone, given as a fraction of the budget."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(strict=False)] = (
        8 / 12,
        11 / 12,
    )
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup: WarmUp = WarmUp()


class Poly(Model):
    """`(1 - iteration / budget) ** power`, the usual schedule of semantic segmentation."""

    name: Literal["poly"] = "poly"
    power: Positive = 0.9
    warmup: WarmUp = WarmUp()


class RandomSampling(Model):
    """Every training sample once per epoch, in an order drawn anew each epoch: instance-balanced sampling."""

    name: Literal["random"] = "random"


class RepeatFactorSampling(Model):
    """Images of rare classes are repeated: factor `max(1, sqrt(threshold / f))` of the rarest of their classes, f being
    the share of training images that show it.

    A factor that is not whole is rounded up (`ceil`), or up or down at random in each round over the images so that it
    holds on average (`stochastic`).
    """

    name: Literal["repeat_factor"] = "repeat_factor"
    threshold: Annotated[float, Field(gt=0, le=1)] = 1e-3
    rounding: Literal["ceil", "stochastic"] = "ceil"


class ClassAwareSampling(Model):
    """All classes equally often: a class first, then one of its samples."""

    name: Literal["class_aware"] = "class_aware"


class ClassBalancedSampling(Model):
    """Each draw independently: a class, all equally probable, then one of its samples. As many draws as samples."""

    name: Literal["class_balanced"] = "class_balanced"


class SquareRootSampling(Model):
    """Each draw independently: a class with probability in proportion to the square root of its samples, then one."""

    name: Literal["square_root"] = "square_root"


class ProgressivelyBalancedSampling(Model):
    """From each class in proportion to its samples at first, closer to all classes equally with each epoch.

    In epoch t of T, counted from 0, class j of n_j samples is drawn with probability
    `(1 - t / T) n_j / sum_i n_i + t / (T C)`.
    """

    name: Literal["progressively_balanced"] = "progressively_balanced"


def _same_by_another_name(sampler: Any) -> Any:
    """`instance_balanced` is what the literature on decoupling calls `random`; it is the same run."""
    if isinstance(sampler, dict) and sampler.get("name") == "instance_balanced":
        return sampler | {"name": "random"}
    return sampler


Sampling = Annotated[
    RandomSampling
    | RepeatFactorSampling
    | ClassAwareSampling
    | ClassBalancedSampling
    | SquareRootSampling
    | ProgressivelyBalancedSampling,
    Field(discriminator="name"),
    BeforeValidator(_same_by_another_name),
]


class Train(Model):
    """How a model is trained. It decides the result and is part of a run's identity.

    `evaluate_every_epochs` is not: the last weights are judged, however often one looks at them before.
    """

    epochs: Count | None = None
    iterations: Count | None = None
    batch_size: Count = 64
    accumulate: Count = 1
    sampler: Sampling = RandomSampling()
    optimizer: Annotated[SGD | AdamW, Field(discriminator="name")] = SGD()
    schedule: Annotated[Constant | Cosine | MultiStep | Poly, Field(discriminator="name")] = Cosine()
    clip_norm: Positive | None = None
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    sync_batchnorm: bool = False
    evaluate_every_epochs: Count = 1

    @model_validator(mode="after")
    def _one_budget(self) -> Train:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("exactly one of 'epochs' and 'iterations' is needed")
        return self
