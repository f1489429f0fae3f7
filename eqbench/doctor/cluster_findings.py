"""What answers of a cluster's nodes mean: findings, with the fix of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eqbench.doctor.report import Check, Status
from eqbench.doctor.services import allowing
from eqbench.room import HEAD

SAME_EVERYWHERE = (
    "run the same image on every node (clusters/Dockerfile), or on each: pip install -c constraints.txt -e ."
)
KEYS = "give every node a role or keys for it, and its endpoint (AWS_ENDPOINT_URL for S3 of one's own)"
CLOCK_WARNING, CLOCK_PROBLEM = 5.0, 300.0
"""Seconds that a node's clock may differ by; object stores refuse requests signed 15 minutes off."""


@dataclass(frozen=True, eq=False)
class Node:
    """A living node: `name` for people, its logical resources, and what it answered; `silence` says why it did not."""

    id: str
    name: str
    resources: Mapping[str, float]
    answer: Mapping[str, Any] = field(default_factory=dict)
    silence: str = ""

    @property
    def is_head(self) -> bool:
        return HEAD in self.resources


def machine(node: Node) -> Check:
    """What a node has, and whether torch can use what Ray counts."""
    name = f"node {node.name}"
    cpus, gpus = (node.resources.get(kind, 0) for kind in ("CPU", "GPU"))
    has = f"{cpus:g} CPU, {gpus:g} GPU"
    if node.silence:
        fix = "see `ray status` and the node's logs/raylet.out; does the node run the cluster's Python and Ray?"
        return Check(name, "problem", f"{has}: no answer: {node.silence}", fix)
    versions, seen = node.answer["versions"], node.answer["gpus"]
    has += f" ({', '.join(dict.fromkeys(seen))})" if seen and gpus else ""
    found = f"{has}; " + ", ".join(f"{key} {versions[key]}" for key in ("eqbench", "torch", "ray", "python"))
    if versions["eqbench"] is None:
        return Check(name, "problem", f"{has}; eqbench is not installed", SAME_EVERYWHERE)
    if error := node.answer["torch_error"]:
        return Check(name, "problem", f"{found}; torch cannot be used: {error}", SAME_EVERYWHERE)
    if len(seen) < gpus:
        built = f"built for CUDA {node.answer['cuda']}" if node.answer["cuda"] else "built without CUDA"
        fix = "on that node: `nvidia-smi` and `eqbench doctor` say why; a container needs --gpus all (nvidia.com/gpu)"
        return Check(name, "problem", f"{found}; Ray counts {gpus:g} GPU, torch ({built}) sees {len(seen)}", fix)
    return Check(name, "ok", found)


def workers(nodes: Sequence[Node]) -> list[Check]:
    """What could not be looked at yet of a cluster that grows: nodes that it starts for runs."""
    others = [node for node in nodes if not node.is_head]
    fix = "min_workers: 1 (Kubernetes: minReplicas) and `ray up --no-restart`, or look again while a suite runs"
    if not others:
        found = "only the head is there: storage, MLflow, versions and GPUs of the workers have not been looked at"
        return [Check("workers", "warning", found, fix)]
    if not any(node.resources.get("GPU") for node in nodes):
        found = "no node with a GPU is there: if the cluster starts such for runs, they have not been looked at"
        return [Check("workers", "warning", found, fix)]
    return []


def versions(nodes: Sequence[Node]) -> Check:
    """Whether every node has the same packages; of Python, the first two numbers count."""
    answers = {node.name: node.answer["versions"] for node in nodes if node.answer}
    differing = []
    for package in dict.fromkeys(key for each in answers.values() for key in each):
        by_version: dict[str, list[str]] = {}
        for name, each in answers.items():
            version = each.get(package) or "missing"
            kept = ".".join(version.split(".")[:2]) if package == "python" else version
            by_version.setdefault(kept, []).append(name)
        if len(by_version) > 1:
            differing.append(f"{package} " + ", ".join(f"{kept} on {' '.join(on)}" for kept, on in by_version.items()))
    if differing:
        return Check("versions", "problem", "; ".join(differing), SAME_EVERYWHERE)
    return Check("versions", "ok", f"the same on {_of(len(answers), 'node')}")


def storage(place: str, failures: Mapping[str, str], unread: Mapping[str, Sequence[str]], nodes: int) -> Check:
    """Whether every node writes to the storage and reads what the others have written.

    Args:
        failures: by node, why it cannot write.
        unread: by node, the nodes whose files it does not see.
    """
    fix = KEYS if "://" in place else _same_folder(place)
    if failures:
        said = "; ".join(f"{name}: {why}" for name, why in failures.items())
        return Check("storage", "problem", f"{place}: cannot be written by {said}", fix)
    blind = {name: others for name, others in unread.items() if others}
    if blind:
        said = "; ".join(f"{name} does not see what {' '.join(others)} wrote" for name, others in blind.items())
        return Check("storage", "problem", f"{place}: is not shared: {said}", fix)
    return Check("storage", "ok", f"{place}: written and read by {_of(nodes, 'node')}")


def own_disk(place: str) -> Check:
    """The finding about a folder that is not mounted, on a cluster that is going to have more machines."""
    found = f"{place}: is on this machine's own disk, and the cluster will have other machines, which do not see it"
    return Check("storage", "problem", found, _same_folder(place))


def tracking(server: str, nodes: Sequence[Node]) -> Check:
    """Whether the MLflow server answers every node."""
    silent = {node.name: why for node in nodes if node.answer and (why := node.answer["mlflow"])}
    answers = [node for node in nodes if node.answer]
    if silent:
        said = "; ".join(f"from {name}: {why}" for name, why in silent.items())
        fix = (
            "start it with --host 0.0.0.0 behind the cluster's firewall (and --allowed-hosts), and set "
            "MLFLOW_TRACKING_URI=http://<its host>:5000"
        )
        if "Host header" in said:
            fix = allowing(server)
        return Check("mlflow", "problem", f"{server}: no answer {said}", fix)
    return Check("mlflow", "ok", f"{server}: answers {_of(len(answers), 'node')}")


def clocks(offsets: Mapping[str, float]) -> Check:
    """How far the nodes' clocks are from this machine's, in seconds, by node."""
    name, worst = max(offsets.items(), key=lambda pair: abs(pair[1]), default=("", 0.0))
    if abs(worst) < CLOCK_WARNING:
        return Check("clocks", "ok", f"within {CLOCK_WARNING:g} s")
    status: Status = "problem" if abs(worst) >= CLOCK_PROBLEM else "warning"
    return Check("clocks", status, f"{name} is {worst:+.0f} s off", "on every node: sudo timedatectl set-ntp true")


def token(found: Check, nodes: int) -> Check:
    """The doctor's finding about Ray's token, where a cluster without one is open to its network."""
    if found.status == "ok" and "disabled" in found.found and nodes > 1:
        fix = "RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN_PATH on every node; see `ray get-auth-token --generate`"
        return Check(found.name, "warning", found.found, fix)
    return found


def _same_folder(place: str) -> str:
    return f"mount the same folder at {place} on every node (NFS, EFS, Filestore, Azure Files, Lustre), or use a URI"


def _of(number: int, what: str) -> str:
    return f"the one {what}" if number == 1 else f"all {number} {what}s"
