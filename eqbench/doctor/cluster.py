"""`eqbench doctor --cluster`: every node of the connected Ray asked the same, and what does not fit together."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eqbench import cluster
from eqbench.doctor import cluster_findings as findings
from eqbench.doctor import cluster_probe as probe
from eqbench.doctor import services
from eqbench.doctor.cluster_findings import Node
from eqbench.doctor.report import Check
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.room import HEAD
from eqbench.storage.place import public as public_place
from eqbench.tracking.uri import resolve_uri, shown

SECONDS_TO_ANSWER = 120


def diagnose_cluster(storage: str, tracking_uri: str | None = None, verbose: bool = False) -> list[Check]:
    """Every check of the cluster at RAY_ADDRESS; writes a small file per node into the storage and removes it.

    Args:
        storage: a folder that all nodes share, or a URI without keys in it.
        tracking_uri: the MLflow server where MLFLOW_TRACKING_URI names none.

    Raises:
        InputError: no cluster is named.
        EnvironmentProblem: it cannot be reached.
    """
    if not os.environ.get("RAY_ADDRESS"):
        raise InputError(
            "doctor --cluster: which one? On a machine of it: export RAY_ADDRESS=<head>:6379; from elsewhere: "
            "--address http://<head>:8265"
        )
    uri: str | None = None
    server = None
    wrong: list[Check] = []
    try:
        uri = resolve_uri(tracking_uri)
        server = shown(uri) if uri.startswith(("http://", "https://")) else None
    except (EnvironmentProblem, ValueError) as error:
        said = f"{'' if isinstance(error, EnvironmentProblem) else 'MLFLOW_TRACKING_URI: '}{error}"
        wrong = [Check("mlflow", "problem", said, "export MLFLOW_TRACKING_URI=http://<host>:5000")]
    with cluster.connected(verbose):
        nodes = _asked(living_nodes(), server)
        answering = [node for node in nodes if node.answer]
        grows = cluster.grows()
        return [
            *(findings.machine(node) for node in nodes),
            *(findings.workers(nodes) if grows else []),
            findings.versions(nodes),
            check_storage(storage, answering, grows),
            *(wrong or [_tracking(server, uri, nodes)]),
            findings.clocks(_clock_offsets(answering)),
            findings.token(services.ray_token(os.environ, Path.home()), len(nodes)),
        ]


def living_nodes() -> list[Node]:
    """Every living node of the connected Ray, the head first."""
    import ray

    nodes = [
        Node(node["NodeID"], _name(node), node["Resources"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    twice = {node.name for node in nodes if sum(other.name == node.name for other in nodes) > 1}
    named = [replace(node, name=f"{node.name}/{node.id[:6]}") if node.name in twice else node for node in nodes]
    return sorted(named, key=lambda node: (not node.is_head, node.name))


def check_storage(storage: str, nodes: Sequence[Node], grows: bool) -> Check:
    """Whether every node can write there and reads what the others have written.

    Args:
        grows: whether there will be nodes that cannot be asked yet: a folder has to be on something that is mounted.
    """
    if "://" not in storage and not Path(storage).expanduser().is_absolute():
        found = f"{storage}: is relative, which means another folder on each node"
        return Check("storage", "problem", found, "--storage /shared/runs, or a URI; or export EQBENCH_STORAGE=…")
    place = storage if "://" in storage else str(Path(storage).expanduser())
    if grows and "://" not in storage and not _is_mounted(place):
        return findings.own_disk(storage)
    folder = f".eqbench-doctor-{uuid.uuid4().hex[:12]}"
    silent: list[Node] = []
    try:
        written = _on_each({node: (probe.write_mark, (place, folder, node.id)) for node in nodes})
        silent += _silent(written)
        failures = {node.name: str(why) for node, why in written.items() if why}
        names = {node.id: node.name for node in nodes}
        unread: dict[str, list[str]] = {}
        if not failures:
            answers = _on_each({node: (probe.unread_marks, (place, folder, list(names))) for node in nodes})
            silent += _silent(answers)
            unread = {node.name: _unread(answer, names) for node, answer in answers.items()}
    finally:
        able = [node for node in nodes if node not in silent]
        _on_each(dict.fromkeys(able, (probe.remove_marks, (place, folder))))
    shown = public_place(storage) if "://" in storage else storage
    return findings.storage(shown, failures, unread, len(nodes))


def _is_mounted(folder: str) -> bool:
    """Whether a folder, there or not, is on something that is mounted below the root."""
    path = Path(os.path.realpath(folder))
    return any(os.path.ismount(each) for each in (path, *path.parents)[:-1])


def _silent(answers: Mapping[Node, Any]) -> list[Node]:
    """Nodes that are not asked again: each would take as long."""
    return [node for node, answer in answers.items() if isinstance(answer, _Silence)]


def _unread(answer: Any, names: Mapping[str, str]) -> list[str]:
    return list(names.values()) if isinstance(answer, _Silence) else [names[each] for each in answer]


def _tracking(server: str | None, uri: str | None, nodes: Sequence[Node]) -> Check:
    if server:
        return findings.tracking(server, nodes)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        fix = "export MLFLOW_TRACKING_URI=http://<host>:5000 there, or submit with --tracking-uri URI"
        return Check("mlflow", "warning", "MLFLOW_TRACKING_URI is not set on the cluster: each job has to name it", fix)
    found = services.tracking_store(uri)
    if len(nodes) > 1 and found.status == "ok":
        fix = "export MLFLOW_TRACKING_URI=http://<host>:5000 on the cluster (clusters/ has the server)"
        return Check("mlflow", "problem", f"{found.found}; a file that only this machine sees", fix)
    return replace(found, name="mlflow")


def _asked(nodes: Sequence[Node], server: str | None) -> list[Node]:
    answers = _on_each(dict.fromkeys(nodes, (probe.describe, (server,))))
    return [
        replace(node, silence=str(answer)) if isinstance(answer, _Silence) else replace(node, answer=answer)
        for node, answer in answers.items()
    ]


def _clock_offsets(nodes: Sequence[Node]) -> dict[str, float]:
    """Seconds that each node's clock is ahead of this machine's, less what the question took."""
    offsets = {}
    for node in nodes:
        before = time.time()
        answer = _on_each({node: (probe.clock, ())})[node]
        after = time.time()
        if not isinstance(answer, _Silence):
            offset, unsure = answer - (before + after) / 2, (after - before) / 2
            offsets[node.name] = 0.0 if abs(offset) <= unsure else offset
    return offsets


class _Silence(str):
    """Why a node did not answer."""


_Call = tuple[Callable[..., Any], tuple[Any, ...]]


def _on_each(calls: Mapping[Node, _Call]) -> dict[Node, Any]:
    """What each node answers to its call, or the reason why it does not; all at the same time."""
    import ray
    from ray import cloudpickle
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cloudpickle.register_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    try:
        asked = {
            node: ray.remote(function)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
            .remote(*arguments)
            for node, (function, arguments) in calls.items()
        }
    finally:
        cloudpickle.unregister_pickle_by_value(probe)  # type: ignore[no-untyped-call]
    answers: dict[Node, Any] = {}
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    for node, reference in asked.items():
        try:
            answers[node] = ray.get(reference, timeout=max(0.1, deadline - time.monotonic()))
        except GetTimeoutError:
            answers[node] = _Silence(f"it has not run a task within {SECONDS_TO_ANSWER} s")
        except RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            answers[node] = _Silence(lines[-1] if lines else type(error).__name__)
    return answers


def _name(node: Mapping[str, Any]) -> str:
    head = " (head)" if HEAD in node["Resources"] else ""
    return f"{node['NodeManagerAddress']}{head}"
