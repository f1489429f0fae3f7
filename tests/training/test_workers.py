"""One, two and three workers with the same global batch train the same model, and stop together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from eqbench import distributed, tasks
from eqbench.checkpoint import Checkpoints
from eqbench.run_folder import RunFolder
from eqbench.train_loop import evaluate, train

from .same_runs import events, last_state
from .tiny_runs import CPU, at_step, group, in_group, planned, tiny_spec

# 29 samples: batches of 14, 14 and 1, so two of three workers have no sample in the last step of an epoch.
SHARED: dict[str, Any] = {"norm": "group", "batch_size": 14, "epochs": 3, "record_every": 1, "ema_decay": 0.8}
LAST = 9


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, float]]:
    """The run of one worker, and its numbers."""
    run = planned(tmp_path_factory.mktemp("alone") / "run", tiny_spec(**SHARED))
    (metrics,) = group(run, 1)
    return run, metrics


def assert_equal_training(run: RunFolder, alone: RunFolder) -> None:
    """Statistics to 1e-6 relative, everything else to 1e-5."""
    state, expected = last_state(run), last_state(alone)
    for part in ("model", "ema", "optimizer"):
        values, others = (each[part] if part != "optimizer" else momenta(each) for each in (state, expected))
        assert list(values) == list(others)
        for name, value in values.items():
            tolerance = {"rtol": 1e-6, "atol": 0.0} if ".statistics." in name else {"rtol": 1e-5, "atol": 1e-5}
            torch.testing.assert_close(value, others[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")
    for (iteration, samples, metrics), (*where, reference) in zip(events(run), events(alone), strict=True):
        assert [iteration, samples] == where
        assert metrics == pytest.approx(reference, rel=1e-4)


def momenta(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {str(key): value["momentum_buffer"] for key, value in state["optimizer"]["state"].items()}


@pytest.mark.parametrize(("workers", "accumulate"), [(1, 2), (2, 1), (2, 2), (3, 1), (3, 2)])
def test_workers_and_micro_batches_do_not_change_the_training(
    workers: int, accumulate: int, tmp_path: Path, alone: tuple[RunFolder, dict[str, float]]
) -> None:
    run = planned(tmp_path / "run", tiny_spec(**SHARED, accumulate=accumulate))
    metrics = group(run, workers)
    assert_equal_training(run, alone[0])
    assert metrics == [alone[1]] * workers


def test_a_run_is_resumed_with_another_number_of_workers(
    tmp_path: Path, alone: tuple[RunFolder, dict[str, float]]
) -> None:
    run = planned(tmp_path / "run", tiny_spec(**SHARED, checkpoint_minutes=0))
    for workers, die_at_step, reached in ((2, 4, 4), (3, 7, 7), (1, -1, LAST)):
        group(run, workers, die_at_step=die_at_step)
        assert run.newest_checkpoint == reached
    assert_equal_training(run, alone[0])


def test_batch_norm_with_fewer_samples_than_shares(tmp_path: Path) -> None:
    """An empty share leaves running statistics alone."""
    run = planned(tmp_path / "run", tiny_spec(**{**SHARED, "norm": "batch"}, accumulate=2))
    metrics = group(run, 2)
    assert metrics[0] == metrics[1]
    assert all(value.isfinite().all() for value in last_state(run)["model"].values())
    assert group(run, 1) == metrics[:1]


def warnings_of(run: RunFolder) -> list[str]:
    return train(run.read_spec(), run, CPU).warnings


@pytest.mark.parametrize(("workers", "norm", "told"), [(1, "batch", 0), (2, "batch", 1), (2, "group", 0)])
def test_a_result_that_depends_on_the_number_of_workers_says_so(
    workers: int, norm: str, told: int, tmp_path: Path
) -> None:
    run = planned(tmp_path / "run", tiny_spec(iterations=1, norm=norm))
    for warnings in in_group(workers, warnings_of, run):
        assert [warning.partition(":")[0] for warning in warnings] == [
            "each of 2 workers normalises its own share of a batch"
        ] * told


def evaluate_with_other_buffers(run: RunFolder) -> dict[str, torch.Tensor]:
    spec = run.read_spec()
    task = tasks.build(spec)
    torch.manual_seed(0)
    model = task.build_model()
    for buffer in model.buffers():
        buffer.fill_(1 + distributed.rank())
    evaluate(task, model, spec, run, CPU)
    return dict(model.named_buffers())


def test_all_ranks_evaluate_with_the_running_statistics_of_the_first(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", tiny_spec())
    for buffers in in_group(2, evaluate_with_other_buffers, run):
        assert len(buffers) > 10
        assert all((buffer == 1).all() for buffer in buffers.values())


@pytest.mark.parametrize("bad_rank", [0, 1])
def test_all_ranks_stop_at_a_gradient_that_is_not_finite(bad_rank: int, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", tiny_spec(loss={"nan_at": 4, "nan_rank": bad_rank}, **SHARED))
    failures = group(run, 2)
    assert [failure.partition(" (")[0] for failure in failures] == ["non-finite gradient at iteration 5"] * 2
    assert Checkpoints(run.checkpoints).load_newest()[0] == 3


def seeds_of_steps(run: RunFolder) -> list[int]:
    seeds: list[int] = []
    at_step.update(dict.fromkeys(range(3), lambda: seeds.append(torch.initial_seed())))
    train(run.read_spec(), run, CPU)
    return seeds


def test_random_state_is_of_the_rank_and_the_step_and_the_same_when_repeated(tmp_path: Path) -> None:
    """The first rank's is that of a lone worker."""
    spec = tiny_spec(model="training.tiny_runs:WithDropout", iterations=3, batch_size=14)
    once, again = (in_group(2, seeds_of_steps, planned(tmp_path / name, spec)) for name in ("once", "again"))
    assert once == again
    assert len({*once[0], *once[1]}) == 6
    assert in_group(1, seeds_of_steps, planned(tmp_path / "alone", spec)) == once[:1]
