"""A whole run: budgets, when it is evaluated and saved, its result, and how it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch._dynamo.utils import counters

from eqbench import tasks
from eqbench.run_folder import RunFolder
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import RunSpec
from eqbench.train_loop import _to, train
from eqbench.trial import train_and_record

from .same_runs import assert_same_run, events, last_state
from .tiny_runs import CODE, CPU, attempt, in_group, planned, tiny_spec

KILLED = -9
Uninterrupted = Callable[[RunSpec], RunFolder]


def trained(path: Path, **changes: Any) -> RunFolder:
    run = planned(path / "run", tiny_spec(**changes))
    assert train_and_record(run, CPU, code=CODE) is None
    return run


def result_of(run: RunFolder) -> dict[str, Any]:
    result = run.read_result()
    assert result is not None
    return result


def recorded_at(run: RunFolder, key: str) -> list[int]:
    return [iteration for iteration, _, metrics in events(run) if key in metrics]


# -- budgets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "iterations", "samples", "records", "evaluations"),
    [
        ({"epochs": 2}, 8, 58, [4, 8], [4, 8]),
        ({"iterations": 6}, 6, 45, [4, 6], [4, 6]),
        ({"iterations": 3}, 3, 24, [3], [3]),
        ({"iterations": 1}, 1, 8, [1], [1]),
        ({"epochs": 2, "batch_size": 100}, 2, 58, [1, 2], [1, 2]),
        ({"epochs": 2, "batch_size": 29}, 2, 58, [1, 2], [1, 2]),
        ({"epochs": 3, "evaluate_every_epochs": 2}, 12, 87, [4, 8, 12], [8, 12]),
        ({"epochs": 2, "evaluate_every_epochs": 5}, 8, 58, [4, 8], [8]),
        ({"epochs": 1, "record_every": 1}, 4, 29, [1, 2, 3, 4], [4]),
        ({"iterations": 7, "record_every": 3}, 7, 53, [3, 4, 6, 7], [4, 7]),
        ({"epochs": 1, "accumulate": 3, "batch_size": 14}, 3, 29, [3], [3]),
    ],
)
def test_budget_records_and_evaluations(
    changes: dict[str, Any], iterations: int, samples: int, records: list[int], evaluations: list[int], tmp_path: Path
) -> None:
    run = trained(tmp_path, **changes)
    result = result_of(run)
    assert result["budget"] == {"iterations": iterations, "samples": samples}
    assert recorded_at(run, "train/loss") == records
    assert recorded_at(run, "val/top1") == evaluations
    assert events(run)[-1][:2] == (iterations, samples)
    assert run.newest_checkpoint == iterations
    (statistics,) = (value for key, value in last_state(run)["model"].items() if key.endswith("committed_steps"))
    assert statistics == iterations


def test_checkpoints_at_every_record_and_after_minutes(tmp_path: Path) -> None:
    """With 0 minutes at every record; else at the end of an epoch."""
    for minutes, expected in ((0, 7), (60, 4)):
        path = tmp_path / f"{minutes}"
        run = planned(path, tiny_spec(record_every=1, checkpoint_minutes=minutes))
        assert attempt(run, die_at_step=7) == KILLED
        assert run.newest_checkpoint == expected


# -- results -----------------------------------------------------------------------------------------------------


def test_the_result_of_a_run(tmp_path: Path) -> None:
    run = trained(tmp_path, record_every=1)
    result, spec = result_of(run), run.read_spec()
    assert (result["status"], result["status_detail"], result["attempts"]) == ("finished", "", 1)
    assert result["run_id"] == spec.run_id
    assert (result["main_metric"], list(result["metrics"])) == ("top1", list(tasks.build(spec).metrics))
    last = events(run)[-1][2]
    measured = {key.removeprefix("val/"): value for key, value in last.items()}
    assert result["metrics"] == {**measured, "top5": None}  # of three classes
    assert (result["skipped_steps"], result["warnings"]) == (0, [])
    cost = result["cost"]
    assert (cost["device"], cost["num_workers"]) == ("cpu", 1)
    assert cost["train_seconds"] > 0
    assert cost["evaluate_seconds"] > 0
    assert cost["seconds_per_step"] == pytest.approx(cost["train_seconds"] / 12)
    assert cost["samples_per_second"] == pytest.approx(87 / cost["train_seconds"])
    assert result["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert "NaN" not in run.result_file.read_text()
    for line in run.events_file.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_tiny_data_is_learned(tmp_path: Path) -> None:
    run = trained(tmp_path, epochs=15, optimizer={"name": "adamw", "lr": 0.01})
    losses = [metrics["train/loss"] for _, _, metrics in events(run) if "train/loss" in metrics]
    assert losses[-1] < 0.5 * losses[0]
    assert result_of(run)["metrics"]["top1"] > 70


def test_the_learning_rate_is_that_of_the_schedule(tmp_path: Path) -> None:
    schedule = {"name": "multi_step", "milestones": [0.5], "warmup": {"iterations": 2, "start_factor": 0.5}}
    run = trained(tmp_path, epochs=1, record_every=1, schedule=schedule)
    rates = [metrics["train/lr"] for _, _, metrics in events(run) if "train/lr" in metrics]
    assert rates == pytest.approx([0.025, 0.0375, 0.005, 0.005])


def test_averaged_weights_are_what_is_evaluated(tmp_path: Path) -> None:
    """An average that hardly moves from the weights after the first step scores like these."""
    run = planned(tmp_path / "one", tiny_spec(iterations=1, norm="group"))
    other = planned(tmp_path / "averaged", tiny_spec(iterations=40, ema_decay=1 - 1e-9, norm="group"))
    plain = planned(tmp_path / "plain", tiny_spec(iterations=40, norm="group"))
    first, averaged, last = (train(each.read_spec(), each, CPU).evaluation for each in (run, other, plain))
    assert averaged.metrics == pytest.approx(first.metrics, nan_ok=True)
    assert last.metrics != pytest.approx(first.metrics, nan_ok=True)


@pytest.mark.parametrize("changes", [{"loader_processes": 1}, {"num_workers": 3}, {"max_failures": 0}])
def test_what_is_not_part_of_the_identity_does_not_change_the_run(
    changes: dict[str, Any], tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    run = trained(tmp_path, record_every=1, **changes)
    assert_same_run(run, uninterrupted(tiny_spec(record_every=1)))


def test_another_seed_is_another_run(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    run = planned(tmp_path / "run", tiny_spec().model_copy(update={"seed": 4}))
    assert attempt(run) == 0
    assert events(run) != events(uninterrupted(tiny_spec()))


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled(tmp_path: Path) -> None:
    changes = {
        "model": "training.tiny_runs:WithDropout",
        "model_params": {"dropout": 0.0},
        "iterations": 2,
        "batch_size": 5,
    }
    plain = trained(tmp_path / "plain", **changes)
    counters.clear()
    quick = trained(tmp_path / "quick", **changes, compile=True)
    assert counters["stats"]["calls_captured"] > 0
    for (_, _, metrics), (_, _, expected) in zip(events(quick), events(plain), strict=True):
        assert metrics == pytest.approx(expected, rel=1e-3)
    assert last_state(quick)["model"].keys() == last_state(plain)["model"].keys()


class Named(NamedTuple):
    images: torch.Tensor
    more: dict[str, Any]


def test_batches_of_any_structure_reach_the_device() -> None:
    batch = [Named(torch.zeros(2, 3, 4, 4), {"sizes": (torch.ones(1), 5)}), "name", None]
    moved = _to(batch, torch.device("meta"), channels_last=True)
    assert isinstance(moved[0], Named)
    assert moved[0].images.device.type == moved[0].more["sizes"][0].device.type == "meta"
    assert moved[0].images.is_contiguous(memory_format=torch.channels_last)
    assert moved[0].more["sizes"][1] == 5
    assert moved[1:] == ["name", None]


# -- failures ----------------------------------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_is_the_result(tmp_path: Path) -> None:
    """Trying again starts from the checkpoint before and ends in the same way."""
    spec = tiny_spec(loss={"nan_at": 6}, record_every=1)
    run = planned(tmp_path / "run", spec)
    for number in (1, 2):
        failure = train_and_record(run, CPU, code=CODE)
        assert failure is not None
        assert failure["failure"] == "non-finite gradient at iteration 7 (loss nan on rank 0)"
        assert "TrainingFailed" in failure["traceback"]
        assert (run.newest_checkpoint, run.read_events()[-1]["iteration"]) == (4, 6)
        run.write_result(unsuccessful_result(spec, run, "failed", failure["failure"]))
        result = result_of(run)
        assert (result["status"], result["attempts"], result["metrics"]) == ("failed", number, {})
        assert "iteration 7" in result["status_detail"]


def test_weights_that_the_last_step_made_infinite_are_the_result(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", tiny_spec(iterations=1, optimizer={"name": "sgd", "lr": 3e38, "weight_decay": 1e3}))
    for _ in range(2):
        failure = train_and_record(run, CPU, code=CODE)
        assert failure is not None
        assert failure["failure"] == "non-finite weights after the last iteration"


def test_data_other_than_planned_are_refused(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", tiny_spec().model_copy(update={"data_digest": "d1d1"}))
    failure = train_and_record(run, CPU, code=CODE)
    assert failure is not None
    assert "its digest here is tiny, expected d1d1" in failure["failure"]


def test_an_error_of_a_plugin_is_the_result_of_a_lone_worker_and_raised_in_a_group(tmp_path: Path) -> None:
    spec = tiny_spec(model="training.tiny_runs:WithDropout", batch_size=29)
    broken = spec.model_copy(update={"model": spec.model.model_copy(update={"params": {"width": 3}})})
    run = planned(tmp_path / "run", broken)
    failure = train_and_record(run, CPU, code=CODE)
    assert failure is not None
    assert "unknown parameter of WithDropout" in failure["failure"]
    with pytest.raises(Exception, match="unknown parameter of WithDropout"):
        train_and_record(run, CPU, code=CODE, alone=False)


def test_a_number_that_does_not_exist_is_null_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.tiny_runs.Tiny.groups", ("many", "many", "few"))
    run = trained(tmp_path, iterations=1)
    assert result_of(run)["metrics"]["medium"] is None
    assert "val/medium" not in events(run)[-1][2]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_evaluation_that_fails_on_the_way_costs_nothing_but_its_numbers(workers: int, tmp_path: Path) -> None:
    run = planned(tmp_path / "run", tiny_spec(task="training.tiny_runs:RarelyJudged", epochs=2, norm="group"))
    for warnings in in_group(workers, warnings_of, run):
        assert warnings == ["after 4 iterations: out of memory"]
    judged = [event["iteration"] for event in run.read_events() if "val/top1" in event["metrics"]]
    assert judged == [8]
    assert run.newest_checkpoint == 8


def test_the_last_evaluation_that_fails_is_repeated_alone(tmp_path: Path) -> None:
    spec = tiny_spec(task="training.tiny_runs:RarelyJudged", epochs=1)
    run = planned(tmp_path / "run", spec)
    assert attempt(run) == 1
    assert "out of memory" in (run.path / "failure.txt").read_text()
    assert run.newest_checkpoint == 4


def warnings_of(run: RunFolder) -> list[str]:
    return train(run.read_spec(), run, CPU).warnings
