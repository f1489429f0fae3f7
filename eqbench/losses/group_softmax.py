"""Balanced group softmax: classes compete only with classes of about as many training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from eqbench.losses.arguments import check_bool, check_logits, check_number, is_integer
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.class_counts import check_per_class
from eqbench.losses.softmax import softmax_terms

__all__ = ["GroupSoftmax"]


class GroupSoftmax(Loss):
    """Balanced group softmax (BAGS): one softmax per group of classes with about as many training samples.

        L = loss_weight / normalizer * sum_i w_i [ CE_0(z_i) + sum_g a_g r_ig CE_g(z_i) ]

    Group g holds the classes whose count n_j is in [b_g, b_{g+1}), with `boundaries` b between 0 and infinity; empty
    groups are dropped, G remain. CE_g is the cross entropy of a softmax over the group's classes and a column
    "others", which is the label of every sample whose class is in another group or background. With `background`,
    CE_0 is that of a softmax over two columns more, object and background; else it is 0. r_ig is 1 for samples of the
    group, and for its others

        rho_g = min(1, others_ratio * n_g / n_others,g)

    with n_g and n_others,g the weighted samples of the group's classes and of all others that were committed in steps
    before this one; 1 before any. Where no sample of a group was seen yet, its others count nothing. Of the T samples
    of so many steps a group keeps n_g + rho_g n_others,g, and is averaged over those:

        a_g = T / max(n_g + rho_g n_others,g, min((1 + others_ratio) steps, T))

    again 1 before any. The lower limit is what a step keeps that has a single sample of the group.

    Columns of the logits: C classes, then G of others, then, with `background`, object and background. Score of a
    class: its probability in its group, times that of object. What the background column receives is in
    `statistics.background`; columns of others and object are left out of the statistics.

    After mmdet/models/bbox_heads/gs_bbox_head_with0.py of FishYuLi/BalancedGroupSoftmax, the release of Li et al.,
    "Overcoming Classifier Imbalance for Long-tail Object Detection with Balanced Group Softmax", CVPR 2020. What
    differs:

    - In each batch the release draws at random `others_ratio` times as many others as the batch has samples of the
      group, and averages over what it kept. rho_g and a_g are how often it would draw one, and how many it would
      keep, from counts over training: so calls, ranks and micro-batches add up.
    - The release trains the classifier alone, after a detector was trained with a plain softmax.

    Args:
        num_classes: C.
        class_counts: (C,) training samples (in detection: instances) per class, >= 0.
        boundaries: counts at which a new group begins: integers >= 1, increasing.
        others_ratio: others per sample of a group, >= 0.
        background: label C, background, is legal, and the logits have the columns object and background.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, K) or (N, K, H, W) with K = C + G, or C + G + 2, labels (N,) or (N, H, W); see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("group_softmax", num_classes=3, class_counts=[500, 200, 5], background=True)
    >>> logits, labels = torch.zeros(2, loss.columns, requires_grad=True), torch.tensor([0, 3])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> loss.columns, loss.others_weights().tolist()  # 3 classes, others of 2 groups, object, background
    (7, [0.0, 1.0])
    """

    group_of: Tensor
    columns_by_group: Tensor
    label_in_group: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_counts: Tensor | Sequence[float],
        boundaries: tuple[int, ...] = (10, 100, 1000),
        others_ratio: float = 8.0,
        background: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        counts = check_per_class("class_counts", class_counts, num_classes)
        check_bool("background", background)
        edges = check_boundaries(boundaries)
        group_of = torch.bucketize(counts, torch.tensor(edges, dtype=torch.float64), right=True)
        group_of = ((group_of.bincount() > 0).cumsum(0) - 1)[group_of]
        groups = int(group_of.max()) + 1
        super().__init__(
            num_classes=num_classes,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            extra_columns=groups + 2 * background,
            background_label=background,
            track_background=background,
            track_samples=True,
        )
        self.boundaries = edges
        self.others_ratio = check_number("others_ratio", others_ratio, at_least=0)
        self.background = background
        self.group_sizes = [int(size) + 1 for size in group_of.bincount()]
        columns, labels = group_layout(group_of, groups)
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_buffer("columns_by_group", columns, persistent=False)
        self.register_buffer("label_in_group", labels, persistent=False)

    def others_weights(self) -> Tensor:
        """(G,) rho in this step, float64."""
        samples, of_group = self.statistics.samples, self._samples_by_group()
        assert samples is not None
        others = (samples.sum() - of_group).clamp(min=0)
        rho = (self.others_ratio * of_group / others).clamp(max=1)
        return torch.where(others > 0, rho, 1.0)

    def group_weights(self) -> Tensor:
        """(G,) a in this step, float64."""
        samples = self.statistics.samples
        assert samples is not None
        total, of_group = samples.sum(), self._samples_by_group()
        kept = of_group + self.others_weights() * (total - of_group).clamp(min=0)
        least = ((1 + self.others_ratio) * self.statistics.committed_steps).clamp(max=total)
        return torch.where(total > 0, total / torch.maximum(kept, least), 1.0)

    def terms(self, batch: Batch) -> Terms:
        gradient = torch.empty_like(batch.logits, memory_format=torch.contiguous_format)
        value = torch.zeros((), dtype=torch.float64, device=gradient.device)
        positive, negative = value.new_zeros(self.num_labels), value.new_zeros(self.num_labels)
        weights = self.group_weights()
        for group, (index, others) in enumerate(zip(self.groups(), self.others_weights() * weights, strict=True)):
            part = self.part(batch, group, index, weights[group], others)
            value += part.value
            gradient.index_copy_(1, index, part.gradient)
            positive.index_copy_(0, index[:-1], part.positive[:-1].double())
            negative.index_copy_(0, index[:-1], part.negative[:-1].double())
        if self.background:
            is_background = (batch.labels == self.num_classes).long()
            part = softmax_terms(replace(batch, logits=batch.logits[:, -2:], labels=is_background, scale=None))
            value += part.value
            gradient[:, -2:] = part.gradient
            positive[-1], negative[-1] = part.positive[1], part.negative[1]
        return Terms(value, gradient, positive, negative)

    def part(self, batch: Batch, group: int, index: Tensor, own: Tensor, others: Tensor) -> Terms:
        """Terms of one group: the columns `index`, the last being its others; samples weigh `own` or `others`."""
        labels = self.label_in_group[group][batch.labels]
        weight = torch.where(labels == len(index) - 1, others, own)
        logits = batch.logits.index_select(1, index)
        return softmax_terms(replace(batch.weighted(weight), logits=logits, labels=labels, scale=None))

    def _samples_by_group(self) -> Tensor:
        samples = self.statistics.samples
        assert samples is not None
        sums = samples.new_zeros(len(self.group_sizes))
        return sums.index_add_(0, self.group_of, samples[: self.num_classes])

    def groups(self) -> tuple[Tensor, ...]:
        """For each group the columns of its classes and, last, of its others."""
        return tuple(self.columns_by_group.split_with_sizes(self.group_sizes))

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) softmax within each group, times the probability of object."""
        check_logits(logits, self.columns)
        logits = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
        scores = torch.empty_like(logits[:, : self.num_classes])
        for index in self.groups():
            index = index.to(logits.device)
            scores.index_copy_(1, index[:-1], logits.index_select(1, index).softmax(1)[:, :-1])
        return scores * logits[:, -2:].softmax(1)[:, :1] if self.background else scores

    def extra_repr(self) -> str:
        own = ("boundaries", "others_ratio", "background")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)}" for name in own)])


