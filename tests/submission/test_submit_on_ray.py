"""Jobs on a real cluster of two nodes on this machine: one ends well, one fails, one is cancelled, the doctor looks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import small_suites

from eqbench.run_folder import SuiteFolder

pytestmark = pytest.mark.ray
EQBENCH = [sys.executable, "-m", "eqbench.cli"]
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
ANY_PORT = ("min-worker-port", "max-worker-port", "dashboard-agent-listen-port", "metrics-export-port")
SMALL = [*(f"--{port}=0" for port in ANY_PORT), f"--object-store-memory={100 * 2**20}"]


@dataclass
class Cluster:
    """Where it is, and the folder from which suites are submitted."""

    address: str
    gcs: str
    here: Path

    @property
    def storage(self) -> Path:
        return self.here / "storage"

    def eqbench(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*EQBENCH, *words, "--address", self.address],
            cwd=self.here,
            env={**environment(), "XDG_CACHE_HOME": str(self.here / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * small_suites.PATIENCE_SECONDS,
        )


def environment() -> dict[str, str]:
    """A user's, with the program of this Python first in PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "EQBENCH_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "COLUMNS": "150"}


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]


def end(started: list[subprocess.Popen[bytes]]) -> None:
    """`ray start --block` ends what it started when it is terminated; what is left after that is killed by its pid."""
    alive = [psutil.Process(process.pid) for process in started if process.poll() is None]
    children = [child for process in alive for child in process.children(recursive=True)]
    for process in started:
        process.terminate()
    _, left = psutil.wait_procs([*alive, *children], timeout=15)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    for process in started:
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    gcs, dashboard = free_ports(2)
    found = Cluster(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", tmp_path_factory.mktemp("here"))
    head = ["--head", "--node-ip-address", "127.0.0.1", "--port", str(gcs), "--num-cpus", "1"]
    head += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> None:
        with (found.here / f"ray-{len(started)}.log").open("wb") as log:
            command = [*RAY, *SMALL, *arguments]
            started.append(subprocess.Popen(command, env=environment(), cwd=found.here, stdout=log, stderr=log))

    # Short, for sockets; one for each node: what a node no longer needs of a job's files, it removes.
    with short_folder() as of_head, short_folder() as of_second:
        try:
            start(*head, "--temp-dir", of_head)
            small_suites.until(lambda: nodes(found) == 1, "the head answers")
            second = ["--address", found.gcs, "--node-ip-address", "127.0.0.1", "--num-cpus", "1"]
            start(*second, "--temp-dir", of_second)
            small_suites.until(lambda: nodes(found) == 2, "the second node is there")
            yield found
        finally:
            end(started)


def short_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True)


def nodes(cluster: Cluster) -> int:
    """Living nodes; 0 before the cluster answers."""
    try:
        with urllib.request.urlopen(f"{cluster.address}/api/v0/nodes?detail=1", timeout=5) as answer:
            listed = json.load(answer)["data"]["result"]["result"]
    except OSError:
        return 0
    return sum(node["state"] == "ALIVE" for node in listed)


def test_jobs_from_submission_to_end(cluster: Cluster) -> None:
    long = small_suites.suite(name="long", losses=["cross_entropy"], train={"epochs": 5000, "batch_size": 32})
    broken = small_suites.suite(name="broken", losses=["faulty_losses:Breaks"])
    for suite in (long, broken):
        small_suites.write(cluster.here / f"{suite['name']}.yaml", suite)
    common = ("--storage", str(cluster.storage), "--no-mlflow")

    waiting = cluster.eqbench("submit", "long.yaml", *common, "--no-wait")
    assert waiting.returncode == 0, waiting.stderr
    assert "2 nodes, 2 CPU" in waiting.stdout

    failed = cluster.eqbench("submit", "broken.yaml", *common)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "FAILED  digits · Breaks · s0  RuntimeError: the loss is broken" in failed.stdout
    assert "exit code 1: some runs failed" in failed.stderr
    [run] = SuiteFolder(cluster.storage, "broken").runs()
    assert (run.read_result() or {})["status_detail"] == "RuntimeError: the loss is broken; and a second line"
    assert "faulty_losses" in run.error_file.read_text()

    runs = SuiteFolder(cluster.storage, "long")
    small_suites.until(lambda: [run for run in runs.runs() if run.newest_checkpoint], "the long run trains")
    assert "is running on this cluster already" in cluster.eqbench("submit", "long.yaml", *common).stderr
    cancelled = cluster.eqbench("cancel", "long")
    assert cancelled.returncode == 0, cancelled.stderr
    [run] = runs.runs()
    assert (run.read_result() or {})["status"] == "killed"
    assert "nothing is lost, continue with: eqbench run long.yaml" in cluster.eqbench("logs", "long").stdout

    shorter = ("-o", "train.epochs=2")
    finished = cluster.eqbench("submit", "long.yaml", *common, *shorter)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "finished  digits · cross_entropy · s0" in finished.stdout

    jobs = json.loads(cluster.eqbench("status", "--json").stdout)
    ended = [(job["suite"], job["status"], job["exit_code"]) for job in jobs]
    assert ended == [("long", "stopped", 130), ("broken", "failed", 1), ("long", "succeeded", 0)]


def test_the_doctor_looks_at_every_node(cluster: Cluster) -> None:
    answer = cluster.eqbench("doctor", "--cluster", "--storage", str(cluster.storage), "--json")
    found = {check["name"]: check for check in json.loads(answer.stdout)}
    assert answer.returncode == 0, answer.stdout
    assert len([name for name in found if name.startswith("node ")]) == 2
    assert found["storage"]["found"] == f"{cluster.storage}: written and read by all 2 nodes"
    assert found["versions"]["status"] == found["clocks"]["status"] == "ok"
    assert found["mlflow"]["status"] == "warning"
