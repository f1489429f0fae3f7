"""What the soak test kills: a cluster of three nodes, an MLflow server and the program that drives the suite."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil

OBJECT_STORE_BYTES = 80 * 2**20
NODES_WITH_CPU = 2
SECONDS_TO_START = 120
SECONDS_OF_MLFLOW_AWAY = 5
WORKER, TRIAL = "ray::RayTrainWorker", "ray::ImplicitFunc"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodes:
    """A head without CPUs, where the trials' processes are, and nodes of one CPU; each in a folder of its own."""

    def __init__(self, folder: Path, number: int = NODES_WITH_CPU) -> None:
        from ray.cluster_utils import Cluster

        port, dashboard = free_port(), free_port()
        self.address = os.environ["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        self._folder = folder
        self._number = 0
        head = self._arguments(num_cpus=0, gcs_server_port=port, dashboard_port=dashboard)
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._cluster.add_node(**self._arguments(num_cpus=1)) for _ in range(number)]

    def _arguments(self, **more: Any) -> dict[str, Any]:
        self._number += 1
        return {"object_store_memory": OBJECT_STORE_BYTES, "temp_dir": str(self._folder / f"n{self._number}"), **more}

    def processes(self, name: str) -> list[psutil.Process]:
        """Processes of Ray on any node whose title starts with `name`."""
        found = []
        for node in [self._cluster.head_node, *self._nodes]:
            with contextlib.suppress(psutil.Error, KeyError):
                raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
                found += [child for child in raylet.children(recursive=True) if titled(child, name)]
        return sorted(found, key=lambda process: process.pid)

    def kill(self, pid: int) -> None:
        """Kill the node of one of its processes, with all of them."""
        parents = {parent.pid for parent in psutil.Process(pid).parents()}
        self._kill(next(node for node in self._nodes if node.all_processes["raylet"][0].process.pid in parents))

    def replace(self, random: Random) -> None:
        """Kill a node with all its processes; a new one joins."""
        self._kill(random.choice(self._nodes))
        self._nodes.append(self._cluster.add_node(**self._arguments(num_cpus=1)))

    def _kill(self, node: Any) -> None:
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


def titled(process: psutil.Process, name: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).startswith(name)
    return False


class MLflowServer:
    """On loopback, with a database and artifacts in `folder`; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True, env=os.environ
            )

    def wait(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=2):
                return
            time.sleep(0.2)
        raise RuntimeError(f"no MLflow server: {(self._folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it again when it has been missed."""
        self.kill()
        time.sleep(SECONDS_OF_MLFLOW_AWAY)
        self.start()


class Program:
    """`eqbench run`, started again whenever it has ended; what it says goes to one file."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self._folder = folder
        self._command = [sys.executable, "-m", "eqbench.cli", *arguments]
        self.log = folder / "program.log"
        self.codes: list[int] = []
        """Exit codes, in order; those that were killed have -9."""
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True, env=os.environ
            )
        self._noted = False

    def ended(self) -> bool:
        """Whether it has ended since it was started."""
        if self._process.poll() is None:
            return False
        if not self._noted:
            self.codes.append(self._process.returncode)
            self._noted = True
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def scene(folder: Path, arguments: Sequence[str]) -> Iterator[tuple[Nodes, MLflowServer, Program]]:
    """All of it; nothing of it is left afterwards."""
    with contextlib.ExitStack() as stack:
        server = MLflowServer(folder / "mlflow")
        stack.callback(server.kill)
        server.wait()
        os.environ["MLFLOW_TRACKING_URI"] = server.address
        nodes = Nodes(folder)
        stack.callback(nodes.shutdown)
        program = Program(folder, arguments)
        stack.callback(program.kill)
        yield nodes, server, program
