"""`eqbench mlflow reconcile`: what it ends, what it leaves alone, and what it says of both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from tracked_runs import Seen, assert_complete, begin, complete, make_spec

from eqbench.cli_mlflow import reconcile
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import Tracker, reconciliation, sync


def storage(suite: SuiteFolder) -> Path:
    return suite.path.parent


def crash(uri: str, suite: SuiteFolder, run: RunFolder) -> None:
    """A run in progress whose driver is gone."""
    tracker = Tracker(uri, suite)
    tracker.open(command="eqbench run toy")
    begin(run, 0, 10)
    assert tracker.send(run, running=True), tracker.behind


def test_it_says_what_it_ended(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    crash(uri, suite, run)
    reconcile([], uri, storage(suite))
    *ended, count = capsys.readouterr().out.splitlines()
    child, parent = sorted(ended)  # MLflow's order is that of milliseconds
    assert parent.startswith("toy: ended toy · 20")
    assert child == "toy: ended digits · softmax_eql · s0"
    assert count == "2 runs ended in MLflow"
    assert [found.info.status for found in (seen.run(run), *seen.runs("suite"))] == ["KILLED", "KILLED"]

    reconcile([], uri, storage(suite), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"ended": {}, "left": {}, "behind": []}


def test_runs_without_a_folder_here_are_named_and_left(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    crash(uri, suite, run)
    shutil.rmtree(run.path)
    report = reconciliation(storage(suite), uri=uri)
    assert [name[:6] for name in report.ended["toy"]] == ["toy · "]
    assert report.left == {"toy": "1 RUNNING of which there is no folder here: digits · softmax_eql · s0"}
    assert [found.info.status for found in seen.runs("run")] == ["RUNNING"]


def test_a_suite_at_work_is_left(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    crash(uri, suite, run)
    with suite.lock():
        report = reconciliation(storage(suite), uri=uri)
    assert (report.ended, report.left) == ({}, {"toy": "a process works on it"})
    assert seen.run(run).info.status == "RUNNING"


def test_a_store_that_does_not_answer(
    uri: str, dead_uri: str, suite: SuiteFolder, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    crash(uri, suite, run)
    with pytest.raises(typer.Exit) as ended:
        reconcile(["toy"], dead_uri, storage(suite))
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err == f"eqbench: toy: MLflow at {dead_uri}: Connection refused\n"
    with pytest.raises(InputError, match="did you mean 'toy'"):
        reconcile(["toi"], uri, storage(suite))


def test_a_store_that_is_not_there(suite: SuiteFolder, run: RunFolder, tmp_path: Path) -> None:
    begin(run, 0)
    missing = tmp_path / "none.db"
    with pytest.raises(EnvironmentProblem, match=r"^/.*/none.db: there is no MLflow store$"):
        reconcile([], f"sqlite:///{missing.name}", storage(suite))
    assert reconciliation(storage(suite)).left == {"toy": f"{tmp_path}/mlflow.db: there is no MLflow store"}
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "bogus://host", "mlruns", "sqlite://"])
def test_an_address_that_is_none_of_a_store_is_refused_before_anything_is_asked(
    uri: str, suite: SuiteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://not.this.one")
    for verb in (reconciliation, sync):
        with pytest.raises(InputError, match=f"^--tracking-uri: '{uri}'"):
            verb(storage(suite), uri=uri)


def test_a_run_that_somebody_set_running_again_ends_as_its_result_says(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    complete(run)
    assert Tracker(uri, suite).send(run, running=False)
    seen.client.update_run(seen.run(run).info.run_id, status="RUNNING")
    assert reconciliation(storage(suite), uri=uri).ended == {"toy": ["digits · softmax_eql · s0"]}
    assert_complete(run, seen)


def test_a_run_deleted_in_mlflow_while_it_trains_is_made_again(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    begin(run, 0)
    assert tracker.send(run, running=True)
    deleted = seen.run(run).info.run_id
    seen.client.delete_run(deleted)
    begin(run, 10)
    assert not tracker.send(run, running=True)
    assert tracker.send(run, running=True), tracker.behind
    assert seen.run(run).info.run_id != deleted
    assert seen.steps(run) == [0, 10]


def test_deleted_artifacts_are_sent_again(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    complete(run)
    make = Tracker(uri, suite)
    assert make.send(run, running=False)
    shutil.rmtree(Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts")
    assert seen.artifacts(seen.run(run)) == []
    assert reconciliation(storage(suite), uri=uri).behind == []
    (run.path / "synced.json").unlink()
    assert make.send(run, running=False)
    assert_complete(run, seen)


def test_a_description_written_in_mlflow_stays(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open(command="eqbench run toy", run_ids=[make_spec(0).run_id])
    assert tracker.level()
    (parent,) = seen.runs("suite")
    seen.client.set_tag(parent.info.run_id, "mlflow.note.content", "mine")
    complete(run)
    again = Tracker(uri, suite)
    assert again.send(run, running=False)
    again.open()
    assert again.level()
    parent = seen.runs("suite")[0]
    assert (parent.info.status, parent.data.tags["mlflow.note.content"]) == ("KILLED", "mine")
