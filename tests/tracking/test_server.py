"""Against a real MLflow server that is down when the run begins."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from tracked_runs import Seen, assert_complete, begin, free_port, record, write_files, write_result

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import Follower, SyncReport, Tracker, sync

STARTUP_SECONDS = 90


@contextlib.contextmanager
def server(port: int, folder: Path, database: Path) -> Iterator[str]:
    """An MLflow server that keeps everything in `folder`."""
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(folder / "files")]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not healthy(address):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
        yield address
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


def test_a_server_that_comes_and_goes(tmp_path: Path, suite: SuiteFolder, run: RunFolder, empty_store: Path) -> None:
    database = tmp_path / "server.db"
    database.write_bytes(empty_store.read_bytes())
    port = free_port()
    tracker = Tracker(f"http://127.0.0.1:{port}", suite)
    tracker.open(command="eqbench run toy")
    begin(run, 0, 10)
    assert not tracker.send(run, running=True)
    assert "Connection refused" in (tracker.behind or "")

    with contextlib.ExitStack() as outer:
        with Follower(tracker, interval=0.1) as follower:
            follower.follow(run)
            seen = Seen(outer.enter_context(server(port, tmp_path, database)))
            record(run, 20)
            deadline = time.monotonic() + 30
            while not seen.runs("run") or seen.steps(run) != [0, 10, 20]:
                assert time.monotonic() < deadline, tracker.behind
            record(run, 30, 40)
            write_files(run)
            write_result(run)
            follower.ended(run)
        assert tracker.behind is None
        assert tracker.close("FINISHED")
        assert_complete(run, seen)
        assert [parent.info.status for parent in seen.runs("suite")] == ["FINISHED"]
        assert sync(suite.path.parent) == SyncReport(already_level=1)
        (run.path / "synced.json").unlink()
        assert sync(suite.path.parent) == SyncReport(sent=1)
        assert_complete(run, seen)

    record(run, 50)
    started = time.monotonic()
    assert not tracker.send(run, running=True)
    assert time.monotonic() - started < 5
    assert not tracker.reachable
    assert (tracker.behind or "").startswith(f"MLflow at {tracker.uri}: ")
