"""Samplers that choose a class first, then one of its samples."""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.data.sampling.order import Sampler, generator


class ClassAwareSampler(Sampler):
    """All classes equally often, as many draws per epoch as there are samples.

    Classes come in rounds, each in a new order; the samples of a class in a random order, again from its beginning when
    all have been drawn. Classes without samples are left out. Shen et al., "Relay Backpropagation", ECCV 2016.
    """

    def __init__(self, offsets: Tensor, classes: Tensor) -> None:
        if not len(classes):
            raise ValueError("classes: no sample has any, expected at least one")
        samples, sizes = by_class(offsets, classes)
        self._members = [members for members in samples.split_with_sizes(sizes.tolist()) if len(members)]
        self._epoch_length = len(offsets) - 1

    @property
    def epoch_length(self) -> int:
        return self._epoch_length

    def order(self, seed: int, epoch: int) -> Tensor:
        random = generator(seed, epoch)
        rounds = -(-self._epoch_length // len(self._members))
        turns = torch.stack([torch.randperm(len(self._members), generator=random) for _ in range(rounds)])
        chosen = torch.empty_like(turns)  # (rounds, classes): the sample of each class in each round
        for index, members in enumerate(self._members):
            shuffled = members[torch.randperm(len(members), generator=random)]
            chosen[:, index] = shuffled.repeat(-(-rounds // len(members)))[:rounds]
        return chosen.gather(1, turns).flatten()[: self._epoch_length]


class BalancedSampler(Sampler):
    """Draws independent of each other, as many per epoch as there are samples: a class, then one of its samples.

    Class j, of n_j samples, is drawn with probability `n_j ** power / sum_i n_i ** power`: 0 draws all classes equally,
    1/2 is square-root sampling. With `epochs` T the probability moves, in epoch t, from that of power 1 to that of
    `power`: `(1 - t / T) n_j / sum_i n_i + t / T p_j`. Classes without samples are never drawn. Kang et al.,
    "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020.

    >>> sampler = BalancedSampler(torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 0, 0, 1]), power=0.5)
    >>> [round(float(share), 3) for share in sampler.probability(epoch=0)]
    [0.634, 0.366]
    """

    def __init__(self, offsets: Tensor, classes: Tensor, *, power: float, epochs: int | None = None) -> None:
        if not len(classes):
            raise ValueError("classes: no sample has any, expected at least one")
        if epochs is not None and epochs < 1:
            raise ValueError(f"epochs {epochs}: expected at least 1")
        self._samples, self._sizes = by_class(offsets, classes)
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._power = power
        self._epochs = epochs
        self._epoch_length = len(offsets) - 1

    @property
    def epoch_length(self) -> int:
        return self._epoch_length

    def probability(self, epoch: int) -> Tensor:
        """(C,) float64: of each class to be drawn in `epoch`."""
        sizes = self._sizes.double()
        balanced = sizes**self._power * (sizes > 0)
        balanced /= balanced.sum()
        if self._epochs is None:
            return balanced
        progress = min(epoch / self._epochs, 1.0)
        return (1 - progress) * sizes / sizes.sum() + progress * balanced

    def order(self, seed: int, epoch: int) -> Tensor:
        random = generator(seed, epoch)
        chosen = torch.multinomial(self.probability(epoch), self._epoch_length, replacement=True, generator=random)
        sizes = self._sizes[chosen]
        place = (torch.rand(len(sizes), generator=random, dtype=torch.float64) * sizes).long()
        return self._samples[self._starts[chosen] + torch.minimum(place, sizes - 1)]


def by_class(offsets: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Samples class after class, from the classes of each sample; and (C,) how many samples each class has."""
    owner = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
    return owner[torch.argsort(classes, stable=True)], torch.bincount(classes)
