"""Normalisation layers of a network that torchvision builds with batch normalisation, exchanged."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import batch_norm

from eqbench.models.resnet import normalization


class SpareBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics where a batch has a single value per channel.

    DeepLabV3 averages each image to one value, and a worker's share of a batch may be one image: PyTorch refuses to
    train on it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            assert self.running_mean is not None
            assert self.running_var is not None
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def bear_single_values(network: nn.Module) -> nn.Module:
    """`network` with batch normalisation that a share of one image does not stop."""
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            spare = SpareBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            spare.load_state_dict(child.state_dict())
            setattr(network, name, spare)
        else:
            bear_single_values(child)
    return network


def group_normalized(network: nn.Module) -> nn.Module:
    """`network` with group normalisation in the place of each batch normalisation."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, normalization("group", child.num_features))
        else:
            group_normalized(child)
    return network