def check_boundaries(boundaries: Sequence[int]) -> tuple[int, ...]:
    """`boundaries` as a tuple, if they are increasing integers >= 1."""
    message = f"boundaries: {boundaries!r}: expected increasing integers >= 1"
    if not isinstance(boundaries, list | tuple):
        raise ValueError(message)
    for low, high in zip([0, *boundaries], boundaries, strict=False):
        if not is_integer(high) or high <= low:
            raise ValueError(message)
    return tuple(int(boundary) for boundary in boundaries)


def group_layout(group_of: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Columns and labels within groups, from the group of each class (C,).

    Returns:
        (C + G,) columns by group, in each the classes first and the column of its others last.
        (G, C + 1) place of each label, background last, in those columns; that of the others if it has no other.

    >>> group_layout(torch.tensor([1, 0, 1]), 2)
    (tensor([1, 3, 0, 2, 4]), tensor([[1, 0, 1, 1],
            [0, 2, 1, 2]]))
    """
    num_classes = len(group_of)
    columns, labels = [], torch.empty(groups, num_classes + 1, dtype=torch.int64)
    for group in range(groups):
        classes = (group_of == group).nonzero().squeeze(1)
        columns += [classes, torch.tensor([num_classes + group])]
        labels[group] = len(classes)
        labels[group, classes] = torch.arange(len(classes))
    return torch.cat(columns), labels
