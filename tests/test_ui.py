"""`eqbench ui`: MLflow's server on the project's store."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
import small_suites
from rich.console import Console

from eqbench import ui
from eqbench.errors import EnvironmentProblem
from eqbench.tracking.store import connect

STAND_IN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"in MLflow's place")

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Page).serve_forever()
"""


@pytest.mark.parametrize(
    ("number", "stand_in"), [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGHUP, True)]
)
def test_it_answers_and_leaves_nothing(tmp_path: Path, number: signal.Signals, stand_in: bool) -> None:
    """SIGHUP is the end of the terminal. Most times with a server that starts at once."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "", "PYTHONUNBUFFERED": "1"}
    if stand_in:
        (tmp_path / "mlflow.db").touch()
        package = tmp_path / "instead" / "mlflow"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(STAND_IN)
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    else:
        connect(f"sqlite:///{tmp_path}/mlflow.db")
    program = subprocess.Popen(
        [sys.executable, "-m", "eqbench.cli", "ui"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # the tests may run under nohup
    )
    children: list[psutil.Process] = []
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "starting MLflow ...\n"
        line = program.stdout.readline()
        address = re.fullmatch(r"MLflow UI: (http://127\.0\.0\.1:\d+)  \(Ctrl-C ends it\)\n", line)
        assert address, line
        children = psutil.Process(program.pid).children(recursive=True)
        with urllib.request.urlopen(address[1], timeout=60) as page:
            assert b"MLflow" in page.read()
        program.send_signal(number)
        _, errors = program.communicate(timeout=small_suites.PATIENCE_SECONDS)
        assert (program.returncode, errors) == (0, "")
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
    finally:
        for process in [program, *children]:
            if process.is_running() if isinstance(process, psutil.Process) else process.poll() is None:
                process.kill()
        program.communicate()


def test_a_closed_terminal_ends_it_once_and_nohup_goes_on() -> None:
    with ui._until_interrupted():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)  # while everything is being ended
            ended = True
    assert ended
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ui._until_interrupted():
            os.kill(os.getpid(), signal.SIGHUP)
            ended = False
        assert not ended
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"^--port {port}: Address already in use; choose another, or"):
            ui.serve(f"sqlite:///{tmp_path}/mlflow.db", Console(file=io.StringIO()), port)


def test_without_a_store(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with pytest.raises(EnvironmentProblem, match="there is no MLflow store yet; run a suite first"):
        ui.serve(f"sqlite:///{file}", Console(file=io.StringIO()))
    assert not file.exists()


def test_a_store_that_the_server_cannot_open(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"this is no database " * 100)
    with pytest.raises(EnvironmentProblem, match=r"^mlflow server ended with exit code \d+: .*file is not a database"):
        ui.serve(f"sqlite:///{file}", Console(file=io.StringIO()))


def test_a_server_is_only_pointed_to() -> None:
    console = Console(file=io.StringIO(), width=100)
    ui.serve("https://ada:secret@mlflow.example.org", console)
    assert console.file.getvalue() == (  # type: ignore[attr-defined]
        "The store is a server: open https://mlflow.example.org in a browser\n"
    )
