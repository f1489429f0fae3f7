"""The thread that keeps MLflow level while runs are in progress."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from tracked_runs import Seen, assert_complete, begin, complete, make_spec, record, write_files, write_result

from eqbench import engine, launch
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.storage.driving import Driving
from eqbench.tracking import Follower, NullTracker, Tracker


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        tick.wait(0.02)


def test_runs_come_and_go(uri: str, seen: Seen, suite: SuiteFolder) -> None:
    first, second, third = (suite.run(make_spec(seed).run_id) for seed in range(3))
    tracker = Tracker(uri, suite)
    tracker.open()
    with Follower(tracker, interval=0.05) as follower:
        begin(first, 0, 10)
        follower.follow(first)
        wait_until(lambda: len(seen.runs("run")) == 1)
        begin(second, 0)
        follower.follow(second)
        record(first, 20, 30, 40)
        write_files(first)
        write_result(first)
        follower.ended(first)
        wait_until(lambda: {run.info.status for run in seen.runs("run")} == {"FINISHED", "RUNNING"})
        begin(third, 0)
        follower.follow(third)
    assert tracker.close("KILLED")
    assert_complete(first, seen)
    assert seen.run(second).info.status == "KILLED"
    assert seen.run(third).info.status == "KILLED"
    assert tracker.behind is None


def test_the_last_seconds_before_the_end_are_sent(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    with Follower(tracker, interval=3600) as follower:
        follower.follow(run)
        complete(run)
        follower.ended(run)
    assert_complete(run, seen)


def test_a_run_that_was_handed_out_and_never_began_does_not_stay_running(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    with Follower(tracker, interval=0.05) as follower:
        follower.follow(run)
        wait_until(lambda: len(seen.runs("run")) == 1)
    assert seen.run(run).info.status == "KILLED"
    assert seen.run(run).info.end_time >= seen.run(run).info.start_time
    again = Tracker(uri, suite)
    assert again.send(run, running=True)  # as by a process that is killed at once
    assert seen.run(run).info.status == "RUNNING"
    assert Tracker(uri, suite).end_stale()
    assert seen.run(run).info.status == "KILLED"


def test_a_run_that_nobody_handed_out_is_not_created(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    assert Tracker(uri, suite).send(run, running=False)
    assert seen.runs("run") == []


def test_nobody_waits_for_a_server_that_is_down(suite: SuiteFolder, run: RunFolder, dead_uri: str) -> None:
    tracker = Tracker(dead_uri, suite)
    tracker.open()
    started = time.monotonic()
    with Follower(tracker, interval=0.05) as follower:
        begin(run, 0)
        follower.follow(run)
        follower.ended(run)
        assert time.monotonic() - started < 0.5
        wait_until(lambda: tracker.behind is not None)
    assert not tracker.close("FINISHED")
    assert tracker.behind == f"MLflow at {dead_uri}: Connection refused"


def test_the_console_says_once_that_mlflow_is_behind(
    suite: SuiteFolder, dead_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And training has finished as if it were there."""
    specs = [make_spec(seed) for seed in range(3)]

    def execute(todo: list[RunSpec], folder: SuiteFolder, watchers: list[Any], say: Any) -> engine.Summary:
        for spec in todo:
            run = folder.run(spec.run_id)
            watchers[-1].started(run, spec)
            complete(run)
            watchers[-1].ended(run, spec, run.read_result())
        return engine.summarize(todo, folder)

    monkeypatch.setattr(engine, "execute", execute)
    screen = io.StringIO()
    summary = launch._run(specs, specs, suite, Tracker(dead_uri, suite), Driving(), Console(file=screen, width=200))
    assert len(summary.finished) == 3
    said = [line for line in screen.getvalue().splitlines() if "MLflow" in line]
    reason = f"MLflow at {dead_uri}: Connection refused"
    assert said == [f"MLflow is behind ({reason}); nothing is lost: run `eqbench sync` once it is back"]


def test_what_an_earlier_driver_left_running_is_ended(uri: str, seen: Seen, suite: SuiteFolder) -> None:
    lost, going_on, new = (suite.run(make_spec(seed).run_id) for seed in range(3))
    killed = Tracker(uri, suite)
    killed.open()
    for run in (lost, going_on):
        begin(run, 0)
        assert killed.send(run, running=True)

    tracker = Tracker(uri, suite)
    tracker.open()
    with Follower(tracker, interval=0.05) as follower:
        follower.follow(going_on)
        begin(new, 0)
        follower.follow(new)
        wait_until(lambda: [run.info.status for run in seen.runs("suite")] == ["KILLED", "RUNNING"])
        wait_until(lambda: seen.run(lost).info.status == "KILLED")
        assert seen.run(going_on).info.status == "RUNNING"
    assert tracker.close("FINISHED")


def test_without_mlflow(run: RunFolder) -> None:
    tracker = NullTracker()
    tracker.open(command="eqbench run toy --no-mlflow")
    with Follower(tracker, interval=0.01) as follower:
        follower.follow(run)
        follower.ended(run)
    assert tracker.close("FINISHED")
    assert tracker.behind is None
