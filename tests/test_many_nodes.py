"""A cluster of several nodes that hang, die, and go with notice, in mid-training: the runs go on elsewhere."""

from __future__ import annotations

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

from eqbench import cluster, engine
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.suite import load_suite
from eqbench.trial import train_and_record

pytestmark = pytest.mark.ray

PATIENCE_SECONDS = 600
NUM_NODES = 3
OBJECT_STORE_BYTES = 80 * 2**20


class Nodes:
    """A head without CPUs and three nodes of one CPU, all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES}
        )
        self.address: str = self._cluster.address
        self._nodes = [
            self._cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES) for _ in range(NUM_NODES)
        ]

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
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The cluster, with this process connected to it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nodes"))
        settings = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5"}
        for name, value in (cluster.DRIVER_ENVIRONMENT | settings).items():
            patch.setenv(name, value)
        several = Nodes()
        patch.setenv("RAY_ADDRESS", several.address)
        known = {"RAY_ADDRESS": several.address, "PYTHONPATH": str(Path(__file__).parent)}
        environment = {"env_vars": {**cluster.WORKER_ENVIRONMENT, **settings, **known}}
        try:
            ray.init(address=several.address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
            yield several
        finally:
            ray.shutdown()
            several.shutdown()


@dataclass
class Run:
    """One run, and the folder in which its loss and the test leave each other signs."""

    spec: RunSpec
    folder: SuiteFolder
    place: Path

    @property
    def run(self) -> RunFolder:
        return self.folder.run(self.spec.run_id)

    @property
    def result(self) -> dict[str, Any]:
        return self.run.read_result() or {}

    def pids(self, sign: str, number: int) -> list[int]:
        """The workers that have left a sign, once there are so many of them."""

        def found() -> list[int]:
            pids = [int(file.name.partition("-")[2]) for file in self.place.glob(f"{sign}-*")]
            return pids if len(pids) == number else []

        answer: list[int] = small_suites.until(found, f"{number} workers {sign}", PATIENCE_SECONDS)
        return answer

    def execute(self, meanwhile: Callable[[], None]) -> None:
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(meanwhile)
            engine.execute([self.spec], self.folder)
            doing.result()


def planned(name: str, loss: str, wait_at: int, **resources: Any) -> Run:
    place = Path(name).absolute()
    place.mkdir()
    (place / "wait").write_text(str(wait_at))
    model = {"name": "classifier", "backbone": "resnet8", "width": 4, "norm": "group"}
    losses = [{"name": f"faulty_losses:{loss}", "folder": str(place)}]
    task = small_suites.task(name=name, model=model, losses=losses, resources={"cpus_per_worker": 1, **resources})
    suite = load_suite(small_suites.write(Path(f"{name}.yaml"), small_suites.suite(name=name, tasks=[task])))
    (spec,) = suite.expand()
    folder = SuiteFolder(Path("storage"), name)
    folder.create()
    folder.write_plan([spec], suite.text)
    return Run(spec, folder, place)


def test_a_worker_that_hangs_and_a_node_that_dies_change_nothing(nodes: Nodes, tmp_path: Path) -> None:
    run = planned("died", "MeetsTrouble", 8, stuck_minutes=0.1, max_failures=2)

    def die() -> None:
        (pid,) = run.pids("waiting", 1)
        nodes.kill(nodes.of(pid))
        (run.place / "wait").unlink()

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
        (run.place / "noticed").touch()
        assert 3 <= run.run.newest_checkpoint <= 4
        small_suites.until(lambda: not psutil.pid_exists(max(pids)), "the time is up", PATIENCE_SECONDS)
        nodes.kill(node)
        (run.place / "wait").unlink()

    run.execute(go)
    assert (run.result["status"], run.result["attempts"]) == ("finished", 2)
    assert run.result["budget"]["samples"] == run.spec.budget.samples
    assert run.run.read_events()[-1]["iteration"] == run.spec.budget.iterations
