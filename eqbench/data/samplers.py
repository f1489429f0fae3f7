"""Which samples each worker trains on, as a pure function of seed, iteration, rank and number of workers.

Legend: a *global batch* is what one optimizer step trains on, over all workers and micro-batches; a *share*
is one worker's micro-batch of it. Nothing here has state or touches a global random generator, so a resumed
run continues with exactly the samples that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from eqbench.data.base import Dataset, Draw
from eqbench.data.sampling.by_class import BalancedSampler, ClassAwareSampler
from eqbench.data.sampling.order import RandomSampler, Sampler, hashed
from eqbench.data.sampling.repeat_factor import RepeatFactorSampler, repeat_factors
from eqbench.recipe import (
    ClassAwareSampling,
    ClassBalancedSampling,
    ProgressivelyBalancedSampling,
    RandomSampling,
    RepeatFactorSampling,
    Sampling,
    SquareRootSampling,
)


def build(spec: Sampling, data: Dataset, epochs: int = 1) -> Sampler:
    """The sampler that `spec` describes, over the training samples of `data`, for a run of so many epochs.

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
        case ClassBalancedSampling():
            return BalancedSampler(*data.sample_classes(), power=0)
        case SquareRootSampling():
            return BalancedSampler(*data.sample_classes(), power=0.5)
        case ProgressivelyBalancedSampling():
            return BalancedSampler(*data.sample_classes(), power=0, epochs=epochs)


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
            yield [Draw(order[position], hashed(self.seed, epoch, position), progress) for position in positions]


def eval_shard(num_samples: int, rank: int, world_size: int) -> range:
    """Indices of the evaluation samples of `rank`: each sample belongs to exactly one rank.

    >>> [list(eval_shard(5, rank, 3)) for rank in range(3)]
    [[0, 3], [1, 4], [2]]
    """
    return range(rank, num_samples, world_size)


def eval_indices(shares: Sequence[int]) -> NDArray[np.int64]:
    """Indices of the evaluation samples, those of rank 0 first, from how many each rank has by `eval_shard`.

    >>> eval_indices([2, 2, 1])
    array([0, 3, 1, 4, 2])
    """
    return np.concatenate([rank + len(shares) * np.arange(share) for rank, share in enumerate(shares)])
