"""A cluster of several nodes that hang, die, and go with notice, in mid-training: the runs go on elsewhere.

Each node has a cache of its own, as machines do that share nothing but a store behind a URI.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_suites
import torch
from rich.console import Console
from storage import s3_server
from storage.s3_server import BUCKET, Server
from training.tiny_runs import in_group

from eqbench import cluster, distributed, engine
from eqbench.launch import Launch, launch
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.storage import training
from eqbench.storage.place import place
from eqbench.suite import Suite, load_suite
from eqbench.trial import train_and_record

pytestmark = pytest.mark.ray

PATIENCE_SECONDS = 600
NUM_NODES = 3
OBJECT_STORE_BYTES = 80 * 2**20


class Nodes:
    """A head without CPUs and three nodes of one CPU, all on this machine.

    Args:
        caches: gets the cache of each.
    """

    def __init__(self, caches: Path) -> None:
        from ray.cluster_utils import Cluster

        self._caches = caches
        self._cluster = Cluster(initialize_head=True, head_node_args=self._options("head", 0))
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []
        self._added = 0
        self.complete()

    def complete(self) -> None:
        """Have as many nodes as in the beginning; in the main thread, as Ray wants it."""
        while len(self._nodes) < NUM_NODES:
            self._added += 1
            self._nodes.append(self._cluster.add_node(**self._options(f"node{self._added}", 1)))

    def _options(self, name: str, cpus: int) -> dict[str, Any]:
        environment = {"EQBENCH_CACHE": str(self._caches / name)}
        return {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES, "env_vars": environment}

    def of(self, pid: int) -> Any:
        """The node of a worker's process."""
        parents = {parent.pid for parent in psutil.Process(pid).parents()}
        return next(node for node in self._nodes if node.all_processes["raylet"][0].process.pid in parents)

    def kill(self, node: Any) -> None:
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def announce_the_end_of(self, node: Any, seconds: int) -> None:
        """What the agent of a spot machine says to Ray."""
        ray = str(Path(sys.executable).with_name("ray"))
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        options = ["--address", self.address, "--node-id", node.node_id, "--deadline-remaining-seconds", str(seconds)]
        subprocess.run([ray, "drain-node", *options, *reason], check=True, capture_output=True)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server.serving() as found:
        yield found


