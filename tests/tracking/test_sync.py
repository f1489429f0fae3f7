"""Bringing MLflow level afterwards: after outages, crashes, moves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tracked_runs import Seen, assert_complete, begin, complete, make_spec, record, write_files, write_result

from eqbench.errors import InputError
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import SyncReport, Tracker, reconcile, sync


def storage(suite: SuiteFolder) -> Path:
    return suite.path.parent


def test_down_for_the_whole_run(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, dead_uri: str) -> None:
    tracker = Tracker(dead_uri, suite)
    tracker.open(command="eqbench run toy")
    complete(run)
    assert not tracker.send(run, running=False)
    assert not tracker.close("FINISHED")
    (reason,) = sync(storage(suite)).behind
    assert reason == f"toy: MLflow at {dead_uri}: Connection refused"

    assert sync(storage(suite), uri=uri) == SyncReport(sent=1)
    assert_complete(run, seen)
    (parent,) = seen.runs("suite")
    assert parent.info.status == "FINISHED"
    assert seen.run(run).data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_second_sync_changes_nothing(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    complete(run)
    assert sync(storage(suite), uri=uri) == SyncReport(sent=1)
    before = [found.to_dictionary() for found in seen.runs("run")]
    assert sync(storage(suite), uri=uri) == SyncReport(already_level=1)
    (run.path / "synced.json").unlink()
    assert sync(storage(suite), uri=uri) == SyncReport(sent=1)
    assert [found.to_dictionary() for found in seen.runs("run")] == before


def test_another_store_gets_everything_and_a_deleted_one_again(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, empty_store: Path, tmp_path: Path
) -> None:
    complete(run)
    assert sync(storage(suite), uri=uri).sent == 1
    other = tmp_path / "other.db"
    other.write_bytes(empty_store.read_bytes())
    assert sync(storage(suite), uri=f"sqlite:///{other}").sent == 1
    assert_complete(run, Seen(f"sqlite:///{other}"))
    assert sync(storage(suite), uri=uri).already_level == 1
    seen.client.delete_run(seen.run(run).info.run_id)
    assert sync(storage(suite), uri=uri).sent == 1
    assert_complete(run, seen)


def test_the_same_store_from_another_folder(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    begin(run, 0, 10)
    assert tracker.send(run, running=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    record(run, 20, 30, 40)
    write_files(run)
    write_result(run)
    assert sync(storage(suite)) == SyncReport(sent=1)
    assert_complete(run, seen)
    assert not list(elsewhere.iterdir())


def test_runs_that_never_started_are_not_sent(uri: str, seen: Seen, suite: SuiteFolder) -> None:
    assert sync(storage(suite), uri=uri) == SyncReport()
    assert seen.runs("run") == []


def test_an_unknown_suite_gets_the_nearest(uri: str, suite: SuiteFolder) -> None:
    with pytest.raises(InputError, match=r"suite 'toi' has not been run.*there are: toy; did you mean 'toy'"):
        sync(storage(suite), ["toi"], uri)


def test_a_suite_at_work_is_left_to_its_driver(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    with suite.lock():
        tracker = Tracker(uri, suite)
        tracker.open()
        begin(run, 0)
        assert tracker.send(run, running=True)
        (reason,) = sync(storage(suite), uri=uri).behind
        assert "another eqbench process" in reason
        assert reconcile(uri, storage(suite)) == []
        assert seen.run(run).info.status == "RUNNING"
        assert seen.runs("suite")[0].info.status == "RUNNING"


DRIVER = """
import os, signal, sys
from pathlib import Path
from eqbench.run_folder import SuiteFolder
from eqbench.tracking import Tracker
suite = SuiteFolder(Path(sys.argv[2]), "toy")
with suite.lock():
    tracker = Tracker(sys.argv[1], suite)
    tracker.open()
    assert tracker.send(suite.run(sys.argv[3]), running=True), tracker.behind
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_driver_leaves_no_run_running(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    begin(run, 0, 10)
    arguments = [sys.executable, "-c", DRIVER, uri, str(storage(suite)), run.run_id]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert seen.run(run).info.status == "RUNNING"

    assert len(reconcile(uri, storage(suite))) == 2
    found = seen.run(run)
    assert found.info.status == "KILLED"
    assert found.info.end_time == max(run.read_events()[-1]["time_ms"], found.info.start_time)
    assert "`eqbench run` continues it" in found.data.tags["eqbench.status_detail"]
    (parent,) = seen.runs("suite")
    assert parent.info.status == "KILLED"
    assert parent.data.tags["eqbench.status_detail"] == "its process ended before the suite did"
    assert reconcile(uri, storage(suite)) == []

    tracker = Tracker(uri, suite)
    tracker.open()
    begin(run, 20)
    assert tracker.send(run, running=True)
    assert seen.run(run).info.status == "RUNNING"
    del tracker
    assert sync(storage(suite), uri=uri).sent == 1
    assert seen.run(run).info.status == "KILLED"


def test_a_run_killed_twice_without_progress_ends_twice(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    record(run, 0)
    for _ in range(2):
        run.start_attempt()
        tracker = Tracker(uri, suite)
        tracker.open()
        assert tracker.send(run, running=True)
        assert seen.run(run).info.status == "RUNNING"
        assert reconcile(uri, storage(suite))
        assert seen.run(run).info.status == "KILLED"


def test_the_runs_of_others_are_not_touched(uri: str, seen: Seen, suite: SuiteFolder, tmp_path: Path) -> None:
    theirs = SuiteFolder(tmp_path / "theirs", "toy")
    theirs.create()
    theirs.write_plan([make_spec(7)], "name: toy\n")
    foreign = theirs.run(make_spec(7).run_id)
    tracker = Tracker(uri, theirs)
    tracker.open()
    begin(foreign, 0)
    assert tracker.send(foreign, running=True)
    begin(suite.run(make_spec(0).run_id), 0)
    reconcile(uri, storage(suite))
    sync(storage(suite), uri=uri)
    assert seen.run(foreign).info.status == "RUNNING"
    assert seen.runs("suite")[0].info.status == "RUNNING"


def test_reconcile_creates_no_store_and_does_not_wait(
    suite: SuiteFolder, run: RunFolder, tmp_path: Path, dead_uri: str
) -> None:
    begin(run, 0)
    missing = tmp_path / "none.db"
    assert reconcile(f"sqlite:///{missing}", storage(suite)) == []
    assert not missing.exists()
    assert reconcile(dead_uri, storage(suite)) == []


CREATOR = """
import sys
from pathlib import Path
from eqbench.run_folder import SuiteFolder
from eqbench.tracking import Tracker
tracker = Tracker(sys.argv[1], SuiteFolder(Path(sys.argv[2]), sys.argv[3]))
tracker.open()
print("ready", flush=True)
sys.stdin.read(1)
assert tracker.level(), tracker.behind
"""


def test_two_drivers_create_the_store_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    processes = []
    for name in ("one", "two"):
        folder = SuiteFolder(tmp_path, name)
        folder.create()
        folder.write_plan([make_spec(0)], f"name: {name}\n")
        arguments = [sys.executable, "-c", CREATOR, uri, str(tmp_path), name]
        processes.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    assert [process.communicate(timeout=60) and process.returncode for process in processes] == [0, 0]
    names = {experiment.name for experiment in Seen(uri).client.search_experiments()}
    assert {"one", "two"} <= names
