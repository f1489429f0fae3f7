"""What some heads do with their loss outside of it, made known to the adapter.

YOLOX and TOOD divide the loss by the number of positives after it returned, a cascade multiplies that of each stage by
a weight. The adapter has to know by how much before, so that statistics are of the gradient as trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eqbench.models.mmdet_heads.adapters import ClassificationLoss

LEAST_OVERLAP = 1e-6


def attach(head: Any, stage_weight: float = 1.0) -> None:
    """Prepares a head that was built with one of our losses.

    Args:
        head: one of mmdet's.
        stage_weight: what a cascade multiplies its losses by.
    """
    head.loss_cls.divisor = 1 / stage_weight
    kind = type(head).__name__
    if kind == "YOLOXHead":
        head.loss_obj.register_forward_pre_hook(_Positives(head.loss_cls))
        head.assigner = _Overlapping(head.assigner)
    elif kind == "TOODHead":
        head.get_targets = _Aligned(head.loss_cls, head.get_targets)


class _Positives:
    """Before YOLOX's objectness loss, which all processes compute: the targets' sum is the number of positives."""

    def __init__(self, adapter: ClassificationLoss) -> None:
        self._adapter = adapter

    def __call__(self, module: nn.Module, arguments: tuple[Tensor, Tensor]) -> None:
        from mmdet.utils import reduce_mean

        self._adapter.divisor = reduce_mean(arguments[1].sum().detach()).clamp(min=1)


class _Aligned:
    """TOOD's targets: it divides by the sum of the alignment metrics, the last of them."""

    def __init__(self, adapter: ClassificationLoss, get_targets: Any) -> None:
        self._adapter = adapter
        self._get_targets = get_targets

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from mmdet.utils import reduce_mean

        targets = self._get_targets(*arguments, **options)
        total = torch.stack([metrics.sum() for metrics in targets[-1]]).sum()
        self._adapter.divisor = reduce_mean(total).clamp(min=1)
        return targets


class _Overlapping:
    """YOLOX's assigner: a positive without any overlap keeps its label, as a target of almost 0."""

    def __init__(self, assigner: Any) -> None:
        self._assigner = assigner

    def assign(self, *arguments: Any, **options: Any) -> Any:
        assigned = self._assigner.assign(*arguments, **options)
        if assigned.max_overlaps is not None:
            assigned.max_overlaps = assigned.max_overlaps.clamp(min=LEAST_OVERLAP)
        return assigned
