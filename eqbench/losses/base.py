"""What all losses share: the public contract, validation, normalisation, autograd and gradient statistics.

Shapes: N samples, C foreground classes, K logit columns; `...` is nothing, or H, W for one sample per pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from eqbench.losses import fused, statistics
from eqbench.losses.arguments import (
    check_integer,
    check_labels,
    check_logits,
    check_normalizer,
    check_number,
    check_samples,
)
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.closed_form import ClosedForm
from eqbench.losses.exact_buffers import ExactBuffers
from eqbench.losses.statistics import GradientStatistics


class Loss(ExactBuffers, ABC):
    """Base of every loss: a differentiable scalar from logits and labels, and gradient statistics per class.

    A subclass has a keyword-only constructor beginning with `num_classes` and ending with `loss_weight` and
    `ignore_index`, and implements `terms` and `scores`. In training mode with gradients enabled the sums of
    each call become pending in `statistics`; `commit`, once per optimizer step, folds them into the totals.
    A loss inside `torch.utils.checkpoint` needs `use_reentrant=False`: its recomputation is not counted again.
    Gradients flow to the logits alone, and once: there are no second derivatives and no `torch.func` transforms. Within
    `torch.compile` a loss runs uncompiled, between two graphs.

    Args:
        num_classes: C, at least 1.
        loss_weight: factor of the value, at least 0.
        ignore_index: label of samples that count nowhere; not one of the legal labels.
        extra_columns: columns of the logits beyond C.
        background_label: label C, background, is legal.
        track_background: `terms` gives the sums of C + 1 columns; the last is kept in `statistics.background`.
        track_samples: count samples by label in `statistics.samples`.

    Raises:
        ValueError: an argument is out of its range.
    """

    normalized: ClassVar[bool] = True
    """Statistics are of the gradient as trained, over `normalizer` and times `loss_weight`; else of the sum."""
    uses_quality: ClassVar[bool] = False
    """`forward` needs `quality`."""
    uses_negatives: ClassVar[bool] = False
    """`forward` takes `negatives`."""
    soft_labels: ClassVar[bool] = False
    """`forward` takes a distribution over the columns in place of each label."""
    frozen_factors: ClassVar[bool] = False
    """Factors that depend on the logits count as constants: the gradient is not the derivative of the value."""
    initial_ratio: ClassVar[float] = 1.0
    """`statistics.ratio` of a class without evidence."""
    ratio_bound: ClassVar[float] = 1.0
    """Where a ratio counts as saturated."""
    clamp_ratio: ClassVar[bool] = False
    """`statistics.ratio` is limited to [0, ratio_bound]."""
    random: bool = False
    """The value depends on random numbers (of torch's global generator), drawn anew in each call."""

    def __init__(
        self,
        *,
        num_classes: int,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
        extra_columns: int = 0,
        background_label: bool = False,
        track_background: bool = False,
        track_samples: bool = False,
    ) -> None:
        super().__init__()
        fused.mode()  # a wrong setting is found here, not in the middle of a run
        num_classes = check_integer("num_classes", num_classes, at_least=1)
        ignore_index = check_integer("ignore_index", ignore_index)
        self.num_classes = num_classes
        self.columns = num_classes + extra_columns
        self.num_labels = num_classes + background_label
        if 0 <= ignore_index < self.num_labels:
            raise ValueError(f"ignore_index: {ignore_index}: expected none of the labels 0..{self.num_labels - 1}")
        self.loss_weight = check_number("loss_weight", loss_weight, at_least=0)
        self.ignore_index = ignore_index
        self.statistics = GradientStatistics(
            num_classes,
            background=track_background,
            labels=self.num_labels if track_samples else 0,
            average=self.normalized,
            initial_ratio=self.initial_ratio,
            ratio_bound=self.ratio_bound,
            clamp_ratio=self.clamp_ratio,
        )

    @abstractmethod
    def terms(self, batch: Batch) -> Terms:
        """Value, gradient and per-class sums of one batch; called without autograd and without autocast."""

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) inference scores of the foreground classes; float32, or float64 for float64 logits."""

    def default_normalizer(self, batch: Batch) -> Tensor:
        """Scalar: what the sum is divided by if `forward` is not told; here the samples not ignored, at least 1."""
        return batch.samples.clamp(min=1)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
        quality: Tensor | None = None,
        negatives: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch: `loss_weight / normalizer` times the sum over samples.

        Args:
            logits: (N, K) or (N, K, H, W), any floating dtype; computed in float32, float64 stays float64.
            labels: (N,) or (N, H, W) int64: 0..C-1, C for background if the loss has it, or `ignore_index`; or
                soft labels, floating, of the logits' shape, summing to 1 over the columns, if the loss takes them.
            weight: (N,) or (N, H, W), floating, >= 0; factor of a sample in value, gradient, statistics. For float16
                logits of the order of 1: a common factor belongs into `normalizer`, which is kept in float32.
            normalizer: number or 0-dim tensor, > 0; default: the number of samples not ignored, at least 1.
            quality: shape of `weight`, in [0, 1]; only for losses with a quality target.
            negatives: (N, C) or (N, C, H, W) bool: classes known to be absent; only for losses that take it.

        Returns:
            Differentiable scalar, float32 (float64 for float64 logits); 0 if there are no samples.

        Raises:
            ValueError: an argument has a wrong shape, dtype, device or range. On CUDA, ranges are asserted on
                the device, without waiting for it.
        """
        arguments = (logits, labels, weight, normalizer, quality, negatives)
        if torch.compiler.is_compiling():
            # Traced, its checks and its recording would break the graph in a dozen places instead of one.
            eager: Callable[..., Tensor] = torch.compiler.disable(self._forward)  # type: ignore[no-untyped-call]
            return eager(*arguments)
        return self._forward(*arguments)

    def commit(self) -> None:
        """Once per optimizer step, after backward: fold what is pending on all processes into the totals.

        A collective call: every process makes it, whether or not it saw samples.
        """
        commit([self])

    def extra_repr(self) -> str:
        shown = ("num_classes", "loss_weight", "ignore_index")
        return ", ".join(f"{name}={getattr(self, name)}" for name in shown)

    def _forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        normalizer: float | Tensor | None,
        quality: Tensor | None,
        negatives: Tensor | None,
    ) -> Tensor:
        check_logits(logits, self.columns)
        self._check_use(quality, negatives)
        check_samples(logits, labels, weight, quality, negatives, self.num_classes, soft=self.soft_labels)
        check_normalizer(normalizer)
        if self.statistics.positive.device != logits.device:
            self.to(logits.device)
        with torch.no_grad(), torch.autocast(logits.device.type, enabled=False):
            batch = self._batch(logits, labels, weight, quality, negatives)
            divisor = self.default_normalizer(batch) if normalizer is None else normalizer
            scale = self.loss_weight / torch.as_tensor(divisor, dtype=batch.dtype, device=logits.device)
            # In float16 the gradient is kept apart from its scale, see ClosedForm.
            foldable = logits.dtype != torch.float16
            terms = self.terms(replace(batch, scale=scale) if foldable else batch)
        if self.training and torch.is_grad_enabled():
            if not _inside_backward():
                self._record(batch, terms, scale)
            elif not self.statistics.is_pending:
                raise RuntimeError(
                    f"{type(self).__name__}: recomputed in backward, but not called before in this step: use "
                    "torch.utils.checkpoint with use_reentrant=False, and commit after backward"
                )
        value = (terms.value * scale).to(batch.dtype)
        gradient = terms.gradient.to(logits.dtype)
        if not terms.scaled:
            gradient = gradient.contiguous()  # it will be scaled in place
        result: Tensor = ClosedForm.apply(logits, value, gradient, None if terms.scaled else scale)
        return result

    def _check_use(self, quality: Tensor | None, negatives: Tensor | None) -> None:
        if self.uses_quality != (quality is not None):
            need = "needs" if self.uses_quality else "has no use for"
            raise ValueError(f"quality: {'None' if quality is None else 'given'}: {type(self).__name__} {need} it")
        if negatives is not None and not self.uses_negatives:
            raise ValueError(f"negatives: given: {type(self).__name__} has no use for it")

    def _batch(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None,
        quality: Tensor | None,
        negatives: Tensor | None,
    ) -> Batch:
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        weight = None if weight is None else weight.to(dtype)
        quality = None if quality is None else quality.to(dtype)
        if labels.is_floating_point():
            soft = labels.to(dtype)
            return Batch(logits.detach(), soft.argmax(1), None, weight, quality, dtype, negatives, soft)
        mask = labels == self.ignore_index
        check_labels(labels, mask, self.num_labels, self.ignore_index)
        # On CUDA, asking whether there is any would wait for the device.
        ignored = mask if mask.is_cuda or mask.any() else None
        if ignored is not None:
            labels = labels.masked_fill(ignored, 0)
            weight = None if weight is None else weight.masked_fill(ignored, 0)
        return Batch(logits.detach(), labels, ignored, weight, quality, dtype, negatives)

    def _record(self, batch: Batch, terms: Terms, scale: Tensor) -> None:
        factor = scale if self.normalized else 1.0
        per_label = None
        if self.statistics.samples is not None:
            weight = batch.sample_weight
            ones = torch.ones_like(batch.labels, dtype=torch.float64)
            per_label = torch.zeros_like(self.statistics.samples)
            per_label.index_add_(0, batch.labels.flatten(), (ones if weight is None else weight).flatten().double())
        # 0 * value is NaN if the value is not finite; the step is then left out.
        samples = batch.samples + 0 * terms.value * scale
        self.statistics.record(terms.positive * factor, terms.negative * factor, samples, per_label)


def commit(losses: Iterable[Loss]) -> None:
    """Fold what is pending in each loss into its totals; once per optimizer step, after backward; one all-reduce.

    Every process calls it with the same losses in the same order, whether or not it saw samples.
    """
    statistics.commit([loss.statistics for loss in dict.fromkeys(losses)])


def _inside_backward() -> bool:
    """Whether autograd is running: a forward call then is a recomputation for gradient checkpointing."""
    return torch._C._current_graph_task_id() != -1
