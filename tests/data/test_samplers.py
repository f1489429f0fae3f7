"""StepBatches against its definition: shares make up the global batch, and nothing depends on history."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eqbench.data import samplers
from eqbench.data.base import Dataset, Draw
from eqbench.data.digits import Digits
from eqbench.data.samplers import StepBatches, eval_shard
from eqbench.data.sampling.by_class import BalancedSampler, ClassAwareSampler
from eqbench.data.sampling.order import RandomSampler
from eqbench.data.sampling.repeat_factor import RepeatFactorSampler, repeat_factors
from eqbench.recipe import (
    ClassAwareSampling,
    ClassBalancedSampling,
    ProgressivelyBalancedSampling,
    RandomSampling,
    RepeatFactorSampling,
    SquareRootSampling,
    Train,
)
from eqbench.run_spec import Budget

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


# -- samplers that look at classes -----------------------------------------------------------------------------------


@st.composite
def labelled_samples(draw: st.DrawFn) -> list[set[int]]:
    """The classes of each of some samples, at least one class overall."""
    samples = draw(st.lists(st.sets(st.integers(0, 5), max_size=4), min_size=1, max_size=30))
    samples[0] = samples[0] or {0}
    return samples


def compressed(samples: list[set[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = torch.tensor([0, *(len(classes) for classes in samples)]).cumsum(0)
    return offsets, torch.tensor([each for classes in samples for each in sorted(classes)], dtype=torch.int64)


def factor_by_definition(samples: list[set[int]], classes: set[int], threshold: float) -> float:
    factors = [1.0]
    for each in classes:
        frequency = sum(each in other for other in samples) / len(samples)
        factors.append(max(1.0, math.sqrt(threshold / frequency)))
    return max(factors)


@given(labelled_samples(), st.floats(1e-3, 1))
def test_repeat_factors_are_those_of_the_definition(samples: list[set[int]], threshold: float) -> None:
    expected = [factor_by_definition(samples, classes, threshold) for classes in samples]
    assert repeat_factors(*compressed(samples), threshold).tolist() == pytest.approx(expected, rel=1e-12)


@given(labelled_samples(), st.floats(1e-3, 1), seeds)
def test_repeats_rounded_up_are_exact_in_every_epoch(samples: list[set[int]], threshold: float, seed: int) -> None:
    factors = repeat_factors(*compressed(samples), threshold)
    sampler = RepeatFactorSampler(factors, stochastic=False)
    for epoch in (0, 3):
        order = sampler.order(seed, epoch)
        assert len(order) == sampler.epoch_length
        assert torch.equal(order.bincount(minlength=len(samples)), factors.ceil().long())


def test_stochastic_repeats_hold_on_average_and_lie_between_the_whole_numbers() -> None:
    factors = torch.tensor([1.0, 1.25, 2.5, 3.0, 1.9])
    sampler = RepeatFactorSampler(factors, stochastic=True)
    assert sampler.epoch_length == 10  # ceil(9.65)
    drawn = sum(sampler.order(seed, epoch).bincount(minlength=5) for seed in range(200) for epoch in range(10))
    assert (drawn / drawn.sum()).tolist() == pytest.approx((factors / factors.sum()).tolist(), abs=0.004)


def test_the_epochs_of_stochastic_repeats_are_one_stream_of_complete_rounds() -> None:
    factors = torch.tensor([1.0, 1.5, 2.25, 1.75])
    sampler = RepeatFactorSampler(factors, stochastic=True)
    stream = torch.cat([sampler.order(seed=3, epoch=epoch) for epoch in range(50)]).tolist()
    position, rounds = 0, 0
    while position + 9 < len(stream):
        repeats = sampler._repeats(3, rounds)
        assert bool(((repeats == factors.floor()) | (repeats == factors.ceil())).all())
        whole = stream[position : position + int(repeats.sum())]
        assert torch.equal(torch.tensor(whole).bincount(minlength=4), repeats)
        position, rounds = position + len(whole), rounds + 1
    assert rounds > 30


@given(labelled_samples(), seeds)
def test_class_aware_draws_every_class_equally_often(samples: list[set[int]], seed: int) -> None:
    sampler = ClassAwareSampler(*compressed(samples))
    existing = set().union(*samples)
    order = sampler.order(seed, epoch=1).tolist()
    assert len(order) == len(samples)
    # Each round of as many draws as there are classes has a sample for each class.
    for start in range(0, len(order) - len(existing) + 1, len(existing)):
        drawn = [samples[index] for index in order[start : start + len(existing)]]
        assert has_distinct_representatives(drawn, sorted(existing))


def has_distinct_representatives(drawn: list[set[int]], classes: list[int]) -> bool:
    """Whether the samples can be matched to the classes, one each."""
    if not classes:
        return True
    first, *rest = classes
    return any(
        first in each and has_distinct_representatives(drawn[:index] + drawn[index + 1 :], rest)
        for index, each in enumerate(drawn)
    )


def test_class_aware_goes_through_all_samples_of_a_class() -> None:
    samples: list[set[int]] = [{0}] * 3 + [{1}] * 9
    order = ClassAwareSampler(*compressed(samples)).order(seed=0, epoch=0).tolist()
    assert sorted(index for index in order if index < 3) == [0, 0, 1, 1, 2, 2]
    assert len({index for index in order if index >= 3}) == 6


@pytest.mark.parametrize(
    ("power", "expected"), [(1, [0.2, 0.8]), (0.5, [1 / 3, 2 / 3]), (0, [0.5, 0.5])], ids=["as is", "root", "balanced"]
)
def test_balanced_draws_have_the_probability_of_the_definition(power: float, expected: list[float]) -> None:
    samples: list[set[int]] = [{0}] * 2 + [{2}] * 8  # class 1 has no sample
    sampler = BalancedSampler(*compressed(samples), power=power)
    assert sampler.epoch_length == 10
    assert sampler.probability(epoch=3).tolist() == pytest.approx([expected[0], 0, expected[1]])
    drawn = torch.cat([sampler.order(seed, epoch=0) for seed in range(1000)]).bincount(minlength=10) / 10_000
    each = [expected[0] / 2] * 2 + [expected[1] / 8] * 8
    assert drawn.tolist() == pytest.approx(each, abs=0.015)


def test_progressively_balanced_moves_from_the_samples_to_the_classes() -> None:
    samples: list[set[int]] = [{0}] * 2 + [{1}] * 8
    sampler = BalancedSampler(*compressed(samples), power=0, epochs=4)
    assert sampler.probability(epoch=0).tolist() == pytest.approx([0.2, 0.8])
    assert sampler.probability(epoch=2).tolist() == pytest.approx([0.35, 0.65])
    assert sampler.probability(epoch=4).tolist() == pytest.approx([0.5, 0.5])


def test_the_last_epoch_of_a_run_is_told_from_its_budget() -> None:
    data, budget = Digits(), Budget.of(Train(iterations=25, batch_size=32), samples_per_epoch=320)
    assert budget.epochs == 3
    sampler = samplers.build(ProgressivelyBalancedSampling(), data, budget.epochs)
    assert isinstance(sampler, BalancedSampler)
    counts = data.class_counts.double()
    expected = counts / counts.sum() / 3 + 2 / 3 / len(counts)
    assert sampler.probability(epoch=2).tolist() == pytest.approx(expected.tolist())


def test_instance_balanced_is_another_name_of_random() -> None:
    assert Train.model_validate({"epochs": 1, "sampler": {"name": "instance_balanced"}}).sampler == RandomSampling()


@pytest.mark.parametrize(
    "spec",
    [
        RepeatFactorSampling(threshold=0.2),
        ClassAwareSampling(),
        ClassBalancedSampling(),
        SquareRootSampling(),
        ProgressivelyBalancedSampling(),
    ],
    ids=lambda spec: spec.name,
)
def test_class_samplers_are_functions_of_seed_and_epoch(spec: Any) -> None:
    data = Digits()
    one, other = samplers.build(spec, data), samplers.build(spec, data)
    assert torch.equal(one.order(1, 2), other.order(1, 2))
    assert not torch.equal(one.order(1, 2), one.order(1, 3))
    assert not torch.equal(one.order(1, 2), one.order(2, 2))


def test_a_data_set_that_does_not_say_its_classes_is_refused() -> None:
    class Silent(Digits):
        sample_classes = Dataset.sample_classes

    with pytest.raises(ValueError, match="Silent does not say which classes a sample has; choose the random sampler"):
        samplers.build(ClassAwareSampling(), Silent())


def test_draws_know_how_much_of_the_budget_is_behind() -> None:
    drawn = list(batches(5, 2, last_iteration=6))
    assert [share[0].progress for share in drawn] == [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]
