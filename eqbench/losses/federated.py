"""Federated loss: binary cross entropy over some of the classes, as data that is not labelled exhaustively needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eqbench.losses.arguments import check_integer, check_number
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.class_counts import check_per_class
from eqbench.losses.sigmoid import SigmoidLoss, sigmoid_terms

__all__ = ["Federated"]


class Federated(SigmoidLoss):
    """Federated loss: binary cross entropy over a sample of the classes, or over those known to be absent.

        L = loss_weight / normalizer * sum_i w_i sum_{j in S_i} BCE(z_ij, y_ij)

    Without `negatives`, all samples of a call have the same S: the classes that occur among its labels, filled up to
    `num_sampled` with others, drawn without replacement with probability proportional to class_frequency^power; a
    class of frequency 0 is not drawn. Random numbers come from torch's global generator. With `num_sampled` >= C it
    is plain binary cross entropy.

    With `negatives` (N, C), S_i is the label of sample i and the classes that `negatives` marks: on LVIS, those that
    its image was checked for and found without. Then nothing is random, whatever `num_sampled` says.

    Background, label C, is a negative of all of S. Scores are sigmoid(z).

    After `use_fed_loss` of facebookresearch/detectron2 (modeling/roi_heads/fast_rcnn.py), which took it from
    xingyizhou/CenterNet2, the release of Zhou et al., "Probabilistic Two-Stage Detection", arXiv 2103.07461; with its
    defaults and its normalizer, the number of samples. The call's S is per process, as in the release. What differs:
    there background, where it occurs, takes one of the `num_sampled` places, and one foreground class fewer is drawn.

    `negatives` follows the protocol of LVIS, Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance
    Segmentation", CVPR 2019.

    Args:
        num_classes: C.
        class_frequency: (C,) images, or share of images, with each class, >= 0; only ratios matter.
        num_sampled: classes in S, at least 1; more if more occur.
        power: exponent of the frequency, >= 0; 0 draws uniformly among classes of frequency > 0.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W), negatives as logits; see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("federated", num_classes=4, class_frequency=[0.5, 0.3, 0.2, 0.1], num_sampled=2)
    >>> logits, labels = torch.zeros(2, 4, requires_grad=True), torch.tensor([3, 4])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> int(logits.grad.any(0).sum()), logits.grad[:, 3].tolist()  # class 3 and another one; 4 is background
    (2, [-0.25, 0.25])
    """

    random = True
    uses_negatives = True
    class_frequency: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_frequency: Tensor | Sequence[float],
        num_sampled: int = 50,
        power: float = 0.5,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        frequency = check_per_class("class_frequency", class_frequency, num_classes)
        self.num_sampled = check_integer("num_sampled", num_sampled, at_least=1)
        self.power = check_number("power", power, at_least=0)
        self.random = bool(self.num_sampled < num_classes)
        self.register_buffer("class_frequency", frequency, persistent=False)

    def terms(self, batch: Batch) -> Terms:
        # A label's own column counts by `positive`, whatever `negative` says of it.
        if batch.negatives is not None:
            negative = batch.negatives.to(batch.dtype)
        elif self.random:
            negative = self.sampled(batch).double()
        else:
            negative = self.ones()
        return sigmoid_terms(batch, negative=negative, positive=self.ones())

    def sampled(self, batch: Batch) -> Tensor:
        """(C,) bool: S of this call."""
        labels = batch.labels if batch.ignored is None else batch.labels.masked_fill(batch.ignored, self.num_classes)
        occurs = torch.zeros(self.num_classes + 1, dtype=torch.bool, device=labels.device)
        occurs = occurs.index_fill_(0, labels.flatten(), True)[: self.num_classes]
        # The smallest of exponential variates of these rates are a draw without replacement (Efraimidis and
        # Spirakis, 2006), and unlike torch.multinomial need no count of the classes that occur.
        rates = torch.where(self.class_frequency > 0, self.class_frequency**self.power, 0.0)
        arrival = torch.empty_like(rates).exponential_() / rates
        first = arrival.masked_fill(occurs, 0.0).topk(self.num_sampled, largest=False)
        drawn = torch.zeros_like(occurs).index_fill_(0, first.indices, True)
        return occurs | (drawn & (rates > 0))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_sampled={self.num_sampled}, power={self.power}"
