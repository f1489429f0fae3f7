"""`eqbench ui`: MLflow's page on this project's store, on loopback, until Ctrl-C, with the views of one suite."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO, Any

from rich.console import Console

from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import SuiteFolder
from eqbench.tracking import public, sqlite_file, views

WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""MLflow's own jobs, for which a server starts eight more processes (1 GiB, 16 s of a core)."""
SECONDS_TO_START = 90
SECONDS_TO_STOP = 10


def serve(
    uri: str,
    console: Console,
    port: int | None = None,
    suite: SuiteFolder | None = None,
    first: Callable[[], object] = lambda: None,
) -> None:
    """Show the store at `uri` until interrupted, and say where the views of `suite` are.

    Args:
        first: what is to be done before, and takes its time.

    Raises:
        EnvironmentProblem: there is no store, the port is taken, or the server does not start.
    """
    if uri.startswith(("http://", "https://")):
        first()
        console.print(f"The store is a server: open {public(uri)} in a browser", soft_wrap=True)
        _print_views(views.publish(uri, suite) if suite else None, public(uri), console)
        return
    file = sqlite_file(uri)
    if file and not file.exists():
        raise EnvironmentProblem(f"{file}: there is no MLflow store yet; run a suite first")
    console.print("starting MLflow ...", highlight=False)
    first()
    with _until_interrupted(), mlflow_server(uri, port) as (server, address):
        shown = views.publish(uri, suite) if suite else None
        console.print(f"MLflow UI: {address}  (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        _print_views(shown, address, console)
        server.wait()


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """End at Ctrl-C, and in the same way, once, when the terminal is closed; `nohup` keeps its meaning."""
    before = signal.getsignal(signal.SIGHUP)

    def interrupt(*_: Any) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise KeyboardInterrupt

    listening = before != signal.SIG_IGN and threading.current_thread() is threading.main_thread()
    if listening:
        signal.signal(signal.SIGHUP, interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        if listening:
            signal.signal(signal.SIGHUP, before)


def _print_views(shown: views.Views | None, server: str, console: Console) -> None:
    """A line for each view: what it shows, where."""
    if shown is None:
        return
    if shown.problem:
        console.print(f"no view of {shown.suite}: {shown.problem}", highlight=False, markup=False, soft_wrap=True)
    lines = [(f"{shown.suite}, {title}", address) for title, address in shown.addresses(server)]
    width = max((len(title) for title, _ in lines), default=0)
    for title, address in lines:
        console.print(f"{title:<{width}}  {address}", highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def mlflow_server(uri: str, port: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An MLflow server on loopback that answers, with its address; ended on exit, by its process group."""
    port = _free_port(port)
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            # Everyone on the machine can read a command line, and the URI of a database may hold a password.
            env={**WITHOUT_JOBS, **os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_BACKEND_STORE_URI": uri},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(server, address, log)
            yield server, address
        finally:
            _end(server)


def _free_port(wanted: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise EnvironmentProblem(f"--port {wanted}: {error.strerror}; choose another, or none") from error
        return int(probe.getsockname()[1])


def _wait_until_healthy(server: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            said = next((line for line in reversed(lines) if "Error: " in line), "\n".join(lines[-1:]) or "no message")
            raise EnvironmentProblem(f"mlflow server ended with exit code {server.returncode}: {said}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise EnvironmentProblem(f"mlflow server does not answer at {address} after {SECONDS_TO_START} s")


def _end(server: subprocess.Popen[bytes]) -> None:
    """Its worker processes too: it was started as the leader of a process group of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(SECONDS_TO_STOP)
