"""Connecting to Ray and knowing what it can run at the same time."""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eqbench.abandoned import free_abandoned, freeing_our_own
from eqbench.errors import EnvironmentProblem
from eqbench.run_spec import Resources

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
LOCAL_OBJECT_STORE_BYTES = 256 * 2**20
SECONDS_TO_ANSWER = 10
RUNS_WHILE_GROWING = 16
FIXED_NODE = re.compile(r"node_[0-9a-f]{16,}|local\.cluster\.node|")
"""Names of their types that Ray makes up for nodes of a cluster that cannot grow."""
WORKER_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
DRIVER_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_worker_maximum_startup_concurrency": "64",
    "RAY_worker_niceness": "0",  # at Ray's 15, its own background processes go before training
}

ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""A local Ray, without clusters, listens on loopback only; otherwise whoever reaches a port of it can run code."""


@contextlib.contextmanager
def connected(verbose: bool = False) -> Iterator[None]:
    """A connection to Ray: the one this process has, the cluster of RAY_ADDRESS, or a local one for the time being.

    Raises:
        EnvironmentProblem: Ray does not start, the cluster does not answer, or its State API is missing.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {} if verbose else {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            _require_answer(address)
            ray.init(address=address, runtime_env={"env_vars": WORKER_ENVIRONMENT}, **quiet)
        else:
            _start_local(quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a local Ray"
        token = address and "RAY_AUTH_MODE" not in os.environ and "Failed to connect" in str(error)
        hint = "; a cluster with token authentication needs RAY_AUTH_MODE=token" if token else ""
        raise EnvironmentProblem(f"cannot connect to {where}: {error}{hint}") from error
    try:
        _require_state_api()
        if address:
            free_abandoned()
        with freeing_our_own():
            yield
    finally:
        ray.shutdown()


def prepare_environment() -> None:
    """Set what Ray reads from the environment when it is imported or started, unless the user has."""
    local = {} if os.environ.get("RAY_ADDRESS") else ON_LOOPBACK
    for name, value in (DRIVER_ENVIRONMENT | local).items():
        os.environ.setdefault(name, value)


def _start_local(options: Mapping[str, Any]) -> None:
    """Start Ray on this machine at a port that its processes know.

    Ray's helpers of a run, which free what a lost run held, would otherwise look for any Ray on the machine, and fail
    when there are several.
    """
    import ray

    with socket.socket() as probe:
        probe.bind(("", 0))
        port = str(probe.getsockname()[1])
    known_to_its_processes = {"RAY_GCS_SERVER_PORT": port, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    os.environ.update(known_to_its_processes)
    try:
        ray.init(
            address="local",
            num_cpus=local_cpus(),
            object_store_memory=LOCAL_OBJECT_STORE_BYTES,
            **options,
        )
    finally:
        for name in known_to_its_processes:
            del os.environ[name]


def local_cpus(quota_file: Path = CPU_QUOTA) -> int:
    """CPUs that this process may use: of its affinity, and of the quota of its container (cgroup v2)."""
    cpus = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = quota_file.read_text().split()
        cpus = min(cpus, max(1, int(quota) // int(period)))
    return cpus


def _require_answer(address: str) -> None:
    """Ray itself would try for many minutes."""
    if "://" in address:
        raise ValueError("expected <host>:<port> of the head node (a job that was submitted has it), or auto")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()


def _require_state_api() -> None:
    """Without it, trials that a scheduler stops keep their resources and the suite hangs."""
    import ray
    from ray.util.state import list_actors
    from ray.util.state.exception import RayStateApiException

    try:
        list_actors(address=ray.get_runtime_context().gcs_address, limit=1)
    except (RayStateApiException, ConnectionError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"Ray's State API does not answer ({error}); install the dashboard: pip install 'ray[default]'"
        ) from error


def node_resources() -> list[dict[str, float]]:
    """Logical resources of every living node, e.g. `[{"CPU": 8.0, "GPU": 1.0}]`."""
    import ray

    return [
        dict(node["Resources"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def free_resources() -> Mapping[str, float]:
    """What is reserved for nobody, of all nodes together."""
    import ray

    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free


def room_for(resources: Resources, runs: int) -> int:
    """How many of `runs` runs of this shape may be in progress at once on the connected cluster.

    One that grows gets its nodes for runs that wait for them; so some more are in progress than there is room for yet.

    Raises:
        EnvironmentProblem: not even one, and the cluster does not grow.
    """
    nodes = node_resources()
    if not grows():
        return concurrency(resources, nodes)
    room = 0
    with contextlib.suppress(EnvironmentProblem):
        room = concurrency(resources, nodes)
    return max(room, min(runs, RUNS_WHILE_GROWING))


def grows() -> bool:
    """Whether the connected cluster has an autoscaler that may start more nodes."""
    return any(may_grow(name) for name in _node_types())


def may_grow(node_type: str) -> bool:
    """Whether a node of this type was started by an autoscaler, which may start more.

    >>> may_grow("ray.worker.gpu"), may_grow("node_4c9f3e6a5b3b1e6bd5a7fe9d32b1a1d3bf0cf0c7a5d1a8cb4fd1a1f6")
    (True, False)
    """
    return not FIXED_NODE.fullmatch(node_type)


def _node_types() -> list[str]:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return [node.ray_node_type_name for node in [*status.active_nodes, *status.idle_nodes, *status.pending_nodes]]


def concurrency(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many runs of this shape the nodes can train at once.

    A worker does not span nodes, and a fraction of a GPU does not span GPUs. A run that may have fewer workers goes
    alone where there is no room for all of them.

    Raises:
        EnvironmentProblem: not even one; with the numbers.

    >>> concurrency(Resources(num_workers=2, cpus_per_worker=1), [{"CPU": 4}, {"CPU": 1}])
    2
    """
    slots = sum(_slots(resources, node) for node in nodes)
    runs = slots // resources.num_workers
    if runs or (resources.min_workers and slots >= resources.min_workers):
        return max(runs, 1)
    per_worker = f"{resources.cpus_per_worker:g} CPU"
    if resources.gpus_per_worker:
        per_worker += f" and {resources.gpus_per_worker:g} GPU"
    has = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes) or "no node"
    raise EnvironmentProblem(
        f"resources: {resources.min_workers or resources.num_workers} worker(s) of {per_worker} each are asked for, "
        f"the nodes have {has}, which is room for {slots}; lower resources.num_workers, cpus_per_worker or "
        "gpus_per_worker, set resources.min_workers, or use a larger cluster"
    )


def _slots(resources: Resources, node: Mapping[str, float]) -> int:
    slots = math.floor(node.get("CPU", 0) / resources.cpus_per_worker + 1e-9)
    gpus = resources.gpus_per_worker
    if gpus:
        available = int(node.get("GPU", 0))
        by_gpu = available * math.floor(1 / gpus + 1e-9) if gpus <= 1 else math.floor(available / gpus + 1e-9)
        slots = min(slots, by_gpu)
    return slots
