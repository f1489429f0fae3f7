"""Samples and columns, whatever the shape of the logits: (N, K) and (N, K, H, W) as one.

Shapes: N samples or images, K columns, P pixels of an image, 1 without pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.losses.fused.memory import is_channels_last


def as_columns(tensor: Tensor, like: Tensor) -> Tensor:
    """(N, K, P) view of (N, K) or (N, K, H, W): one image, or its pixels as so many samples if `like` is channels-last.

    Either way samples are in the order of labels (N, H, W).
    """
    if tensor.dim() == 2:
        return tensor.unsqueeze(2)
    if is_channels_last(like):
        return tensor.movedim(1, -1).reshape(-1, tensor.shape[1], 1)
    return tensor.flatten(2)


def label_sums(labels: Tensor, values: Tensor, columns: int) -> Tensor:
    """(columns,) float64 sums of `values` by label, both of one shape."""
    sums = torch.zeros(columns, dtype=torch.float64, device=labels.device)
    return sums.index_add_(0, labels.flatten(), values.flatten().double())
