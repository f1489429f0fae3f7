from __future__ import annotations

import copy
import math

import torch

from eqbench.losses.statistics import GradientStatistics, commit


def record(statistics: GradientStatistics, positive: list[float], negative: list[float], samples: int = 1) -> None:
    statistics.record(torch.tensor(positive), torch.tensor(negative), torch.tensor(samples))


def test_calls_are_one_step_until_commit() -> None:
    statistics = GradientStatistics(2)
    record(statistics, [1.0, 0.0], [0.0, 2.0])
    record(statistics, [3.0, 1.0], [1.0, 0.0])
    assert statistics.positive.tolist() == [0.0, 0.0]
    statistics.commit()
    assert statistics.positive.tolist() == [4.0, 1.0]
    assert statistics.negative.tolist() == [1.0, 2.0]
    assert statistics.committed_steps.item() == 1
    statistics.commit()
    assert statistics.positive.tolist() == [4.0, 1.0]
    assert statistics.committed_steps.item() == 1


def test_totals_are_buffers_and_pending_is_not() -> None:
    statistics = GradientStatistics(3, background=True)
    record(statistics, [1.0] * 4, [2.0] * 4)
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in statistics.state_dict().items()}
    assert shapes == {
        "positive": ((3,), torch.float64),
        "negative": ((3,), torch.float64),
        "background": ((2,), torch.float64),
        "committed_steps": ((), torch.int64),
        "skipped_steps": ((), torch.int64),
    }
    assert "background" not in GradientStatistics(3).state_dict()


def test_commit_updates_the_buffers_in_place() -> None:
    """DistributedDataParallel keeps references to the buffers that it finds when it is built."""
    statistics = GradientStatistics(2, background=True)
    before = dict(statistics.named_buffers())
    record(statistics, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    statistics.commit()
    assert all(value is before[name] for name, value in statistics.named_buffers())
    assert before["background"].tolist() == [3.0, 6.0]


def test_a_non_finite_step_is_counted_and_left_out() -> None:
    healthy, broken = GradientStatistics(2), GradientStatistics(2)
    record(broken, [1.0, 1.0], [1.0, 1.0])
    record(broken, [1.0, math.nan], [1.0, math.inf])
    record(healthy, [1.0, 1.0], [1.0, 1.0])
    commit([broken, healthy])
    assert broken.positive.tolist() == [0.0, 0.0]
    assert (broken.committed_steps.item(), broken.skipped_steps.item()) == (0, 1)
    assert healthy.positive.tolist() == [1.0, 1.0]
    assert (healthy.committed_steps.item(), healthy.skipped_steps.item()) == (1, 0)


def test_a_step_without_samples_is_no_step() -> None:
    statistics = GradientStatistics(1)
    record(statistics, [0.0], [0.0], samples=0)
    statistics.commit()
    assert (statistics.committed_steps.item(), statistics.skipped_steps.item()) == (0, 0)


def test_ratio_and_saturation() -> None:
    statistics = GradientStatistics(4, initial_ratio=100.0)
    assert statistics.ratio.tolist() == [100.0] * 4
    assert math.isnan(statistics.saturated_fraction.item())
    record(statistics, [3.0, 1.0, 0.0, 0.0], [1.0, 4.0, 2.0, 0.0])
    statistics.commit()
    torch.testing.assert_close(statistics.ratio, torch.tensor([3.0, 0.25, 0.0, 100.0], dtype=torch.float64))
    assert statistics.saturated_fraction.item() == 1 / 3


def test_clamped_ratio_is_saturated_at_its_bound() -> None:
    statistics = GradientStatistics(2, clamp_ratio=True)
    record(statistics, [3.0, 1.0], [1.0, 4.0])
    statistics.commit()
    torch.testing.assert_close(statistics.ratio, torch.tensor([1.0, 0.25], dtype=torch.float64))
    assert statistics.saturated_fraction.item() == 0.5


def test_totals_stay_float64_whatever_the_model_is_cast_to() -> None:
    statistics = GradientStatistics(1)
    record(statistics, [1.0 + 2.0**-20], [1.0])
    statistics.commit()
    for cast in (torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.float):
        cast(statistics)
        assert statistics.positive.dtype == torch.float64
        assert statistics.positive.item() == 1.0 + 2.0**-20


def test_small_gradients_are_not_lost_in_large_totals() -> None:
    statistics = GradientStatistics(1)
    record(statistics, [1e6], [1.0])
    statistics.commit()
    for _ in range(100):
        record(statistics, [1e-4], [0.0])
        statistics.commit()
    assert abs(statistics.positive.item() - (1e6 + 1e-2)) < 1e-6


def test_loading_drops_what_is_pending() -> None:
    statistics, other = GradientStatistics(1), GradientStatistics(1)
    record(other, [1.0], [2.0])
    other.commit()
    record(statistics, [5.0], [5.0])
    statistics.load_state_dict(other.state_dict())
    statistics.commit()
    assert (statistics.positive.item(), statistics.negative.item()) == (1.0, 2.0)


def test_a_copy_is_independent() -> None:
    statistics = GradientStatistics(1)
    record(statistics, [1.0], [2.0])
    other = copy.deepcopy(statistics)
    statistics.commit()
    other.commit()
    assert other.positive.item() == statistics.positive.item() == 1.0
    assert other.positive is not statistics.positive
