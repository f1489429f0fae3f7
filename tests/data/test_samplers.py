"""StepBatches against its definition: shares make up the global batch, and nothing depends on history."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eqbench.data import samplers
from eqbench.data.base import Draw
from eqbench.data.digits import Digits
from eqbench.data.samplers import RandomSampler, StepBatches, eval_shard
from eqbench.run_spec import RandomSampling

lengths = st.integers(1, 40)
batch_sizes = st.integers(1, 16)
workers = st.integers(1, 6)
micro_batches = st.integers(1, 4)
seeds = st.integers(0, 2**31)


def batches(length: int, batch_size: int, **options: Any) -> StepBatches:
    defaults = {"accumulate": 1, "rank": 0, "world_size": 1, "seed": 0, "first_iteration": 0}
    sampler = RandomSampler(length)
    return StepBatches(sampler, batch_size=batch_size, **{**defaults, "last_iteration": 10, **options})


@given(lengths, batch_sizes, workers, micro_batches, seeds)
def test_the_shares_of_all_ranks_and_micro_batches_are_the_global_batch(
    length: int, batch_size: int, world_size: int, accumulate: int, seed: int
) -> None:
    alone = list(batches(length, batch_size, seed=seed))
    options = {"accumulate": accumulate, "world_size": world_size, "seed": seed}
    ranks = [list(batches(length, batch_size, rank=rank, **options)) for rank in range(world_size)]
    for iteration, global_batch in enumerate(alone):
        steps = slice(iteration * accumulate, (iteration + 1) * accumulate)
        shares = [share for rank in ranks for share in rank[steps]]
        assert len(shares) == world_size * accumulate
        assert sorted(draw for share in shares for draw in share) == sorted(global_batch)
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


@given(lengths, batch_sizes, workers, micro_batches, st.integers(0, 10), seeds)
def test_a_later_start_gives_the_tail_of_the_whole_sequence(
    length: int, batch_size: int, world_size: int, accumulate: int, start: int, seed: int
) -> None:
    options = {"accumulate": accumulate, "world_size": world_size, "rank": world_size - 1, "seed": seed}
    whole = batches(length, batch_size, **options)
    tail = batches(length, batch_size, first_iteration=start, **options)
    assert list(tail) == list(whole)[start * accumulate :]
    assert list(tail) == list(tail)


@given(lengths, batch_sizes, seeds)
def test_an_epoch_is_a_permutation(length: int, batch_size: int, seed: int) -> None:
    per_epoch = batches(length, batch_size).iterations_per_epoch
    epochs = batches(length, batch_size, seed=seed, first_iteration=per_epoch, last_iteration=3 * per_epoch)
    indices = [draw.index for draws in epochs for draw in draws]
    assert sorted(indices[:length]) == sorted(indices[length:]) == list(range(length))


@given(lengths, batch_sizes)
def test_sizes_are_known_before_iterating(length: int, batch_size: int) -> None:
    whole = batches(length, batch_size)
    assert [whole.global_size(iteration) for iteration in range(10)] == [len(draws) for draws in whole]
    assert len(whole) == len(list(whole))
    assert len(batches(length, batch_size, accumulate=3, first_iteration=4)) == 18


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    sampler = RandomSampler(100)
    orders = {tuple(sampler.order(seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_draw_seeds_differ_between_positions_epochs_and_runs() -> None:
    draws = [draw for seed in range(3) for draws in batches(50, 10, seed=seed, last_iteration=15) for draw in draws]
    assert len({draw.seed for draw in draws}) == len(draws) == 3 * 150
    assert all(0 <= draw.seed < 2**63 for draw in draws)


def test_a_share_is_empty_when_there_are_more_shares_than_samples() -> None:
    last_step = [list(batches(5, 4, world_size=3, rank=rank, first_iteration=1, last_iteration=2)) for rank in range(3)]
    assert [[len(draws) for draws in rank] for rank in last_step] == [[1], [0], [0]]


def test_the_order_is_pinned() -> None:
    """A change here makes every run of the past irreproducible."""
    first = next(iter(batches(6, 3)))
    assert first == [
        Draw(1, 1445694884619442965),
        Draw(0, 5783053468948169963),
        Draw(4, 6711978187870234585),
    ]


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = list(batches(20, 6))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert list(batches(20, 6)) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_size": 2, "rank": 2}, "rank 2: expected 0 to 1, with world_size 2"),
        ({"accumulate": 0}, "accumulate 0, world_size 1: expected at least 1 of each"),
        ({"first_iteration": 11}, "first_iteration 11, last_iteration 10: expected 0 <= first_iteration"),
    ],
)
def test_impossible_arguments(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(5, 2, **options)


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="num_samples 0: expected at least 1"):
        RandomSampler(0)


def test_build_covers_the_training_samples() -> None:
    data = Digits()
    assert samplers.build(RandomSampling(), data).epoch_length == len(data.train)


@given(st.integers(0, 50), workers)
def test_evaluation_shards_partition_the_samples(num_samples: int, world_size: int) -> None:
    shards = [list(eval_shard(num_samples, rank, world_size)) for rank in range(world_size)]
    assert sorted(index for shard in shards for index in shard) == list(range(num_samples))
