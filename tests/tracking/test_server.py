"""Against a real MLflow server that fails, as far as a driver can tell, in every way that servers do."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from faulty_proxy import Proxy
from tracked_runs import (
    ARTIFACTS,
    Seen,
    assert_complete,
    begin,
    complete,
    free_port,
    make_spec,
    record,
    write_files,
    write_result,
)

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import Follower, SyncReport, Tracker, sync

STARTUP_SECONDS = 120
PATIENCE_SECONDS = 30
FILES = "/mlflow-artifacts/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[int]:
    """The port of an MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    database = folder / "server.db"
    database.write_bytes(empty_store.read_bytes())
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(folder / "files")]
    with (folder / "server.log").open("w") as log:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # or it starts eight more processes
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not healthy(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def healthy(address: str) -> bool:
    try:
        with urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        threading.Event().wait(0.1)
        return False


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.close()


@pytest.fixture
def seen(proxy: Proxy) -> Iterator[Seen]:
    """What the server has; the suite is forgotten afterwards."""
    seen = Seen(f"http://127.0.0.1:{proxy.upstream}")
    yield seen
    if experiment := seen.client.get_experiment_by_name("toy"):
        seen.client.rename_experiment(experiment.experiment_id, f"toy {experiment.experiment_id}")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.02)


def opened(proxy: Proxy, suite: SuiteFolder) -> Tracker:
    tracker = Tracker(proxy.address, suite)
    tracker.open(command="eqbench run toy")
    return tracker


def end(run: RunFolder) -> None:
    """The rest of a run of which some events are recorded up to iteration 20."""
    record(run, 30, 40)
    write_files(run)
    write_result(run)


@pytest.mark.parametrize("fault", ["gone", 503, "no answer"])
def test_it_dies_in_mid_run_and_returns(
    proxy: Proxy, seen: Seen, suite: SuiteFolder, run: RunFolder, fault: int | str
) -> None:
    """What it did before it cut off the answer is not done twice."""
    tracker = opened(proxy, suite)
    with Follower(tracker, interval=0.05) as follower:
        with proxy.failing(fault):  # type: ignore[arg-type]
            begin(run, 0)
            follower.follow(run)
            wait_until(lambda: tracker.behind)
        wait_until(lambda: seen.runs("run") and seen.steps(run) == [0])
        with proxy.failing(fault):  # type: ignore[arg-type]
            record(run, 10, 20)
            wait_until(lambda: proxy.failed > 1 and tracker.behind)
        wait_until(lambda: seen.steps(run) == [0, 10, 20])
        end(run)
        follower.ended(run)
    assert tracker.close("FINISHED"), tracker.behind
    assert tracker.behind is None
    assert_complete(run, seen)
    assert [parent.info.status for parent in seen.runs("suite")] == ["FINISHED"]
    assert sync(suite.path.parent) == SyncReport(already_level=1)
    (run.path / "synced.json").unlink()
    assert sync(suite.path.parent) == SyncReport(sent=1)
    assert_complete(run, seen)


