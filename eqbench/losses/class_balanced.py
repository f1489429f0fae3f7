"""Class-balanced loss: samples weighted by the inverse of their class's effective number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from eqbench.losses.arguments import check_choice, check_logits, check_number
from eqbench.losses.base import Loss
from eqbench.losses.batch import Batch, Terms
from eqbench.losses.class_counts import check_per_class, effective_number_weights
from eqbench.losses.sigmoid import sigmoid_terms
from eqbench.losses.softmax import softmax_terms

__all__ = ["ClassBalanced"]

Form = Literal["softmax", "sigmoid", "focal"]


class ClassBalanced(Loss):
    """Class-balanced loss: each sample weighs as much as its class's effective number of samples is small.

        L = loss_weight / normalizer * sum_i w_i c_y L_i
        c_j proportional to (1 - beta) / (1 - beta^{n_j}),  sum_j c_j = C

    with n_j the training samples of class j, at least 1, and L_i

        softmax: -log softmax(z)_y
        sigmoid: sum_j BCE(z_j, y_j)
        focal:   sum_j (1 - p_t)^gamma (-log p_t),  p_t = p_j where j = y, else 1 - p_j, p = sigmoid(z)

    beta = 0 weighs all classes alike, beta near 1 by the inverse of their count. There is no background label: the
    loss is for classification. Scores are softmax(z), or sigmoid(z) of the other two forms.

    After src/cifar_main.py of richardaecn/class-balanced-loss, the release of Cui et al., "Class-Balanced Loss Based
    on Effective Number of Samples", CVPR 2019. As there, the normalizer is the number of samples, not the sum of
    their weights, and focal has no alpha beside c. What differs: a class without samples counts as if it had one.
    A PyTorch port that is often used (vandit15) has binary cross entropy of softmax probabilities as its softmax
    form, and divides the sigmoid form by C as well; here they are as in the release. There, layers before a
    sigmoid begin with the bias -log(C - 1), which is the model's part.

    Args:
        num_classes: C.
        class_counts: (C,) training samples per class, >= 0.
        beta: in [0, 1).
        form: "softmax", "sigmoid" or "focal".
        gamma: exponent of "focal", >= 0; the other forms do without.
        loss_weight: factor of the value, >= 0.
        ignore_index: label of samples that count nowhere.

    Raises:
        ValueError: an argument is out of its range.

    Shapes: logits (N, C) or (N, C, H, W), labels (N,) or (N, H, W); see `Loss.forward`.

    >>> import torch
    >>> from eqbench import losses
    >>> loss = losses.build("class_balanced", num_classes=2, class_counts=[9000, 100], beta=0.999)
    >>> logits, labels = torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1])
    >>> loss(logits, labels).backward()
    >>> loss.commit()  # once per optimizer step
    >>> [round(weight, 3) for weight in loss.class_weights.tolist()]
    [0.174, 1.826]
    """

    class_weights: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_counts: Tensor | Sequence[float],
        beta: float = 0.9999,
        form: Form = "softmax",
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        counts = check_per_class("class_counts", class_counts, num_classes)
        check_choice("form", form, get_args(Form))
        self.beta = check_number("beta", beta, at_least=0, below=1)
        self.form = form
        self.gamma = check_number("gamma", gamma, at_least=0)
        self.register_buffer("class_weights", effective_number_weights(counts, self.beta), persistent=False)

    def terms(self, batch: Batch) -> Terms:
        batch = batch.weighted(self.class_weights.to(batch.dtype)[batch.labels])
        if self.form == "softmax":
            return softmax_terms(batch)
        ones = torch.ones_like(self.class_weights)
        exponent = self.gamma * ones if self.form == "focal" and self.gamma > 0 else None
        return sigmoid_terms(batch, negative=ones, positive=ones, exponent=exponent)

    def scores(self, logits: Tensor) -> Tensor:
        """(N, C, ...) softmax or sigmoid of the logits, as `form` trains them."""
        check_logits(logits, self.columns)
        logits = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
        return logits.softmax(1) if self.form == "softmax" else logits.sigmoid()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, beta={self.beta}, form={self.form!r}, gamma={self.gamma}"
