"""The manifests for Kubernetes: every field is known, and what they name fits together."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_fields
import pytest
from cluster_files import IMAGE, MANIFESTS, ROOT, calls, documents, environment, rows, stand_in, text
from kubernetes_fields import problems
from mlflow.server.security_utils import is_allowed_host_header
from ray._private import ray_constants

ALL = [(name, document) for name in MANIFESTS for document in documents(name)]


def one(kind: str, name: str | None = None) -> dict[str, Any]:
    [found] = [each for _, each in ALL if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return copy.deepcopy(found)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a document."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)


def pods(value: Any) -> list[dict[str, Any]]:
    return [each for each in objects(value) if "containers" in each]


def ids(case: Any) -> str:
    return f"{case['kind']} {case['metadata']['name']}" if isinstance(case, dict) else str(case)


@pytest.mark.parametrize("document", [document for _, document in ALL], ids=ids)
def test_every_field_is_known(document: dict[str, Any]) -> None:
    assert problems(document) == []


def test_the_readme_says_what_the_fields_were_checked_with() -> None:
    versions = "KubeRay 1.5.1 and Kubernetes 1.30"
    assert f"fields of ray.io/v1 as of {versions.replace(' and', ' (`authOptions` is new there) and of')}" in " ".join(
        (kubernetes_fields.__doc__ or "").split()
    )
    [row] = [line for line in text("README.md").splitlines() if line.startswith("| kuberay/ ")]
    assert versions in row
    assert "[written down by hand](../tests/clusters/kubernetes_fields.py), not their own definitions" in row


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("RayCluster", ("spec", "authOption"), {"mode": "token"}, "spec.authOption: no such field"),
        ("RayCluster", ("spec", "authOptions", "mode"), "tokens", "spec.authOptions.mode: 'tokens' is not one of"),
        ("RayCluster", ("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0, "num-cpus: 0 is not str"),
        ("RayCluster", ("spec", "workerGroupSpecs", 0, "minReplica"), 1, "Specs[0].minReplica: no such field"),
        ("RayCluster", ("apiVersion",), "ray.io/v1alpha1", "ray.io/v1alpha1 RayCluster is not known"),
        ("RayJob", ("metadata", "name"), "a" * 48, "48 characters, at most 47 for a RayJob"),
        ("RayJob", ("metadata", "name"), "My_Job", "'My_Job' is not a name"),
        ("RayJob", ("spec", "shutdownAfterJobFinished"), True, "spec.shutdownAfterJobFinished: no such field"),
        ("RayJob", ("spec", "ttlSecondsAfterFinished"), "600", "ttlSecondsAfterFinished: '600' is not int"),
        ("Deployment", ("spec", "template", "spec", "container"), [], "spec.template.spec.container: no such field"),
    ],
)
def test_mistakes_are_found(kind: str, path: tuple[Any, ...], value: Any, message: str) -> None:
    document = one(kind)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(message in problem for problem in problems(document)), problems(document)


def test_what_is_required_is_missed() -> None:
    document = one("RayCluster")
    del document["spec"]["headGroupSpec"]
    assert problems(document) == ["spec.headGroupSpec: is missing"]


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_ray_asks_for_a_token_and_has_the_version_of_the_image(kind: str) -> None:
    spec = one(kind)["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"\nray=={cluster['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "enableIngress" not in cluster["headGroupSpec"]
    assert "serviceType" not in cluster["headGroupSpec"]
    [worker] = cluster["workerGroupSpecs"]
    [container] = worker["template"]["spec"]["containers"]
    assert worker["rayStartParams"]["num-cpus"] == container["resources"]["requests"]["cpu"]


def test_a_cluster_that_stays_scales_from_nothing() -> None:
    spec = one("RayCluster")["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    [worker] = spec["workerGroupSpecs"]
    assert worker["minReplicas"] == 0 < worker["maxReplicas"]


def test_a_job_waits_in_a_queue_and_leaves_nothing() -> None:
    job = one("RayJob")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["entrypoint"].startswith("eqbench run ")
    assert not spec["rayClusterSpec"].get("enableInTreeAutoscaling")  # Kueue admits a whole cluster
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]


def test_both_ways_to_ray_have_the_same_machines() -> None:
    standing, made = one("RayCluster")["spec"], one("RayJob")["spec"]["rayClusterSpec"]
    for cluster in (standing, made):
        for pod in pods(cluster):
            for key in ("restartPolicy", "automountServiceAccountToken"):
                pod.pop(key, None)
    assert pods(standing) == pods(made)


def test_what_pods_name_is_there() -> None:
    claims = {each["metadata"]["name"] for _, each in ALL if each["kind"] == "PersistentVolumeClaim"}
    made_by_hand = set(re.findall(r"kubectl create secret generic (\S+)", text("kuberay/mlflow.yaml")))
    for _, document in ALL:
        for each in objects(document):
            assert {each["claimName"]} <= claims if "claimName" in each else True
            assert each["secretKeyRef"]["name"] in made_by_hand if "secretKeyRef" in each else True
        for pod in pods(document):
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            volumes |= {each["metadata"]["name"] for each in document["spec"].get("volumeClaimTemplates", [])}
            mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
            assert mounted == volumes


def test_a_tear_down_deletes_no_volume_and_what_does_deletes_all() -> None:
    [tear_down] = [line for what, line in rows("kuberay/mlflow.yaml") if what == "tear down"]
    assert set(tear_down.split()[2:]) == {"deployment/mlflow", "statefulset/postgres"}
    [everything] = [line for line in text("kuberay/mlflow.yaml").splitlines() if "kubectl delete pvc" in line]
    stateful = one("StatefulSet")
    [claim] = stateful["spec"]["volumeClaimTemplates"]  # which outlives its StatefulSet
    assert f" pvc/{claim['metadata']['name']}-{stateful['metadata']['name']}-0 " in everything
    assert "--filename clusters/kuberay/mlflow.yaml; " in everything
    assert everything.endswith(" secret/eqbench-postgres")


def test_passwords_are_asked_for_where_the_readme_has_made_an_account(tmp_path: Path) -> None:
    """The server's Secret switches them on; the clients' lies where MLflow looks for it; without both, all starts."""
    made = dict(re.findall(r"^kubectl create secret generic (\S+) (--from-\S+)", text("README.md"), re.MULTILINE))
    assert made == {
        "eqbench-mlflow-server": '--from-env-file="$HOME/.mlflow/auth.env"',
        "eqbench-mlflow": '--from-file="$HOME/.mlflow/credentials"',
    }
    [server] = one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert server["envFrom"] == [{"secretRef": {"name": "eqbench-mlflow-server", "optional": True}}]
    folder = tmp_path / "programs"
    stand_in(folder, "mlflow", "")
    for key in ({}, {"MLFLOW_FLASK_SERVER_SECRET_KEY": "some key"}):
        subprocess.run([*server["command"], *server["args"]], env=environment(folder, **key), check=True)
    without, asked = (line.replace("\\", "") for line in calls(folder))
    assert without == " ".join(["mlflow server", *server["args"]])
    assert asked == f"{without} --app-name basic-auth"
    for kind in ("RayCluster", "RayJob"):
        for pod in pods(one(kind)):
            assert {"name": "mlflow", "secret": {"secretName": "eqbench-mlflow", "optional": True}} in pod["volumes"]
            [container] = pod["containers"]
            mount = {"name": "mlflow", "mountPath": "/eqbench/.mlflow", "readOnly": True}
            assert mount in container["volumeMounts"]


def test_services_and_policies_reach_their_pods() -> None:
    labelled = [each["labels"] for _, document in ALL for each in objects(document) if "labels" in each]
    for _, document in ALL:
        selectors = [each["matchLabels"] for each in objects(document) if "matchLabels" in each]
        selectors += [document["spec"]["selector"]] if document["kind"] == "Service" else []
        for selector in selectors:
            assert any(selector.items() <= labels.items() for labels in labelled), selector
    for name, port in (("mlflow", 5000), ("postgres", 5432)):
        [service] = one("Service", name)["spec"]["ports"]
        kind = "Deployment" if name == "mlflow" else "StatefulSet"
        [container] = one(kind)["spec"]["template"]["spec"]["containers"]
        assert [(each["name"], each["containerPort"]) for each in container["ports"]] == [(service["targetPort"], port)]
        [rule] = one("NetworkPolicy", f"eqbench-{name}")["spec"]["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert one("StatefulSet")["spec"]["serviceName"] == "postgres"


def test_mlflow_answers_to_the_name_that_ray_uses() -> None:
    [container] = one("Deployment")["spec"]["template"]["spec"]["containers"]
    [allowed] = [word.split("=")[1].split(",") for word in container["args"] if word.startswith("--allowed-hosts=")]
    for kind in ("RayCluster", "RayJob"):
        for pod in pods(one(kind)):
            env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
            address = env["MLFLOW_TRACKING_URI"] or ""
            assert address == "http://mlflow:5000"
            assert is_allowed_host_header(allowed, address.removeprefix("http://"))
            share = pod["containers"][0]["volumeMounts"][0]["mountPath"]
            assert (env["EQBENCH_STORAGE"], env["EQBENCH_DATA"]) == (f"{share}/runs", f"{share}/data")
    assert is_allowed_host_header(allowed, "127.0.0.1:5000")
    assert not is_allowed_host_header(allowed, "elsewhere.example.com:5000")
    secret = {each["name"]: each for each in container["env"]}
    assert "valueFrom" in secret["PGPASSWORD"]
    address = secret["MLFLOW_BACKEND_STORE_URI"]["value"]
    assert address.partition("://")[2] == "{}:$(PGPASSWORD)@{}:5432/{}".format(
        *(secret[name]["value"] for name in ("PGUSER", "PGHOST", "PGDATABASE"))
    )
    names = list(secret)
    assert names.index("PGPASSWORD") < names.index("MLFLOW_BACKEND_STORE_URI")  # or it is not expanded
    assert secret["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"]["value"] == "false"


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_runs_have_the_time_for_a_last_checkpoint_that_a_pod_has(kind: str) -> None:
    """Ray drains a node that gets SIGTERM; beyond the pod's grace period, it would be killed while it waits."""
    spec = one(kind)["spec"]
    [worker] = spec.get("rayClusterSpec", spec)["workerGroupSpecs"]
    pod = worker["template"]["spec"]
    env = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    seconds = float(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert 60 <= seconds <= pod["terminationGracePeriodSeconds"] - 10
    assert hasattr(ray_constants, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S")


def test_pods_have_no_more_rights_than_they_need() -> None:
    for name, document in ALL:
        for pod in pods(document):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["enableServiceLinks"] is False  # MLFLOW_PORT would be the service's
            scales = document["kind"] == "RayCluster" and pod["containers"][0]["name"] == "ray-head"
            assert pod["automountServiceAccountToken"] is scales, name  # the autoscaler asks Kubernetes for pods
            for container in pod["containers"]:
                rights = container["securityContext"]
                assert rights == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
                assert container["image"] in (IMAGE, "postgres:17")
                assert "memory" in container["resources"]["limits"]
    assert not any(document["kind"] == "Secret" for _, document in ALL)
