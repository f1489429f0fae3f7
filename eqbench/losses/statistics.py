"""Accumulated |gradient| per class, split into what pulls a class up and what pushes it down.

Shapes: C foreground classes, L tracked columns (C, or C + 1 with a background column).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from eqbench.losses.exact_buffers import ExactBuffers

RATIO_EPS = 1e-10


class GradientStatistics(ExactBuffers):
    """Totals of |dL/dlogit| over training, per class: of the class's samples and of all others.

    What is recorded stays pending until `commit`, once per optimizer step, folds it into the totals. Totals are
    buffers, so `state_dict` carries them bit for bit; they stay float64 whatever dtype the module is cast to.
    Pending sums belong to one process and one step: they are not saved, and loading a state drops them.

    Args:
        num_classes: C.
        background: keep the totals of one more column too, in the buffer `background`: (positive, negative).
        labels: keep the weighted number of samples of each of so many labels too, in the buffer `samples`.
        average: over the processes of a group, average the sums (gradients of a loss divided by a normalizer, as
            DDP averages what is trained) instead of adding them (gradients of a sum over samples).
        initial_ratio: `ratio` of a class without evidence.
        ratio_bound: where a ratio counts as saturated.
        clamp_ratio: limit `ratio` to [0, ratio_bound].

    Attributes:
        positive, negative: (C,) float64 buffers.
        samples: (labels,) float64 buffer, added over processes whatever `average` says; None without `labels`.
        committed_steps, skipped_steps: int64 buffers, the optimizer steps that were folded in, and that were left
            out because a sum was not finite. A step without any sample is neither.

    >>> statistics = GradientStatistics(2)
    >>> statistics.record(torch.tensor([0.5, 0.0]), torch.tensor([0.25, 0.5]), samples=torch.tensor(4))
    >>> statistics.commit()
    >>> [round(ratio, 6) for ratio in statistics.ratio.tolist()], statistics.saturated_fraction.item()
    ([2.0, 0.0], 0.5)
    """

    positive: Tensor
    negative: Tensor
    background: Tensor | None
    samples: Tensor | None
    committed_steps: Tensor
    skipped_steps: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = False,
        labels: int = 0,
        average: bool = True,
        initial_ratio: float = 1.0,
        ratio_bound: float = 1.0,
        clamp_ratio: bool = False,
    ) -> None:
        super().__init__()
        self.average = average
        self.initial_ratio = initial_ratio
        self.ratio_bound = ratio_bound
        self.clamp_ratio = clamp_ratio
        self.register_buffer("positive", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("negative", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("background", torch.zeros(2, dtype=torch.float64) if background else None)
        self.register_buffer("samples", torch.zeros(labels, dtype=torch.float64) if labels else None)
        self.register_buffer("committed_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("skipped_steps", torch.zeros((), dtype=torch.int64))
        self._pending: Tensor | None = None

    @property
    def ratio(self) -> Tensor:
        """(C,) positive / (negative + 1e-10); `initial_ratio` for a class without any gradient so far."""
        ratio = self.positive / (self.negative + RATIO_EPS)
        if self.clamp_ratio:
            ratio = ratio.clamp(max=self.ratio_bound)
        return torch.where(self.has_evidence, ratio, self.initial_ratio)

    @property
    def has_evidence(self) -> Tensor:
        """(C,) bool: some gradient, positive or negative, was accumulated for the class."""
        return self.positive + self.negative > 0

    @property
    def saturated_fraction(self) -> Tensor:
        """Share of classes with `ratio >= ratio_bound` among those with evidence; scalar, NaN if none has."""
        evidence = self.has_evidence
        return (evidence & (self.ratio >= self.ratio_bound)).sum().double() / evidence.sum()

    def record(self, positive: Tensor, negative: Tensor, samples: Tensor, per_label: Tensor | None = None) -> None:
        """Add the sums of one call, (L,) each, over `samples` (scalar) samples, to what is pending.

        `per_label` (labels,) is the weighted number of samples of each label, for statistics that keep it.
        """
        parts = [positive, negative, *([] if per_label is None else [per_label]), samples.reshape(1)]
        packed = torch.cat([part.double() for part in parts])
        self._pending = packed if self._pending is None else self._pending + packed

    @property
    def is_pending(self) -> bool:
        """Something was recorded since the last commit."""
        return self._pending is not None

    def commit(self) -> None:
        """Fold what is pending into the totals; a collective call where there is a process group."""
        commit([self])

    def _take_pending(self) -> Tensor:
        """What is pending as one vector, zeros if nothing is; nothing is pending afterwards."""
        pending, self._pending = self._pending, None
        if pending is None:
            columns = len(self.positive) + (self.background is not None)
            labels = 0 if self.samples is None else len(self.samples)
            return self.positive.new_zeros(2 * columns + labels + 1)
        return pending.to(self.positive.device)

    def _fold(self, packed: Tensor, world_size: int) -> None:
        """Add one step's sums over all processes, unless one of them is not finite; without a host sync."""
        finite = packed.isfinite().all()
        nonempty = packed[-1] != 0
        sums = torch.where(finite, packed[:-1], 0.0)
        if self.samples is not None:
            self.samples += sums[-len(self.samples) :]
            sums = sums[: -len(self.samples)]
        positive, negative = (sums / (world_size if self.average else 1)).chunk(2)
        classes = len(self.positive)
        self.positive += positive[:classes]
        self.negative += negative[:classes]
        if self.background is not None:
            self.background += torch.stack([positive[-1], negative[-1]])
        self.committed_steps += finite & nonempty
        self.skipped_steps += ~finite

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._pending = None
        super()._load_from_state_dict(*args, **kwargs)


@torch.no_grad()
def commit(statistics: Sequence[GradientStatistics]) -> None:
    """Fold what is pending in each into its totals, all with a single all-reduce.

    Every process of the default group calls it with the same statistics in the same order, whether or not it
    saw samples. Without a process group the sums are folded as they are.
    """
    if not statistics:
        return
    pending = [each._take_pending() for each in statistics]
    # One that has not met its logits yet may still be on the CPU.
    device = max((part.device for part in pending), key=lambda device: device.type != "cpu")
    packed = torch.cat([part.to(device) for part in pending])
    world_size = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world_size > 1:
        if "nccl" in dist.get_backend_config():
            packed = packed.cuda()  # a process that saw no sample may have everything on the CPU still
        dist.all_reduce(packed)
    for each, sums in zip(statistics, packed.split_with_sizes([len(part) for part in pending]), strict=True):
        each._fold(sums.to(each.positive.device), world_size)
