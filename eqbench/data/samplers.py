"""Which samples each worker trains on, as a pure function of seed, iteration, rank and number of workers.

Legend: a *global batch* is what one optimizer step trains on, over all workers and micro-batches; a *share*
is one worker's micro-batch of it. Nothing here has state or touches a global random generator, so a resumed
run continues with exactly the samples that it would have seen.
"""

from __future__ import annotations

import hashlib
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from eqbench.data.base import Dataset, Draw
from eqbench.run_spec import ClassAwareSampling, RandomSampling, RepeatFactorSampling, Sampling


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
        generator = torch.Generator().manual_seed(_hash(seed, epoch))
        return torch.randperm(self._num_samples, generator=generator)


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
        generator = torch.Generator().manual_seed(_hash(seed, number, 1))
        whole = self._factors.floor()
        drawn = torch.rand(len(whole), generator=generator, dtype=torch.float64)
        return (whole + (drawn < self._factors - whole)).long()

    def _shuffled(self, repeats: Tensor, seed: int, number: int) -> Tensor:
        draws = torch.repeat_interleave(torch.arange(len(repeats)), repeats)
        return draws[torch.randperm(len(draws), generator=torch.Generator().manual_seed(_hash(seed, number)))]


class ClassAwareSampler(Sampler):
    """All classes equally often, as many draws per epoch as there are samples.

    Classes come in rounds, each in a new order; the samples of a class in a random order, again from its beginning when
    all have been drawn. Classes without samples are left out. Shen et al., "Relay Backpropagation", ECCV 2016.
    """

    def __init__(self, offsets: Tensor, classes: Tensor) -> None:
        if not len(classes):
            raise ValueError("classes: no sample has any, expected at least one")
        owner = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
        by_class = torch.argsort(classes, stable=True)
        sizes = torch.bincount(classes)
        self._members = [members for members in owner[by_class].split_with_sizes(sizes.tolist()) if len(members)]
        self._epoch_length = len(offsets) - 1

    @property
    def epoch_length(self) -> int:
        return self._epoch_length

    def order(self, seed: int, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(_hash(seed, epoch))
        rounds = -(-self._epoch_length // len(self._members))
        turns = torch.stack([torch.randperm(len(self._members), generator=generator) for _ in range(rounds)])
        chosen = torch.empty_like(turns)  # (rounds, classes): the sample of each class in each round
        for index, members in enumerate(self._members):
            shuffled = members[torch.randperm(len(members), generator=generator)]
            chosen[:, index] = shuffled.repeat(-(-rounds // len(members)))[:rounds]
        return chosen.gather(1, turns).flatten()[: self._epoch_length]


def build(spec: Sampling, data: Dataset) -> Sampler:
    """The sampler that `spec` describes, over the training samples of `data`.

    Raises:
        ValueError: the data set does not say which classes a sample has, and the sampler needs it.
    """
    match spec:
        case RandomSampling():
            return RandomSampler(len(data.train))
        case RepeatFactorSampling(threshold=threshold, rounding=rounding):
            factors = repeat_factors(*data.sample_classes(), threshold)
            return RepeatFactorSampler(factors, stochastic=rounding == "stochastic")
        case ClassAwareSampling():
            return ClassAwareSampler(*data.sample_classes())


class StepBatches:
    """The `batch_sampler` of a DataLoader: this rank's micro-batches, step by step, across epoch ends.

    Optimizer steps are counted from 0 over the whole run. With `n` draws per epoch and `batch_size` B, step
    `b` of an epoch trains on positions `[b B, (b + 1) B)` of that epoch's order; the last step of an epoch is
    smaller if B does not divide n. Position `i` of a global batch belongs to share `i mod (world_size *
    accumulate)`, and share `s` is micro-batch `s // world_size` of rank `s % world_size`. So the union of all
    shares is the global batch, whatever the number of workers, and a share is an empty list when there are
    more shares than samples.

    Args:
        sampler: order of each epoch.
        batch_size: samples per optimizer step, over all workers.
        accumulate: micro-batches per optimizer step.
        rank, world_size: this worker and the number of workers.
        seed: the run's seed.
        first_iteration, last_iteration: the steps `first_iteration <= step < last_iteration` are iterated; the latter
            is the run's budget, which `Draw.progress` is a share of.

    Raises:
        ValueError: an argument is out of range.

    >>> whole, rest = (StepBatches(RandomSampler(5), batch_size=2, accumulate=1, rank=0, world_size=1, seed=0,
    ...                            first_iteration=first, last_iteration=6) for first in (0, 4))
    >>> [len(draws) for draws in whole]
    [2, 2, 1, 2, 2, 1]
    >>> list(whole)[4:] == list(rest)
    True
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        batch_size: int,
        accumulate: int,
        rank: int,
        world_size: int,
        seed: int,
        first_iteration: int,
        last_iteration: int,
    ) -> None:
        if min(batch_size, accumulate, world_size) < 1:
            raise ValueError(
                f"batch_size {batch_size}, accumulate {accumulate}, world_size {world_size}: "
                "expected at least 1 of each"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank}: expected 0 to {world_size - 1}, with world_size {world_size}")
        if not 0 <= first_iteration <= last_iteration:
            raise ValueError(
                f"first_iteration {first_iteration}, last_iteration {last_iteration}: "
                "expected 0 <= first_iteration <= last_iteration"
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.first_iteration = first_iteration
        self.last_iteration = last_iteration

    @property
    def iterations_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return -(-self.sampler.epoch_length // self.batch_size)

    def global_size(self, iteration: int) -> int:
        """Samples of optimizer step `iteration`, over all workers and micro-batches."""
        start = iteration % self.iterations_per_epoch * self.batch_size
        return min(self.batch_size, self.sampler.epoch_length - start)

    def __len__(self) -> int:
        return (self.last_iteration - self.first_iteration) * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        iteration = self.first_iteration
        while iteration < self.last_iteration:
            epoch, step = divmod(iteration, self.iterations_per_epoch)
            steps = range(step, min(self.iterations_per_epoch, step + self.last_iteration - iteration))
            order = self.sampler.order(self.seed, epoch).tolist()
            for step in steps:
                yield from self._micro_batches(order, epoch, step)
            iteration += len(steps)

    def _micro_batches(self, order: list[int], epoch: int, step: int) -> Iterator[list[Draw]]:
        start = step * self.batch_size
        stop = min(start + self.batch_size, len(order))
        shares = self.world_size * self.accumulate
        progress = (epoch * self.iterations_per_epoch + step) / self.last_iteration
        for share in range(self.rank, shares, self.world_size):
            positions = range(start + share, stop, shares)
            yield [Draw(order[position], _hash(self.seed, epoch, position), progress) for position in positions]


def eval_shard(num_samples: int, rank: int, world_size: int) -> range:
    """Indices of the evaluation samples of `rank`: each sample belongs to exactly one rank.

    >>> [list(eval_shard(5, rank, 3)) for rank in range(3)]
    [[0, 3], [1, 4], [2]]
    """
    return range(rank, num_samples, world_size)


def _hash(*numbers: int) -> int:
    """63 bits that depend on every number and on how many there are."""
    digest = hashlib.blake2b(struct.pack(f"<{len(numbers)}q", *numbers), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
