"""What a run looks like in MLflow, however it got there."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from tracked_runs import Seen, assert_complete, begin, complete, make_spec, record, write_files, write_result

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import digest
from eqbench.tracking import Tracker
from eqbench.tracking import board as boards
from eqbench.tracking.schema import MAX_METRIC_KEYS

BOARD = [*(f"board/leaderboard.{ending}" for ending in ("csv", "html", "json", "md", "tex")), "config/suite.yaml"]
WRITES = ("create_experiment", "create_run", "log_batch", "log_inputs", "log_artifact", "set_terminated", "update_run")


def test_the_whole_schema(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, tmp_path: Path) -> None:
    tracker = Tracker(uri, suite)
    tracker.open(description="Is it so?", command="eqbench run toy")
    complete(run)
    assert tracker.send(run, running=False), tracker.behind
    assert tracker.close("FINISHED")
    assert_complete(run, seen)

    (parent,) = seen.runs("suite")
    found = seen.run(run)
    assert parent.info.run_name.startswith("toy · 20")
    assert parent.info.status == "FINISHED"
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Is it so?\n\n`eqbench run toy`\n\n**digits** (")
    assert "| softmax_eql" in note
    assert parent.data.tags["eqbench.status_detail"] == "1 finished, 2 unfinished"
    assert parent.data.metrics == {"runs/finished": 1, "runs/unfinished": 2, "digits/top1/mean/softmax_eql": 40}
    assert seen.artifacts(parent) == BOARD

    ours = {key: value for key, value in found.data.tags.items() if key.startswith("eqbench.")}
    assert ours == {
        "eqbench.run_id": run.run_id,
        "eqbench.kind": "run",
        "eqbench.task": "digits",
        "eqbench.task_version": "1",
        "eqbench.dataset": "digits",
        "eqbench.data_digest": "d1d1",
        "eqbench.loss": "softmax_eql",
        "eqbench.seed": "0",
        "eqbench.protocol": "accuracy:last",
        "eqbench.recipe": digest(make_spec(7).recipe),
        "eqbench.valid": "true",
        "eqbench.status_detail": "",
        "eqbench.attempts": "1",
        "eqbench.git_sha": "abc123",
        "eqbench.dirty": "false",
    }
    assert found.data.tags["mlflow.parentRunId"] == parent.info.run_id
    result = run.read_result()
    assert result is not None
    assert found.info.end_time == round(result["finished_at"] * 1000)
    first = run.read_events()[0]
    history = seen.client.get_metric_history(found.info.run_id, "train/loss")
    assert min(metric.timestamp for metric in history) == first["time_ms"]
    assert seen.data(run)[0].digest == "d1d1"
    table = pq.read_table(seen.client.download_artifacts(found.info.run_id, "gradients.parquet", str(tmp_path)))
    assert table["step"].to_pylist() == [20] * 3 + [40] * 3 + [100] * 3
    assert table["class_id"].to_pylist() == [2, 0, 1] * 3
    assert "mlartifacts/toy" in found.info.artifact_uri


def test_a_run_in_progress_is_sent_piece_by_piece(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    run.start_attempt()
    for step in range(0, 50, 10):
        record(run, step)
        assert tracker.send(run, running=True)
        assert tracker.send(run, running=True)
        assert seen.steps(run) == list(range(0, step + 1, 10))
        assert seen.run(run).info.status == "RUNNING"
    assert not seen.data(run)
    write_files(run)
    write_result(run)
    assert tracker.send(run, running=False)
    assert_complete(run, seen)


def test_an_interrupted_run_goes_on_as_the_same_run_of_the_next_parent(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    first = Tracker(uri, suite)
    first.open()
    begin(run, 0, 10, 20, 30)
    assert first.send(run, running=True)
    write_result(run, "killed", "interrupted")
    assert first.send(run, running=False)
    assert first.close("KILLED")
    assert seen.run(run).info.status == "KILLED"

    second = Tracker(uri, suite)
    second.open()
    run.rewind_to(10)
    begin(run, 20, 30)
    assert second.send(run, running=True)
    continued = seen.run(run)
    assert continued.info.status == "RUNNING"
    assert continued.data.tags["eqbench.attempts"] == "2"
    assert continued.data.tags["eqbench.status_detail"] == ""
    assert continued.data.tags["mlflow.parentRunId"] == seen.runs("suite")[1].info.run_id
    record(run, 40)
    write_files(run)
    write_result(run)
    assert second.send(run, running=False)
    assert second.close("FINISHED")
    assert_complete(run, seen)
    assert [parent.info.status for parent in seen.runs("suite")] == ["KILLED", "FINISHED"]


def test_a_failed_run_says_why_and_is_not_valid(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    begin(run, 0)
    run.error_file.write_text("Traceback …")
    write_result(run, "failed", "loss is not finite at iteration 3", environment={}, cost={})
    assert tracker.send(run, running=False)
    assert tracker.close("FAILED")
    found = seen.run(run)
    assert found.info.status == "FAILED"
    assert found.data.tags["eqbench.valid"] == "false"
    assert found.data.tags["eqbench.status_detail"] == "loss is not finite at iteration 3"
    assert seen.artifacts(found) == ["config/run.yaml", "error.txt"]
    assert seen.runs("suite")[0].data.tags["eqbench.status_detail"] == "1 failed, 2 unfinished"


def test_many_params_and_many_metric_keys(uri: str, seen: Seen, suite: SuiteFolder) -> None:
    options: dict[str, Any] = {f"option_{i}": i for i in range(250)}
    spec = make_spec(0, **options)
    suite.write_plan([spec], "name: toy\n")
    run = suite.run(spec.run_id)
    begin(run, *range(40))
    record(run, 40, **{f"train/extra_{i}": 1.0 for i in range(100)})
    write_result(run)
    assert Tracker(uri, suite).send(run, running=False)
    found = seen.run(run)
    assert found.data.params["loss.params.option_249"] == "249"
    assert 50 < len(found.data.metrics) <= MAX_METRIC_KEYS
    assert "cost/train_seconds" in found.data.metrics
    assert "train/extra_99" in found.data.tags["eqbench.metrics_left_out"]


def test_more_values_than_one_batch_takes(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    begin(run, *range(1500))
    assert Tracker(uri, suite).send(run, running=True)
    assert seen.steps(run) == list(range(1500))


class Fault:
    """Makes the n-th write to MLflow fail, before or after it has been carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, carried_out: bool) -> None:
        self.left = number
        self.carried_out = carried_out
        for name in WRITES:
            monkeypatch.setattr(MlflowClient, name, self.wrap(getattr(MlflowClient, name)))

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if self.carried_out:
                    call(*args, **kwargs)
                raise ConnectionError("cut off")
            return call(*args, **kwargs)

        return write