def test_it_hangs_until_the_end_and_nobody_waits(
    proxy: Proxy, seen: Seen, suite: SuiteFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = opened(proxy, suite)
    begin(run, 0, 10, 20)
    assert tracker.send(run, running=True)
    with proxy.failing("hangs"):
        with Follower(tracker, interval=0.05) as follower:
            follower.follow(run)
            record(run, 20)
            wait_until(lambda: proxy.failed)
            started = time.monotonic()
            tracker.adopt([make_spec(7).run_id])
            end(run)
            follower.ended(run)
            assert time.monotonic() - started < 0.5
        assert not tracker.close("FINISHED")
        assert time.monotonic() - started < 20
        assert tracker.behind == f"MLflow at {proxy.address}: timed out"
        assert seen.run(run).info.status == "RUNNING"
    assert sync(suite.path.parent) == SyncReport(sent=1)
    assert_complete(run, seen)
    assert [parent.info.status for parent in seen.runs("suite")] == ["FINISHED"]


@pytest.mark.parametrize("status", [500, 403])
def test_only_files_are_refused_for_a_while(
    proxy: Proxy, seen: Seen, suite: SuiteFolder, run: RunFolder, status: int
) -> None:
    """From before the parent run is created. Runs end, the others go on, none says that it is valid without them."""
    other, third = (suite.run(make_spec(seed).run_id) for seed in (1, 2))
    tracker = opened(proxy, suite)
    with Follower(tracker, interval=0.05) as follower:
        with proxy.failing(status, only=FILES):
            for each in (run, third):
                complete(each)
                follower.ended(each)
            begin(other, 0)
            follower.follow(other)
            wait_until(lambda: len(seen.runs("run")) == 3 and seen.run(third).info.status == "FINISHED")
            found = seen.run(run)
            assert (found.info.status, found.data.tags["eqbench.valid"]) == ("FINISHED", "false")
            assert "its files are not in MLflow yet" in found.data.tags["eqbench.status_detail"]
            assert seen.steps(run) == [0, 10, 20, 30, 40]
            record(other, 10)
            wait_until(lambda: seen.steps(other) == [0, 10])
            assert len(tracker.reasons) == 1
            assert f"it answered {status}" in (tracker.behind or "")
        wait_until(lambda: seen.run(third).data.tags["eqbench.valid"] == "true")
    assert_complete(run, seen)
    assert tracker.close("FINISHED"), tracker.behind
    assert tracker.behind is None


def test_files_are_refused_until_the_end(proxy: Proxy, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    """Nothing stays RUNNING; `eqbench sync` sends the files."""
    tracker = opened(proxy, suite)
    with proxy.failing(500, only=FILES):
        with Follower(tracker, interval=0.05) as follower:
            complete(run)
            follower.ended(run)
        assert not tracker.close("FINISHED")
        assert tracker.reasons == [
            f"MLflow at {proxy.address}: it answered 500 Internal Server Error (only files are missing)"
        ]
        assert [found.info.status for found in (seen.run(run), *seen.runs("suite"))] == ["FINISHED"] * 2
        (reason,) = sync(suite.path.parent).behind
        assert reason == f"toy: {tracker.behind}"
    assert seen.artifacts(seen.run(run)) == []
    assert sync(suite.path.parent) == SyncReport(sent=1)
    assert_complete(run, seen)
    (parent,) = seen.runs("suite")
    assert "board/leaderboard.json" in seen.artifacts(parent)


def test_back_between_the_last_run_and_the_end(proxy: Proxy, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = opened(proxy, suite)
    with proxy.failing("gone"):
        complete(run)
        assert not tracker.send(run, running=False)
    assert tracker.close("FINISHED")
    assert tracker.behind is None
    assert_complete(run, seen)


def test_one_file_that_is_refused_does_not_stand_for_all(
    proxy: Proxy, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    tracker = opened(proxy, suite)
    complete(run)
    with proxy.failing(413, only="gradients.parquet"):
        assert not tracker.send(run, running=False)
    assert seen.artifacts(seen.run(run)) == [name for name in ARTIFACTS if name != "gradients.parquet"]
    assert tracker.close("FINISHED"), tracker.behind
    assert_complete(run, seen)


def test_a_locked_database_delays_nobody_but_mlflow(uri: str, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    assert tracker.level()
    other = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
    with contextlib.closing(other), Follower(tracker, interval=0.05) as follower:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        begin(run, 0, 10, 20)
        follower.follow(run)
        threading.Event().wait(0.5)
        tracker.adopt([make_spec(7).run_id])
        end(run)
        follower.ended(run)
        assert time.monotonic() - started < 1.5
        other.execute("ROLLBACK")
    assert tracker.close("FINISHED"), tracker.behind
    assert_complete(run, Seen(uri))
