"""Every loss in each of its forms beside its reference, and long-tailed batches that suit it.

Shapes: N samples, C = 7 foreground classes, K logit columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from eqbench import losses
from eqbench.losses import Loss

from . import reference_groups, reference_sigmoid, reference_softmax
from .reference import IGNORED, Reference

CLASSES = 7
COUNTS = [500, 120, 60, 25, 9, 3, 1]
FREQUENCY = [0.4, 0.2, 0.05, 2e-3, 1.7e-3, 5e-4, 1e-4]
NEVER_SEEN = 5
LOSS_WEIGHT = 0.7


@dataclass(frozen=True)
class Batch:
    """Arguments of one call; what is None is not given."""

    logits: Tensor
    labels: Tensor
    weight: Tensor | None = None
    quality: Tensor | None = None
    negatives: Tensor | None = None
    normalizer: float | None = None

    def options(self) -> dict[str, Any]:
        names = ("weight", "quality", "negatives", "normalizer")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def leaf(self, dtype: torch.dtype, device: str = "cpu") -> Batch:
        """The same batch there, with logits of their own, of `dtype`, that require a gradient."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{**moved, "logits": self.logits.detach().to(device, dtype, copy=True).requires_grad_()})


@dataclass(frozen=True)
class Form:
    """A loss by name with parameters, and what its batches need.

    Attributes:
        background: label C is legal.
        cosines: logits are in [-1, 1].
        random: the value depends on random numbers.
    """

    name: str
    cls: type[Reference]
    params: dict[str, Any] = field(default_factory=dict)
    background: bool = False
    cosines: bool = False
    quality: bool = False
    negatives: bool = False
    random: bool = False

    def __str__(self) -> str:
        shown = {name: value for name, value in self.params.items() if name not in ("class_counts", "class_frequency")}
        return "-".join(
            [self.name, *(f"{name}={value}" for name, value in shown.items()), *["negatives"] * self.negatives]
        )

    def loss(self, num_classes: int = CLASSES, **changes: Any) -> Loss:
        params = {**self.params, **changes}
        for name in ("class_counts", "class_frequency"):
            if name in params:
                params[name] = torch.tensor(params[name][:num_classes])
        return losses.build(self.name, num_classes=num_classes, **{"loss_weight": LOSS_WEIGHT, **params})

    def reference(self, **changes: Any) -> Reference:
        return self.cls(CLASSES, **{"loss_weight": LOSS_WEIGHT, **self.params, **changes})

    def batches(self, steps: int = 4, n: int = 24, pixels: tuple[int, ...] = (), soft: bool = False) -> Iterator[Batch]:
        """Steps with and without weights and normalizer, one label in eight ignored, one class never seen."""
        random = torch.Generator().manual_seed(0)
        columns, shape = self.reference().columns, (n, *pixels)
        often = torch.tensor([float(count) for count in COUNTS]).sqrt()
        often[NEVER_SEEN] = 0
        often = torch.cat([often, often.sum().reshape(1) * 0.7]) if self.background else often
        for step in range(steps):
            logits = 2.5 * torch.randn(n, columns, *pixels, generator=random, dtype=torch.float64)
            labels = torch.multinomial(often, logits[:, 0].numel(), replacement=True, generator=random).view(shape)
            labels[torch.rand(shape, generator=random) < 0.125] = IGNORED
            if soft:
                labels = torch.randn(logits.shape, generator=random, dtype=torch.float64).mul(2).softmax(1)
            weight = 2 * torch.rand(shape, generator=random)
            quality = torch.rand(shape, generator=random)
            negatives = torch.rand(n, CLASSES, *pixels, generator=random) < 0.4
            yield Batch(
                logits.tanh() if self.cosines else logits,
                labels,
                weight=None if step == 2 else weight,
                quality=quality if self.quality else None,
                negatives=negatives if self.negatives else None,
                normalizer=7.5 if step % 2 else None,
            )


def _forms() -> Iterator[Form]:
    s, m, g = reference_sigmoid, reference_softmax, reference_groups
    counts, frequency = {"class_counts": COUNTS}, {"class_frequency": FREQUENCY}
    for params in ({}, {"gamma": 0.5, "alpha": None}, {"gamma": 3.0, "alpha": 0.6}):
        yield Form("focal", s.Focal, params, background=True)
    yield Form("bce", s.BinaryCrossEntropy, background=True)
    for params in ({}, {"beta": 1.5}):
        yield Form("quality_focal", s.QualityFocal, params, background=True, quality=True)
    for params in ({}, {"lambda_": 0.1}):
        yield Form("eql", s.EQL, {**frequency, **params}, background=True)
    for params in ({}, {"objectness": False}, {"gamma": 3.0, "mu": 0.3, "alpha": 1.5}):
        yield Form("sigmoid_eql", s.SigmoidEQL, params, background=True)
    for params in ({}, {"focal_gamma": 1.5, "focal_alpha": None, "scale_factor": 4.0}):
        yield Form("efl", s.EFL, params, background=True)
    for params in ({}, {"focal_gamma": 1.5, "scale_factor": 4.0}):
        yield Form("eqfl", s.EQFL, params, background=True, quality=True)
    yield Form("federated", s.Federated, frequency, background=True)
    yield Form("federated", s.Federated, frequency, background=True, negatives=True)
    yield Form("federated", s.Federated, {**frequency, "num_sampled": 4}, background=True, random=True)
    for params in ({}, {"form": "sigmoid", "beta": 0.9}, {"form": "focal", "gamma": 1.5}):
        yield Form("class_balanced", s.ClassBalanced, {**counts, **params})
    for background in (False, True):
        params = {"background": background}
        yield Form("cross_entropy", m.CrossEntropy, params, background)
        for more in ({}, {"tau": 0.5, "indicator": "negative"}, {"tau": 1.5, "indicator": "both", "eps": 1e-2}):
            yield Form("softmax_eql", m.SoftmaxEQL, {**params, **more}, background)
    for probability in (0.0, 1.0, 0.6):
        params = {**frequency, "lambda_": 0.01, "keep_probability": probability}
        yield Form("eql_softmax", m.EQLSoftmax, params, random=probability == 0.6)
    yield Form("balanced_softmax", m.BalancedSoftmax, {"class_counts": [*COUNTS[:-1], 0]})
    for params in ({}, {"tau": 0.4}):
        yield Form("logit_adjustment", m.LogitAdjustment, {"class_counts": [*COUNTS[:-1], 0], **params})
    for params in ({}, {"deferred_steps": 2}, {"deferred_steps": 0, "max_margin": 0.3, "scale": 10.0, "beta": 0.99}):
        yield Form("ldam", m.LDAM, {**counts, **params}, cosines=True)
    for params in ({}, {"p": 0.3, "q": 0.5, "eps": 0.2}, {"objectness": True}):
        yield Form("seesaw", g.Seesaw, params, background="objectness" in params)
    for params in ({}, {"boundaries": (4, 100), "others_ratio": 0.5}, {"background": True, "others_ratio": 2.0}):
        yield Form("group_softmax", g.GroupSoftmax, {**counts, **params}, background="background" in params)


FORMS = list(_forms())
FIXED = [form for form in FORMS if not form.random]
"""The forms whose value does not depend on random numbers."""
SOFT = [form for form in FIXED if form.name in ("cross_entropy", "softmax_eql", "balanced_softmax", "logit_adjustment")]
"""The forms that accept soft labels."""