@pytest.fixture(scope="module")
def cluster_of_nodes(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Nodes]:
    """The cluster, with this process connected to it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nodes"))
        caches = Path("caches").absolute()
        patch.setenv("EQBENCH_CACHE", str(caches / "driver"))
        settings = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5"}
        settings |= server.environment
        for name, value in (cluster.DRIVER_ENVIRONMENT | settings).items():
            patch.setenv(name, value)
        several = Nodes(caches)
        patch.setenv("RAY_ADDRESS", several.address)
        known = {"RAY_ADDRESS": several.address, "PYTHONPATH": str(Path(__file__).parent)}
        environment = {"env_vars": {**cluster.WORKER_ENVIRONMENT, **settings, **known}}
        try:
            ray.init(address=several.address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
            yield several
        finally:
            ray.shutdown()
            several.shutdown()


@pytest.fixture
def nodes(cluster_of_nodes: Nodes) -> Nodes:
    """The cluster with all its nodes, whatever a test before has done to them."""
    cluster_of_nodes.complete()
    return cluster_of_nodes


@dataclass
class Run:
    """One run, and the folder in which its loss and the test leave each other signs."""

    suite: Suite
    spec: RunSpec
    folder: SuiteFolder
    signs: Path

    @property
    def run(self) -> RunFolder:
        return self.folder.run(self.spec.run_id)

    @property
    def result(self) -> dict[str, Any]:
        return self.run.read_result() or {}

    def pids(self, sign: str, number: int) -> list[int]:
        """The workers that have left a sign, once there are so many of them."""

        def found() -> list[int]:
            pids = [int(file.name.partition("-")[2]) for file in self.signs.glob(f"{sign}-*")]
            return pids if len(pids) == number else []

        answer: list[int] = small_suites.until(found, f"{number} workers {sign}", PATIENCE_SECONDS)
        return answer

    def execute(self, meanwhile: Callable[[], None]) -> None:
        with self._doing(meanwhile):
            engine.execute([self.spec], self.folder)

    def launch(self, meanwhile: Callable[[], None]) -> None:
        """As `eqbench run` does, which works on a storage behind a URI too."""
        with self._doing(meanwhile):
            launch(Launch(self.suite, [self.spec], self.folder.path.parent, mlflow=False), Console(quiet=True))

    @contextlib.contextmanager
    def _doing(self, meanwhile: Callable[[], None]) -> Iterator[None]:
        """Do something in a thread; after an error there the run has nothing to wait for."""

        def do() -> None:
            try:
                meanwhile()
            finally:
                (self.signs / "wait").unlink(missing_ok=True)
                (self.signs / "noticed").touch()

        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(do)
            yield
            doing.result()


def planned(name: str, loss: str, wait_at: int, storage: Path = Path("storage"), **resources: Any) -> Run:
    signs = Path(name).absolute()
    signs.mkdir()
    (signs / "wait").write_text(str(wait_at))
    model = {"name": "classifier", "backbone": "resnet8", "width": 4, "norm": "group"}
    losses = [{"name": f"faulty_losses:{loss}", "folder": str(signs)}]
    task = small_suites.task(name=name, model=model, losses=losses, resources={"cpus_per_worker": 1, **resources})
    suite = load_suite(small_suites.write(Path(f"{name}.yaml"), small_suites.suite(name=name, tasks=[task])))
    (spec,) = suite.expand()
    folder = SuiteFolder(storage, name)
    folder.create()
    folder.write_plan([spec], suite.text)
    return Run(suite, spec, folder, signs)


def test_a_worker_that_hangs_and_a_node_that_dies_change_nothing(nodes: Nodes, tmp_path: Path) -> None:
    run = planned("died", "MeetsTrouble", 8, stuck_minutes=0.1, max_failures=2)

    def die() -> None:
        (pid,) = run.pids("waiting", 1)
        nodes.kill(nodes.of(pid))
        (run.signs / "wait").unlink()

    run.execute(die)
    assert (run.result["status"], run.result["attempts"]) == ("finished", 3)
    (said,) = [warning for warning in run.result["warnings"] if "did not finish a step" in warning]
    assert "within 0.1 min and was ended" in said

    alone = RunFolder(tmp_path / run.spec.run_id)
    alone.write_spec(run.spec)
    train_and_record(alone, torch.device("cpu"), code={})
    small_suites.assert_equal_bit_for_bit(run.run, alone)


def test_a_node_goes_with_notice_and_fewer_workers_go_on(nodes: Nodes) -> None:
    run = planned(
        "noticed",
        "MeetsNotice",
        10,
        num_workers=2,
        min_workers=1,
        max_failures=0,
        record_every=50,
        checkpoint_minutes=60,
    )

    def go() -> None:
        pids = run.pids("ready", 2)
        node = nodes.of(max(pids))
        nodes.announce_the_end_of(node, seconds=20)
        run.pids("waiting", 2)
        (run.signs / "noticed").touch()
        assert 3 <= run.run.newest_checkpoint <= 4
        small_suites.until(lambda: not psutil.pid_exists(max(pids)), "the time is up", PATIENCE_SECONDS)
        nodes.kill(node)
        (run.signs / "wait").unlink()

    run.execute(go)
    assert (run.result["status"], run.result["attempts"]) == ("finished", 2)
    assert run.result["budget"]["samples"] == run.spec.budget.samples
    assert run.run.read_events()[-1]["iteration"] == run.spec.budget.iterations


def test_the_first_of_two_workers_goes_that_share_only_a_bucket(nodes: Nodes, server: Server, tmp_path: Path) -> None:
    storage = place(f"s3://{BUCKET}/nodes")
    run = planned("bucket", "Waits", 8, storage.local, num_workers=2, max_failures=2)
    checkpoint = f"/{BUCKET}/nodes/bucket/{run.spec.run_id}/checkpoints/000000006"

    def asked(method: str, file: str) -> bool:
        return (method, f"{checkpoint}/{file}") in server.gate.requests

    def die() -> None:
        pids = set(run.pids("waiting", 2))
        small_suites.until(lambda: asked("PUT", "manifest.json"), "the newest checkpoint is there", PATIENCE_SECONDS)
        assert not asked("GET", "state.pt")
        (first,) = [pid for pid in pids if list(Path("caches").rglob(f"stuck_rank0_{pid}*.txt"))]
        nodes.kill(nodes.of(first))
        (run.signs / "wait").unlink()

    run.launch(die)
    assert (run.result["status"], run.result["attempts"]) == ("finished", 2)
    assert asked("GET", "state.pt")

    alone = RunFolder(tmp_path / run.spec.run_id)
    alone.write_spec(run.spec)
    assert in_group(2, train_share, alone) == [None, None]
    training.fetch_origin(run.run.path)
    small_suites.assert_equal_bit_for_bit(run.run, alone)


def train_share(run: RunFolder) -> None:
    """What one of several processes does that train a run together, without Ray."""
    train_and_record(run, torch.device("cpu"), code={}, first=distributed.rank() == 0, alone=False)
