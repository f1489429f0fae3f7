"""What fits a cluster, and connecting to one."""

from __future__ import annotations

import os
import re
import socket
import time

import pytest

from eqbench import cluster
from eqbench.errors import EnvironmentProblem
from eqbench.run_spec import Resources

LAPTOP = {"CPU": 8.0, "memory": 1e10, "node:192.0.2.1": 1.0}
SERVER = {"CPU": 64.0, "GPU": 8.0}


def shape(workers: int = 1, cpus: float = 1, gpus: float = 0) -> Resources:
    return Resources(num_workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus)


@pytest.mark.parametrize(
    ("resources", "nodes", "runs"),
    [
        (shape(), [LAPTOP], 8),
        (shape(cpus=3), [LAPTOP], 2),
        (shape(cpus=0.1), [{"CPU": 1.0}], 10),
        (shape(cpus=0.1), [{"CPU": 0.3}], 3),
        (shape(workers=3, cpus=0.9), [{"CPU": 2.7}], 1),
        (shape(workers=3), [LAPTOP], 2),
        (shape(workers=3, cpus=5), [LAPTOP, LAPTOP, LAPTOP], 1),
        (shape(cpus=4, gpus=1), [SERVER], 8),
        (shape(cpus=16, gpus=1), [SERVER], 4),
        (shape(gpus=0.25), [{"CPU": 64.0, "GPU": 2.0}], 8),
        (shape(gpus=0.4), [{"CPU": 64.0, "GPU": 2.0}], 4),
        (shape(gpus=1 / 3), [{"CPU": 64.0, "GPU": 1.0}], 3),
        (shape(gpus=2), [{"CPU": 64.0, "GPU": 5.0}], 2),
        (shape(workers=16, cpus=8, gpus=1), [SERVER, SERVER], 1),
        (shape(workers=4, gpus=1), [LAPTOP, SERVER, LAPTOP], 2),
        (shape(workers=2, cpus=4), [{"CPU": 4.0}, {"GPU": 1.0}, {"CPU": 4.0}], 1),
    ],
)
def test_concurrency(resources: Resources, nodes: list[dict[str, float]], runs: int) -> None:
    assert cluster.concurrency(resources, nodes) == runs


def test_a_run_that_may_have_fewer_workers_goes_alone_where_there_is_no_room_for_all() -> None:
    fewer = Resources(num_workers=4, min_workers=2)
    assert cluster.concurrency(fewer, [{"CPU": 8.0}]) == 2
    assert cluster.concurrency(fewer, [{"CPU": 3.0}]) == 1
    with pytest.raises(EnvironmentProblem, match=r"2 worker.* room for 1"):
        cluster.concurrency(fewer, [{"CPU": 1.0}])


FIXED = "node_aae082d87ea969d49bf7dceb7758d5bc5e3367a6c1e35f9ffd520da1"


@pytest.mark.parametrize(
    ("types", "cpus", "runs", "room"),
    [
        ([FIXED, FIXED], 3, 100, 3),
        ([FIXED, "ray.worker.spot"], 3, 100, cluster.RUNS_WHILE_GROWING),
        (["ray.head.default"], 0, 2, 2),
        (["ray.head.default"], 40, 100, 40),
    ],
)
def test_a_cluster_that_grows_has_room_for_more(
    types: list[str], cpus: int, runs: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "node_resources", lambda: [{"CPU": float(cpus)}])
    monkeypatch.setattr(cluster, "_node_types", lambda: types)
    assert cluster.room_for(shape(), runs) == room


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        (
            shape(workers=9),
            [LAPTOP],
            "9 worker(s) of 1 CPU each are asked for, the nodes have 8 CPU, 0 GPU, which is room for 8",
        ),
        (
            shape(cpus=5, workers=2),
            [LAPTOP, {"CPU": 4.0}],
            "2 worker(s) of 5 CPU each are asked for, the nodes have 8 CPU, 0 GPU; 4 CPU, 0 GPU, which is room for 1",
        ),
        (shape(gpus=1), [LAPTOP], "1 worker(s) of 1 CPU and 1 GPU each are asked for, the nodes have 8 CPU, 0 GPU"),
        (shape(gpus=2), [{"CPU": 8.0, "GPU": 1.0}] * 2, "of 1 CPU and 2 GPU each are asked for"),
        (shape(), [], "the nodes have no node, which is room for 0"),
    ],
)
def test_the_impossible_is_refused_with_the_numbers(
    resources: Resources, nodes: list[dict[str, float]], message: str
) -> None:
    with pytest.raises(EnvironmentProblem, match=re.escape(message)) as caught:
        cluster.concurrency(resources, nodes)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{closed}", "Connection refused"),
        ("localhost:{closed}", "Connection refused"),
        ("ray://127.0.0.1:10001", "expected <host>:<port> of the head node"),
        ("http://127.0.0.1:8265", "expected <host>:<port> of the head node"),
        ("nowhere", "Invalid address format"),
        ("no.such.host.invalid:6379", ""),
    ],
)
def test_a_cluster_that_is_not_there(address: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cluster.DRIVER_ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, cluster.DRIVER_ENVIRONMENT[name]))
    started = time.monotonic()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # nobody else gets the port as long as it is bound
        address = address.format(closed=probe.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        said = rf"^cannot connect to the cluster at RAY_ADDRESS={address}: .*{reason}"
        with pytest.raises(EnvironmentProblem, match=said), cluster.connected():
            pass
    assert time.monotonic() - started < 3 * cluster.SECONDS_TO_ANSWER
