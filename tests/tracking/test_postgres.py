"""Several drivers at once, and a database that restarts: a real MLflow server on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import postgres_server
import pytest
from one_driver import drive, end, runs_of, storage_of
from postgres_server import Postgres
from rich.console import Console
from tracked_runs import (
    Seen,
    assert_complete,
    begin,
    complete,
    free_port,
    make_spec,
    record,
)

from eqbench import engine, launch
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.storage.driving import Driving
from eqbench.tracking import Follower, SyncReport, Tracker, sync

pytestmark = pytest.mark.skipif(
    not postgres_server.installed(), reason="no PostgreSQL server here: apt install postgresql"
)
STARTUP_SECONDS = 180
PATIENCE_SECONDS = 60
DRIVERS = 3


class Server:
    """`mlflow server` on a database, as the cluster files start it: the address is in the environment."""

    def __init__(self, folder: Path) -> None:
        self.database = Postgres()
        self.folder = folder
        self.port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        command += ["--artifacts-destination", str(folder / "files")]
        known = {"MLFLOW_BACKEND_STORE_URI": self.database.uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=os.environ | known, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def wait(self) -> None:
        """Until it answers: the tables are made at the first start."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            with contextlib.suppress(OSError), urlopen(f"{self.address}/health", timeout=5):
                return
            threading.Event().wait(0.1)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.database.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.wait()
        yield server
    finally:
        server.close()


@pytest.fixture
def seen(server: Server) -> Iterator[Seen]:
    """What the server has; the suite is forgotten afterwards."""
    if not (server.database.folder / "data" / "postmaster.pid").exists():
        server.database.start()
    seen = Seen(server.address)
    yield seen
    if experiment := seen.client.get_experiment_by_name("toy"):
        seen.client.rename_experiment(experiment.experiment_id, f"toy {experiment.experiment_id}")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.02)


def test_several_drivers_log_at_once(server: Server, seen: Seen, tmp_path: Path) -> None:
    """Into one experiment, which one of them creates: each run is there once, as it ended; nobody ends another's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow.tracking", "eqbench.tracking.tracker", "pyarrow.parquet"])
    together = context.Barrier(DRIVERS)
    told = [(tmp_path, number, server.address, together, STARTUP_SECONDS) for number in range(DRIVERS)]
    drivers = [context.Process(target=drive, args=words) for words in told]
    for process in drivers:
        process.start()
    for process in drivers:
        process.join(STARTUP_SECONDS)
    assert [process.exitcode for process in drivers] == [0] * DRIVERS
    for driver in range(DRIVERS):
        storage = storage_of(tmp_path, driver)
        assert json.loads((storage / "said.json").read_text()) == {"level": True, "reasons": []}
        finished, failed, left = runs_of(storage, driver)
        assert_complete(finished, seen)
        assert seen.run(failed).info.status == "FAILED"
        assert seen.run(failed).data.tags["eqbench.status_detail"] == "out of memory"
        assert seen.run(left).info.status == "KILLED"
        assert seen.steps(left) == [0, 10, 20]
        assert sync(storage) == SyncReport(already_level=3)
    assert Counter(run.info.status for run in seen.runs("run")) == dict.fromkeys(
        ["FINISHED", "FAILED", "KILLED"], DRIVERS
    )
    assert [run.info.status for run in seen.runs("suite")] == ["FAILED"] * DRIVERS


def test_it_restarts_in_mid_run(server: Server, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    """The driver does not wait, each value is there once."""
    other = suite.run(make_spec(1).run_id)
    tracker = Tracker(server.address, suite)
    tracker.open(command="eqbench run toy")
    with Follower(tracker, interval=0.05) as follower:
        begin(run, 0)
        follower.follow(run)
        wait_until(lambda: seen.runs("run") and seen.steps(run) == [0])
        server.database.stop()
        try:
            started = time.monotonic()
            record(run, 10, 20)
            tracker.adopt([make_spec(7).run_id])
            complete(other)
            follower.ended(other)
            assert time.monotonic() - started < 1
            wait_until(lambda: tracker.behind)
            assert tracker.behind == f"MLflow at {server.address}: it answered 503 Service Unavailable"
        finally:
            server.database.start()
        wait_until(lambda: seen.steps(run) == [0, 10, 20])
        server.database.stop()  # and again at once, with its connections open
        server.database.start()
        end(run)
        follower.ended(run)
    assert tracker.close("FINISHED"), tracker.behind
    assert tracker.behind is None
    for each in (run, other):
        assert_complete(each, seen)
    assert [parent.info.status for parent in seen.runs("suite")] == ["FINISHED"]


def test_it_is_gone_until_the_end(
    server: Server, seen: Seen, suite: SuiteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console says so once, `eqbench sync` sends what is missing; the password is nowhere."""
    specs = [make_spec(seed) for seed in range(3)]
    held = []

    def execute(todo: list[RunSpec], folder: SuiteFolder, watchers: list[Any], say: Any) -> engine.Summary:
        for number, spec in enumerate(todo):
            run = folder.run(spec.run_id)
            begin(run, 0, 10, 20)
            started = time.monotonic()
            watchers[-1].started(run, spec)
            if number == 1:
                held.append(time.monotonic() - started)
                wait_until(lambda: len(seen.runs("run")) == 2)
                server.database.stop()
                started = time.monotonic()
            end(run)
            watchers[-1].ended(run, spec, run.read_result())
            held.append(time.monotonic() - started)
        return engine.summarize(todo, folder)

    monkeypatch.setattr(engine, "execute", execute)
    monkeypatch.setattr(launch, "Follower", lambda tracker: Follower(tracker, interval=0.05))
    screen = io.StringIO()
    tracker = Tracker(server.address, suite)
    summary = launch._run(specs, specs, suite, tracker, Driving(), Console(file=screen, width=200))
    assert len(summary.finished) == 3
    assert max(held) < 1
    reason = f"MLflow at {server.address}: it answered 503 Service Unavailable"
    said = [line for line in screen.getvalue().splitlines() if "MLflow" in line]
    assert said == [f"MLflow is behind ({reason}); nothing is lost: run `eqbench sync` once it is back"]

    storage = suite.path.parent
    assert sync(storage).behind == [f"toy: {reason}"]
    direct = sync(storage, uri=server.database.uri)
    assert [line.partition(" connection to server")[0] for line in direct.behind] == [
        f"toy: MLflow at postgresql+psycopg2://127.0.0.1:{server.database.port}/postgres: (psycopg2.OperationalError)"
    ]
    server.database.start()
    report = sync(storage)
    assert (report.sent + report.already_level, report.behind) == (3, [])
    for spec in specs:
        assert_complete(suite.run(spec.run_id), seen)
    assert [parent.info.status for parent in seen.runs("suite")] == ["FINISHED"]
    assert_nowhere(server.database.password, server, seen, storage, "\n".join([*direct.behind, screen.getvalue()]))


def assert_nowhere(password: str, server: Server, seen: Seen, storage: Path, said: str) -> None:
    """Not in a log, on the screen, in a file of the suite, in what MLflow has of it."""
    tracked = [run.to_dictionary() for kind in ("run", "suite") for run in seen.runs(kind)]
    assert tracked
    for text in (server.log, server.database.log, said, json.dumps(tracked)):
        assert text
        assert password not in text
    for folder in (storage, server.folder):
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert files
        assert [file for file in files if password.encode() in file.read_bytes()] == []
