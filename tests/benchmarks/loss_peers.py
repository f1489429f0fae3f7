"""Who is measured: eqbench's losses, their eager spellings, other implementations, and the floor."""

from __future__ import annotations

import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eqbench import losses
from tests.benchmarks.loss_eager import SPELLINGS, one_hot
from tests.benchmarks.loss_settings import EAGER, IGNORED, Inputs, Setting

OURS, PLAIN = "ours", "ours, no compiler"
COPY, EXP = "floor: copy of the logits", "floor: exp of the logits"
SWITCH = "EQBENCH_FUSED"

Forward = Callable[[Inputs], Tensor]


def nothing(_inputs: Inputs) -> None:
    pass


@dataclass(frozen=True)
class Contestant:
    """One implementation: `forward` gives the value; `after` runs after its backward.

    Attributes:
        same_value: it has to agree with ours.
        differentiable: a floor only makes something of the logits' size.
        fused: what the switch EQBENCH_FUSED is while it runs, if anything.
    """

    name: str
    forward: Forward
    after: Callable[[Inputs], None] = nothing
    same_value: bool = False
    differentiable: bool = True
    fused: str | None = None

    def step(self, inputs: Inputs) -> Tensor | None:
        """Forward, backward and what follows it; the gradient is left at the logits. The value, if there is one."""
        with _switched(self.fused):
            value = self.forward(inputs)
            if not self.differentiable:
                return None
            value.backward()
            self.after(inputs)
        return value.detach()


@contextmanager
def _switched(fused: str | None) -> Iterator[None]:
    if fused is None:
        yield
        return
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = fused
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


def contestants(setting: Setting, device: torch.device) -> tuple[list[Contestant], list[str]]:
    """Those that can run, each with statistics of its own, ours first; and names of those not installed."""
    found, missing = [ours(setting, OURS)], []
    if device.type == "cpu":
        found.append(ours(setting, PLAIN, "plain"))
    for name in setting.against:
        if name == EAGER:
            eager = SPELLINGS[setting.loss](setting.shape[1], device)
            found.append(Contestant(EAGER, eager.forward, eager.collect, same_value=True))
            continue
        try:
            forward = PEERS[name](setting, device)
        except ImportError:
            missing.append(name)
        else:
            found.append(Contestant(name, forward, same_value=(setting.loss, name) in SAME_VALUE))
    found.append(Contestant(COPY, lambda inputs: inputs.logits.detach().clone(), differentiable=False))
    found.append(Contestant(EXP, lambda inputs: inputs.logits.detach().exp(), differentiable=False))
    return found, missing


def ours(setting: Setting, name: str, fused: str | None = None) -> Contestant:
    loss = losses.build(setting.loss, num_classes=setting.num_classes, **setting.params)

    def forward(inputs: Inputs) -> Tensor:
        value: Tensor = loss(inputs.logits, inputs.labels, quality=inputs.quality)
        return value

    return Contestant(name, forward, lambda inputs: loss.commit(), same_value=name != OURS, fused=fused)


def torch_bce(setting: Setting, device: torch.device) -> Forward:
    def forward(inputs: Inputs) -> Tensor:
        target = one_hot(inputs.logits, inputs.labels)
        return functional.binary_cross_entropy_with_logits(inputs.logits, target, reduction="sum") / len(target)

    return forward


def torch_cross_entropy(setting: Setting, device: torch.device) -> Forward:
    return lambda inputs: functional.cross_entropy(inputs.logits, inputs.labels, ignore_index=IGNORED)


def torchvision_focal(setting: Setting, device: torch.device) -> Forward:
    from torchvision.ops import sigmoid_focal_loss

    def forward(inputs: Inputs) -> Tensor:
        target = one_hot(inputs.logits, inputs.labels)
        value: Tensor = sigmoid_focal_loss(inputs.logits, target, reduction="sum") / len(target)
        return value

    return forward


def mmdet_eqlv2(setting: Setting, device: torch.device) -> Forward:
    loss = _mmdet_losses().EQLV2Loss(num_classes=setting.num_classes).to(device)
    return lambda inputs: loss(inputs.logits, inputs.labels)


def mmdet_seesaw(setting: Setting, device: torch.device) -> Forward:
    loss = _mmdet_losses().SeesawLoss(num_classes=setting.num_classes, return_dict=False).to(device)
    return lambda inputs: loss(inputs.logits, inputs.labels)


def mmdet_quality_focal(setting: Setting, device: torch.device) -> Forward:
    loss = _mmdet_losses().QualityFocalLoss().to(device)
    return lambda inputs: loss(inputs.logits, (inputs.labels, inputs.quality))


PEERS: dict[str, Callable[[Setting, torch.device], Forward]] = {
    "torch BCE": torch_bce,
    "torch cross entropy": torch_cross_entropy,
    "torchvision focal": torchvision_focal,
    "mmdet EQLV2Loss": mmdet_eqlv2,
    "mmdet SeesawLoss": mmdet_seesaw,
    "mmdet QualityFocalLoss": mmdet_quality_focal,
}
SAME_VALUE = {
    ("bce", "torch BCE"),
    ("focal", "torchvision focal"),
    ("sigmoid_eql", "mmdet EQLV2Loss"),
    ("quality_focal", "mmdet QualityFocalLoss"),
}


class _NoOperators(types.ModuleType):
    """Stands for `mmcv._ext`, which mmdet's import needs and its losses do not use."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*args: object, **kwargs: object) -> None:
            raise RuntimeError(f"mmcv._ext.{name} is not compiled here")

        return refuse


def _mmdet_losses() -> types.ModuleType:
    """mmdet.models.losses; ImportError where mmdet is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import mmcv._ext  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "mmcv._ext":
                raise
            sys.modules["mmcv._ext"] = _NoOperators("mmcv._ext")
        import mmdet.models.losses

        return mmdet.models.losses
