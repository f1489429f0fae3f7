"""Label-distribution-aware margins, with deferred re-weighting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eqbench.losses.arguments import check_integer, check_logits, check_number
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.class_counts import check_per_class, effective_number_weights
from eqbench.losses.softmax import softmax_terms

__all__ = ["LDAM"]


class LDAM(Loss):
    """LDAM: the label's logit, a cosine, has to exceed the others by a margin that is larger for rare classes.

        L = loss_weight / normalizer * sum_i w_i c_y * -log( e_y / (e_y + sum_{j != y} e^{s z_j}) )
        e_y = e^{s (z_y - m_y)}
        m_j = max_margin * (min_k n_k / n_j)^{1/4}

    with n_j the training samples of class j, at least 1, and s = `scale`. The logits are meant to be cosines, of a
    classifier whose features and weights are normalised: for others the margins have no meaning. Scores are
    softmax(s z), without margins.

    Deferred re-weighting (DRW): from `deferred_steps` optimizer steps on, c_j are the weights of `class_balanced`,
    (1 - beta) / (1 - beta^{n_j}) scaled to a mean of 1 over the training samples; before, and without
    `deferred_steps`, they are 1. Steps are counted by `commit`, also those that were left out because they were not
    finite; a resumed run goes on counting.

    After losses.py and cifar_train.py (train rule "DRW") of kaidic/LDAM-DRW, the release of Cao et al., "Learning
    Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019. As there, the sum is by default
    divided by the sum of c_y over the samples not ignored, as torch's weighted mean is; where `normalizer` is their
    number, as in a suite, the mean of 1 makes it the same on average. What differs: re-weighting begins at a step,
    there at epoch 160 of 200; a class without samples counts as if it had one.

    Args:
        num_classes: C.
        class_counts: (C,) training samples per class, >= 0.
        max_margin: margin of the rarest class, >= 0.
        scale: s, > 0.
        deferred_steps: optimizer steps before re-weighting, >= 0; None for no re-weighting.
        beta: of the weights, in [0, 1).
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W); see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("ldam", num_classes=2, class_counts=[160, 10], max_margin=0.4, scale=10.0)
    >>> logits, labels = torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.margins.tolist(), round(loss(logits, labels).item(), 4)
    ([0.2, 0.4], 3.0725)
    """

    margins: Tensor
    deferred_weights: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_counts: Tensor | Sequence[float],
        max_margin: float = 0.5,
        scale: float = 30.0,
        deferred_steps: int | None = None,
        beta: float = 0.9999,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        counts = check_per_class("class_counts", class_counts, num_classes).clamp(min=1)
        self.max_margin = check_number("max_margin", max_margin, at_least=0)
        self.scale = check_number("scale", scale, above=0)
        if deferred_steps is not None:
            deferred_steps = check_integer("deferred_steps", deferred_steps, at_least=0)
        self.deferred_steps = deferred_steps
        self.beta = check_number("beta", beta, at_least=0, below=1)
        self.register_buffer("margins", self.max_margin * (counts.min() / counts) ** 0.25, persistent=False)
        weights = effective_number_weights(counts, self.beta)
        weights *= counts.sum() / (counts * weights).sum()
        self.register_buffer("deferred_weights", weights, persistent=False)

    def class_weights(self) -> Tensor | None:
        """(C,) c in this step, float64; None for ones throughout training."""
        if self.deferred_steps is None:
            return None
        steps = self.statistics.committed_steps + self.statistics.skipped_steps
        return torch.where(steps >= self.deferred_steps, self.deferred_weights, 1.0)

    def terms(self, batch: Batch) -> Terms:
        weights = self.class_weights()
        if weights is not None:
            batch = batch.weighted(weights.to(batch.dtype)[batch.labels])
        return softmax_terms(batch, label_adjustment=-self.scale * self.margins, temperature=self.scale)

    def default_normalizer(self, batch: Batch) -> Tensor:
        """Scalar: the sum of c_y over the samples not ignored; 1 if there are none."""
        weights = self.class_weights()
        if weights is None:
            return super().default_normalizer(batch)
        of_samples = weights.to(batch.dtype)[batch.labels]
        if batch.ignored is not None:
            of_samples = of_samples.masked_fill(batch.ignored, 0)
        total = of_samples.sum()
        return torch.where(total > 0, total, 1.0)

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) softmax of the logits times `scale`."""
        check_logits(logits, self.columns)
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        return torch.softmax(logits.to(dtype) * self.scale, dim=1)

    def extra_repr(self) -> str:
        own = ("max_margin", "scale", "deferred_steps", "beta")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)}" for name in own)])
