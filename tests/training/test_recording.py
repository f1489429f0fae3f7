"""What is recorded of a run: which keys, which numbers, which tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from eqbench import losses, tasks
from eqbench.data.verification import record
from eqbench.losses.base import Loss
from eqbench.recording import Recorder, peak_memory_mb, verified
from eqbench.run_folder import RunFolder
from eqbench.tasks.base import Evaluation

from .tiny_runs import CPU, planned, tiny_spec

MOST_KEYS = 60
SPEC = tiny_spec()


class Heads(nn.Module):
    """A model with several losses, as cascades have."""

    def __init__(self, *heads: Loss) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)


def loss(positive: list[float], negative: list[float]) -> Loss:
    built = losses.build("softmax_eql", num_classes=3)
    built.statistics.positive += torch.tensor(positive)
    built.statistics.negative += torch.tensor(negative)
    return built


def recorder(path: Path, *heads: Loss, first: int = 0) -> tuple[Recorder, RunFolder]:
    run = planned(path / "run", SPEC)
    made = Recorder(run, tasks.build(SPEC), Heads(*heads), CPU, SPEC.budget)
    made.start(first)
    return made, run


def metrics(run: RunFolder) -> dict[str, float]:
    found: dict[str, float] = run.read_events()[-1]["metrics"]
    return found


def test_a_record_is_of_the_steps_since_the_last_one(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, loss([1, 1, 1], [1, 1, 1]))
    for value in (1.0, 2.0, 6.0):
        made.add(torch.tensor(value))
    assert made.record(3, lr=0.25) == 3.0
    made.add(torch.tensor(5.0))
    made.record(4, lr=0.125)
    events = run.read_events()
    assert [event["iteration"] for event in events] == [3, 4]
    assert [event["samples"] for event in events] == [24, 29]
    assert [event["metrics"]["train/loss"] for event in events] == [3.0, 5.0]
    assert [event["metrics"]["train/lr"] for event in events] == [0.25, 0.125]
    assert all(event["metrics"]["train/samples_per_second"] > 0 for event in events)


def test_speed_after_a_resume_counts_no_earlier_samples(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, loss([1, 1, 1], [1, 1, 1]), first=8)
    made._since -= 10
    made.record(9, lr=0.1)
    assert metrics(run)["train/samples_per_second"] == pytest.approx(8 / 10, rel=0.1)


def test_ratios_are_medians_over_the_classes_of_a_group_of_sums_over_losses(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, loss([4, 1, 0], [2, 2, 5]), loss([6, 3, 1], [2, 2, 0.5]))
    made.task.data.groups = ("many", "few", "few")  # type: ignore[misc]
    made.record(1, lr=0.1)
    assert metrics(run)["gradient/ratio_many"] == pytest.approx(10 / 4)
    assert metrics(run)["gradient/ratio_few"] == pytest.approx((4 / 4 + 1 / 5.5) / 2)
    assert "gradient/ratio_medium" not in metrics(run)
    assert metrics(run)["gradient/saturated_fraction"] == pytest.approx((1 / 3 + 3 / 3) / 2)


@pytest.mark.parametrize("name", ["efl", "sigmoid_eql", "cross_entropy"])
def test_ratios_are_neither_limited_nor_assumed(tmp_path: Path, name: str) -> None:
    """Whatever the loss makes of its own: EFL limits it to 1, Sigmoid-EQL has 100 before any evidence."""
    built = losses.build(name, num_classes=3)
    built.statistics.positive += torch.tensor([12.0, 0.0, 0.0])
    built.statistics.negative += torch.tensor([2.0, 4.0, 0.0])
    made, run = recorder(tmp_path, built)
    made.task.data.groups = ("many", "medium", "few")  # type: ignore[misc]
    made.record(1, lr=0.1)
    ratios = {name: value for name, value in metrics(run).items() if name.startswith("gradient/ratio_")}
    assert ratios == {"gradient/ratio_many": 6.0, "gradient/ratio_medium": 0.0}


def test_what_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, losses.build("cross_entropy", num_classes=3))
    made.add(torch.tensor(math.nan))
    made.record(1, lr=0.1)
    assert "train/loss" not in metrics(run)
    assert "gradient/saturated_fraction" not in metrics(run)
    assert metrics(run)["train/lr"] == 0.1
    made.evaluation(1, Evaluation({"top1": 50.0, "few": math.nan, "worst": math.inf}, {"class_id": [0, 1, 2]}))
    assert metrics(run) == {"val/top1": 50.0}
    made.add(torch.tensor(2.0))
    made.record(2, lr=0.1)
    assert metrics(run)["train/loss"] == 2.0


def test_keys_are_few(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, loss([1, 1, 1], [1, 1, 1]))
    made.record(1, lr=0.1)
    task = made.task
    made.evaluation(1, Evaluation(dict.fromkeys(task.metrics, 1.0), {"class_id": [0, 1, 2]}))
    keys = {key for event in run.read_events() for key in event["metrics"]}
    assert len(keys) <= MOST_KEYS
    assert {key.partition("/")[0] for key in keys} == {"train", "gradient", "system", "val"}


def test_gradient_tables(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, loss([4, 1, 0], [2, 2, 0]), loss([2, 3, 1], [2, 2, 1]))
    made.evaluation(7, Evaluation({"top1": 1.0}, {"class_id": [0, 1, 2]}))
    table = pq.read_table(run.gradients / "000000007.parquet")
    assert {field.name: field.type for field in table.schema} == {
        "step": pa.int64(),
        "class_id": pa.int32(),
        "class_name": pa.string(),
        "group": pa.string(),
        "positive": pa.float64(),
        "negative": pa.float64(),
        "ratio": pa.float64(),
        "module": pa.string(),
    }
    columns = table.to_pydict()
    assert columns["step"] == [7] * 6
    assert columns["class_id"] == [0, 1, 2] * 2
    assert columns["class_name"] == ["zero", "one", "two"] * 2
    assert columns["group"] == ["many", "medium", "few"] * 2
    assert columns["module"] == ["heads.0"] * 3 + ["heads.1"] * 3
    assert columns["positive"] == [4, 1, 0, 2, 3, 1]
    assert columns["negative"] == [2, 2, 0, 2, 2, 1]
    assert columns["ratio"] == pytest.approx([2, 0.5, 1, 1, 1.5, 1])


def test_snapshots_of_gradients_are_spread_over_training(tmp_path: Path) -> None:
    """About as many as `SNAPSHOTS`, at the same iterations after a resume."""
    spec = tiny_spec()
    budget = spec.budget.model_copy(update={"iterations": 4000})
    found = []
    for first in (0, 2000):
        run = planned(tmp_path / f"from-{first}", spec)
        made = Recorder(run, tasks.build(spec), Heads(loss([1, 1, 1], [1, 1, 1])), CPU, budget)
        made.start(first)
        for iteration in range(first + 50, 4001, 50):
            made.record(iteration, lr=0.1)
        found.append([int(part.stem) for part in sorted(run.gradients.iterdir())])
    assert found[0] == list(range(100, 4001, 100))
    assert found[1] == [iteration for iteration in found[0] if iteration > 2000]


def test_what_a_checkpoint_between_two_records_keeps(tmp_path: Path) -> None:
    """Losses since the last record, and that a snapshot has been due since then."""
    spec = tiny_spec()
    budget = spec.budget.model_copy(update={"iterations": 4000})

    def made_in(run: RunFolder) -> Recorder:
        return Recorder(run, tasks.build(spec), Heads(loss([1, 1, 1], [1, 1, 1])), CPU, budget)

    run = planned(tmp_path / "run", spec)
    before = made_in(run)
    before.start(1958)
    for value in (9.0, 1.0):
        before.add(torch.tensor(value))
    before.record(1960, lr=0.1)
    for _ in range(50):
        before.add(torch.tensor(3.0))
    after = made_in(run)
    after.start(2010, since=before.since_record())
    for _ in range(20):
        after.add(torch.tensor(10.0))
    assert after.record(2030, lr=0.1) == 5.0
    assert [file.name for file in run.gradients.iterdir()] == ["000002030.parquet"]


def test_the_table_of_classes_is_that_of_the_evaluation(tmp_path: Path) -> None:
    made, run = recorder(tmp_path, loss([1, 1, 1], [1, 1, 1]))
    per_class: dict[str, list[Any]] = {
        "class_id": [0, 1, 2],
        "class_name": ["zero", "one", "two"],
        "group": ["many", "medium", "few"],
        "count": [17, 9, 3],
        "accuracy": [100.0, math.nan, 0.0],
    }
    for value in (1.0, 2.0):
        made.evaluation(4, Evaluation({"top1": value}, {**per_class, "extra": [value] * 3}))
    table = pq.read_table(run.evaluation / "per_class.parquet")
    assert table.column_names == [*per_class, "extra"]
    columns = table.to_pydict()
    assert columns["extra"] == [2.0] * 3
    assert columns["count"] == [17, 9, 3]
    assert math.isnan(columns["accuracy"][1])


def test_further_tables_of_the_last_evaluation(tmp_path: Path) -> None:
    made, run = recorder(tmp_path)
    columns = {
        "image": np.arange(300, dtype=np.int32),
        "right": np.arange(300) % 3 == 0,
        "margin": np.linspace(-1, 1, 300).astype(np.float16),
    }
    for name in ("first", "predictions", "predictions"):
        made.evaluation(4, Evaluation({"top1": 1.0}, tables={name: columns}))
    assert sorted(file.name for file in run.evaluation.iterdir()) == [
        "first.parquet",
        "per_class.parquet",
        "predictions.parquet",
    ]
    table = pq.read_table(run.evaluation / "predictions.parquet")
    for name, column in columns.items():
        stored = table[name].to_numpy()
        assert stored.dtype == column.dtype
        np.testing.assert_array_equal(stored, column)


def test_a_model_without_losses_has_no_gradient_statistics(tmp_path: Path) -> None:
    made, run = recorder(tmp_path)
    made.record(1, lr=0.1)
    made.evaluation(1, Evaluation({"top1": 1.0}))
    assert not any(key.startswith("gradient/") for event in run.read_events() for key in event["metrics"])
    assert not run.gradients.exists()
    assert made.skipped_steps == 0


def test_the_data_is_described(tmp_path: Path) -> None:
    _, run = recorder(tmp_path, loss([1, 1, 1], [1, 1, 1]))
    assert json.loads((run.path / "dataset.json").read_text()) == {
        "name": "Tiny",
        "digest": "tiny",
        "num_classes": 3,
        "num_train": 29,
        "num_eval": 15,
        "class_counts": [17, 9, 3],
        "class_names": ["zero", "one", "two"],
        "groups": ["many", "medium", "few"],
        "verified": None,
    }


def test_that_the_data_was_verified_is_recorded(tmp_path: Path) -> None:
    for digest in ("tiny", "another"):
        record.write(tmp_path, name="tiny", digest=digest, level="deep", content_digest="c0ffee")
    verification = verified(str(tmp_path), "tiny")
    assert verification is not None
    assert (verification["digest"], verification["level"]) == ("tiny", "deep")
    assert verified(str(tmp_path), "changed") is None


def test_skipped_steps_are_counted_over_all_losses(tmp_path: Path) -> None:
    heads = [loss([1, 1, 1], [1, 1, 1]) for _ in range(2)]
    made, _ = recorder(tmp_path, *heads)
    for head in heads:
        head(torch.full((2, 3), math.nan), torch.tensor([0, 1])).detach()
        head(torch.full((2, 3), math.nan, requires_grad=True), torch.tensor([0, 1]))
    losses.commit(heads)
    assert made.skipped_steps == 2


def test_peak_memory_is_of_this_process() -> None:
    assert 50 < peak_memory_mb(CPU) < 100_000