@pytest.mark.parametrize(
    ("carried_out", "same_process"), [(True, False), (False, True)], ids=["crash_after", "outage_before"]
)
def test_cut_off_at_any_write(
    uri: str, seen: Seen, suite: SuiteFolder, monkeypatch: pytest.MonkeyPatch, carried_out: bool, same_process: bool
) -> None:
    """Whatever write is the last before a crash or an outage, the next send leaves nothing missing or doubled."""
    monkeypatch.setattr(boards, "write", lambda *_, **__: None)
    number = 0
    failed = True
    while failed:
        number += 1
        spec = make_spec(0).model_copy(update={"data_digest": f"d{number}"})
        suite.write_plan([spec], "name: toy\n")
        run = suite.run(spec.run_id)
        tracker = Tracker(uri, suite)
        tracker.open()
        begin(run, 0, 10)
        with monkeypatch.context() as patch:
            Fault(patch, number, carried_out)
            failed = not tracker.send(run, running=True)
            record(run, 20, 30, 40)
            write_files(run)
            write_result(run)
            failed |= not tracker.send(run, running=False)
            failed |= not tracker.close("FINISHED")
        again = tracker if same_process else Tracker(uri, suite)
        assert again.send(run, running=False), again.behind
        assert again.level()
        assert again.behind is None
        assert_complete(run, seen)
    parents = seen.runs("suite")
    assert [parent.info.status for parent in parents] == ["FINISHED"] * number
    assert all(seen.artifacts(parent) == ["config/suite.yaml"] for parent in parents)
    assert all(parent.data.metrics == {"runs/finished": 1} for parent in parents)
    assert number > 12


def test_nothing_listens_at_the_address(suite: SuiteFolder, run: RunFolder, dead_uri: str) -> None:
    tracker = Tracker(dead_uri, suite)
    tracker.open()
    complete(run)
    assert not tracker.send(run, running=False)
    assert not tracker.close("FINISHED")
    assert not tracker.reachable
    assert tracker.behind == f"MLflow at {dead_uri}: Connection refused"


def test_a_database_that_is_down_is_not_waited_for(suite: SuiteFolder, run: RunFolder, tmp_path: Path) -> None:
    """MLflow alone waits for 100 s. A folder stands for it, which cannot be opened either."""
    tracker = Tracker(f"sqlite:///{tmp_path}", suite)
    started = time.monotonic()
    assert not tracker.send(run, running=True)
    assert time.monotonic() - started < 30
    assert not tracker.reachable
    assert "unable to open database file" in (tracker.behind or "")


def test_a_run_that_mlflow_refuses_does_not_stand_for_the_store(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    tracker = Tracker(uri, suite)
    complete(run)
    (run.gradients / "20.parquet").write_bytes(b"not parquet")
    assert not tracker.send(run, running=False)
    assert tracker.reachable
    assert tracker.behind is not None
    assert "20.parquet" in tracker.behind
    write_files(run)
    assert tracker.send(run, running=False)
    assert tracker.behind is None
    assert_complete(run, seen)


def test_a_deleted_experiment_is_named_with_the_way_back(uri: str, seen: Seen, suite: SuiteFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    assert tracker.level()
    seen.client.delete_experiment(seen.runs("suite")[0].info.experiment_id)
    later = Tracker(uri, suite)
    later.open()
    assert not later.level()
    assert "mlflow experiments restore --experiment-id" in (later.behind or "")


def test_a_second_run_with_nothing_left_to_do_leaves_no_trace(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    suite.write_plan([make_spec(0)], "name: toy\n")
    complete(run)
    tracker = Tracker(uri, suite)
    tracker.open()
    assert tracker.close("FINISHED")
    assert seen.runs("suite") == []


def test_ids_in_the_environment_change_nothing(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    tracker = Tracker(uri, suite)
    tracker.open()
    complete(run)
    assert tracker.send(run, running=False), tracker.behind
    assert_complete(run, seen)


def test_mlflow_is_quiet(uri: str, suite: SuiteFolder, run: RunFolder, capfd: pytest.CaptureFixture[str]) -> None:
    other = f"{uri}.new"
    tracker = Tracker(other, suite)
    complete(run)
    assert tracker.send(run, running=False)
    assert capfd.readouterr() == ("", "")
    assert io.BytesIO(Path(other.removeprefix("sqlite:///")).read_bytes()).read(6) == b"SQLite"
