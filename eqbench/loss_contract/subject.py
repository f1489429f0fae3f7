"""A loss under test with samples that suit it, and what all checks compare with.

Shapes: N samples, C foreground classes, K logit columns.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from eqbench.losses import Loss

NEVER_SEEN = 3
"""A class without any sample in the batches of the checks."""


@dataclass(frozen=True)
class Samples:
    """Arguments of one forward call."""

    logits: Tensor
    labels: Tensor
    quality: Tensor | None = None

    def __getitem__(self, rows: slice | Tensor) -> Samples:
        quality = None if self.quality is None else self.quality[rows]
        return Samples(self.logits.detach()[rows], self.labels[rows], quality)

    def leaf(self, dtype: torch.dtype | None = None) -> Samples:
        """The same samples with logits of their own, of `dtype`, that require a gradient."""
        logits = self.logits.detach().to(dtype or self.logits.dtype).clone().requires_grad_()
        return replace(self, logits=logits)


@dataclass(frozen=True)
class Subject:
    """A loss class with its parameters, and samples that suit it."""

    cls: type[Loss]
    params: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 5
    device: str = "cpu"

    def build(self, **changes: Any) -> Loss:
        """A fresh loss; counts and frequencies are provided if its constructor takes them."""
        counts = torch.arange(self.num_classes, 0, -1) * 10
        supplied = {"class_counts": counts, "class_frequency": counts / counts.sum()}
        accepted = inspect.signature(self.cls).parameters
        given = {name: value for name, value in supplied.items() if name in accepted}
        arguments = {"num_classes": self.num_classes, **given, **self.params, **changes}
        return self.cls(**arguments).to(self.device)

    def trained(self, **changes: Any) -> Loss:
        """A loss with uneven statistics, from two committed steps."""
        loss = self.build(**changes)
        for seed in (101, 102):
            call(loss, self.samples(seed=seed))
            loss.commit()
        return loss

    def samples(
        self, n: int = 24, *, seed: int = 0, dtype: torch.dtype = torch.float32, pixels: tuple[int, ...] = ()
    ) -> Samples:
        """Random logits and labels, background included if it is a label, class `NEVER_SEEN` left out."""
        loss, random = self.build(), torch.Generator().manual_seed(seed)
        logits = torch.randn(n, loss.columns, *pixels, generator=random, dtype=torch.float64) * 2
        seen = torch.tensor([label for label in range(loss.num_labels) if label != NEVER_SEEN])
        labels = seen[torch.randint(len(seen), (n, *pixels), generator=random)]
        quality = torch.rand(n, *pixels, generator=random) if loss.uses_quality else None
        quality = None if quality is None else quality.to(self.device)
        return Samples(logits.to(self.device, dtype).requires_grad_(), labels.to(self.device), quality)


def call(loss: Loss, samples: Samples, **arguments: Any) -> Tensor:
    """Forward with the same random numbers every time."""
    torch.manual_seed(0)
    value: Tensor = loss(samples.logits, samples.labels, quality=samples.quality, **arguments)
    return value


def require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def raises(name: str, action: Callable[[], object]) -> None:
    try:
        action()
    except ValueError as error:
        require(str(error).startswith(f"{name}: "), f"wrong {name}: the message does not name it: {error}")
    else:
        raise AssertionError(f"wrong {name}: accepted")


def close(actual: Tensor, expected: Tensor, what: str, *, relative: float = 1e-5, absolute: float = 1e-7) -> None:
    actual, expected = actual.detach().double(), expected.detach().double()
    require(actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, not {tuple(expected.shape)}")
    same = torch.isclose(actual, expected, rtol=relative, atol=absolute)
    if not same.all():
        worst = (actual - expected).abs().argmax() if actual.dim() else torch.tensor(0)
        found, wanted = actual.flatten()[worst].item(), expected.flatten()[worst].item()
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


def totals(loss: Loss) -> dict[str, Tensor]:
    """A copy of all statistics."""
    return {name: value.clone() for name, value in loss.statistics.state_dict().items()}


def same_totals(loss: Loss, expected: dict[str, Tensor], what: str, *, relative: float = 1e-5) -> None:
    for name, value in totals(loss).items():
        close(value, expected[name], f"{what}: statistics.{name}", relative=relative, absolute=1e-9)


def unchanged(loss: Loss, before: dict[str, Tensor], what: str) -> None:
    for name, value in totals(loss).items():
        require(torch.equal(value, before[name]), f"{what} changed statistics.{name}")
