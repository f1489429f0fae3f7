"""Repeat-factor sampling: images of rare classes several times an epoch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqbench.data.sampling.order import Sampler, generator


def repeat_factors(offsets: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """(N,) float64: `max(1, sqrt(threshold / f_c))` of each sample's rarest class c; 1 for a sample without a class.

    f_c is the share of these N samples that show class c: what was filtered out beforehand is not counted. Gupta et
    al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019.

    >>> repeat_factors(torch.tensor([0, 1, 2, 4]), torch.tensor([0, 0, 0, 1]), threshold=1.0).tolist()
    [1.0, 1.0, 1.7320508075688772]
    """
    samples = len(offsets) - 1
    if not len(classes):
        return torch.ones(samples, dtype=torch.float64)
    frequency = torch.bincount(classes).double() / samples
    of_class = (threshold / frequency).sqrt().clamp(min=1)  # of a class that none has it is never asked
    owner = torch.repeat_interleave(torch.arange(samples), offsets.diff())
    return torch.ones(samples, dtype=torch.float64).scatter_reduce(0, owner, of_class[classes], "amax")


class RepeatFactorSampler(Sampler):
    """Each sample as often as its factor says, in a random order; see `RepeatFactorSampling`.

    With `stochastic` rounding the draws of one round over the data vary in number. The rounds follow each other in one
    stream, of which an epoch is `ceil(sum of factors)` draws.

    >>> sampler = RepeatFactorSampler(torch.tensor([1.0, 2.5]), stochastic=False)
    >>> sorted(sampler.order(seed=0, epoch=0).tolist())
    [0, 1, 1, 1]
    """

    def __init__(self, factors: Tensor, *, stochastic: bool) -> None:
        if not len(factors) or not bool((factors >= 1).all()):
            raise ValueError(f"factors: {len(factors)} of them: expected at least one, each at least 1")
        self._factors = factors.double()
        self._stochastic = stochastic
        total = self._factors.sum() if stochastic else self._factors.ceil().sum()
        self._epoch_length = math.ceil(float(total) - 1e-6)

    @property
    def epoch_length(self) -> int:
        return self._epoch_length

    def order(self, seed: int, epoch: int) -> Tensor:
        if not self._stochastic:
            return self._shuffled(self._factors.ceil().long(), seed, epoch)
        start, stop = epoch * self._epoch_length, (epoch + 1) * self._epoch_length
        parts: list[Tensor] = []
        position, number = 0, 0
        while position < stop:
            repeats = self._repeats(seed, number)
            after = position + int(repeats.sum())
            if after > start:
                draws = self._shuffled(repeats, seed, number)
                parts.append(draws[max(start - position, 0) : stop - position])
            position, number = after, number + 1
        return torch.cat(parts)

    def _repeats(self, seed: int, number: int) -> Tensor:
        """(N,) how often each sample comes in round `number`: the factor, rounded up as often as its fraction says."""
        whole = self._factors.floor()
        drawn = torch.rand(len(whole), generator=generator(seed, number, 1), dtype=torch.float64)
        return (whole + (drawn < self._factors - whole)).long()

    def _shuffled(self, repeats: Tensor, seed: int, number: int) -> Tensor:
        draws = torch.repeat_interleave(torch.arange(len(repeats)), repeats)
        return draws[torch.randperm(len(draws), generator=generator(seed, number))]
