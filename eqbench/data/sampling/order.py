"""What a sampler is, the plain one, and where its randomness comes from."""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod

import torch
from torch import Tensor


def hashed(*numbers: int) -> int:
    """63 bits that depend on every number and on how many there are."""
    digest = hashlib.blake2b(struct.pack(f"<{len(numbers)}q", *numbers), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*numbers: int) -> torch.Generator:
    """A generator of its own for these numbers."""
    return torch.Generator().manual_seed(hashed(*numbers))


class Sampler(ABC):
    """The order in which one epoch visits the training samples."""

    @property
    @abstractmethod
    def epoch_length(self) -> int:
        """Draws per epoch."""

    @abstractmethod
    def order(self, seed: int, epoch: int) -> Tensor:
        """(epoch_length,) int64: indices into the training samples, a function of `seed` and `epoch` only."""


class RandomSampler(Sampler):
    """Every sample once per epoch, in an order drawn anew each epoch.

    >>> order = RandomSampler(5).order(seed=0, epoch=0)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, num_samples: int) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples {num_samples}: expected at least 1")
        self._num_samples = num_samples

    @property
    def epoch_length(self) -> int:
        return self._num_samples

    def order(self, seed: int, epoch: int) -> Tensor:
        return torch.randperm(self._num_samples, generator=generator(seed, epoch))
