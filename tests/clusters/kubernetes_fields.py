"""The fields of Kubernetes objects that our manifests may use, and a check that knows no others.

No custom resource definitions are at hand, which clusters/README.md says too: these are, written down by hand, the
fields of ray.io/v1 as of KubeRay 1.5.1 (`authOptions` is new there) and of Kubernetes 1.30, as far as clusters/kuberay
needs them. A field that is not listed is a problem, so a misspelt one cannot pass; a right one that a manifest uses for
the first time is added here.

A type is str, int or bool; QUANTITY; a tuple of the words or types that are allowed; `[type]`, a list; `{"*": type}`, a
map; `{"field": type}`, an object, where `field!` is required.
"""

from __future__ import annotations

import re
from typing import Any

QUANTITY = "quantity"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABELS = {"*": str}
METADATA = {"name!": str, "labels": LABELS, "annotations": LABELS, "namespace": str}
RESOURCES = {"requests": {"*": QUANTITY}, "limits": {"*": QUANTITY}}
SECCOMP = {"type!": ("RuntimeDefault", "Localhost", "Unconfined")}
POD_SECURITY = {
    "runAsNonRoot": bool,
    "runAsUser": int,
    "runAsGroup": int,
    "fsGroup": int,
    "fsGroupChangePolicy": ("OnRootMismatch", "Always"),
    "seccompProfile": SECCOMP,
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": bool,
    "readOnlyRootFilesystem": bool,
    "capabilities": {"drop": [str], "add": [str]},
    "runAsNonRoot": bool,
    "runAsUser": int,
    "seccompProfile": SECCOMP,
}
VARIABLE = {
    "name!": str,
    "value": str,
    "valueFrom": {
        "secretKeyRef": {"name!": str, "key!": str, "optional": bool},
        "configMapKeyRef": {"name!": str, "key!": str, "optional": bool},
        "fieldRef": {"fieldPath!": str},
    },
}
VARIABLES = {
    "prefix": str,
    "secretRef": {"name!": str, "optional": bool},
    "configMapRef": {"name!": str, "optional": bool},
}
PROBE = {
    "httpGet": {"path": str, "port!": (str, int), "scheme": ("HTTP", "HTTPS")},
    "exec": {"command!": [str]},
    "periodSeconds": int,
    "timeoutSeconds": int,
    "failureThreshold": int,
    "initialDelaySeconds": int,
}
CONTAINER = {
    "name!": str,
    "image!": str,
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "command": [str],
    "args": [str],
    "env": [VARIABLE],
    "envFrom": [VARIABLES],
    "ports": [{"name": str, "containerPort!": int, "protocol": ("TCP", "UDP")}],
    "resources": RESOURCES,
    "securityContext": CONTAINER_SECURITY,
    "volumeMounts": [{"name!": str, "mountPath!": str, "subPath": str, "readOnly": bool}],
    "readinessProbe": PROBE,
    "livenessProbe": PROBE,
    "startupProbe": PROBE,
}
VOLUME = {
    "name!": str,
    "persistentVolumeClaim": {"claimName!": str, "readOnly": bool},
    "emptyDir": {"medium": ("Memory", ""), "sizeLimit": QUANTITY},
    "secret": {"secretName!": str, "optional": bool},
    "configMap": {"name!": str},
}
TOLERATION = {
    "key": str,
    "operator": ("Exists", "Equal"),
    "value": str,
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
}
POD = {
    "containers!": [CONTAINER],
    "initContainers": [CONTAINER],
    "volumes": [VOLUME],
    "securityContext": POD_SECURITY,
    "automountServiceAccountToken": bool,
    "serviceAccountName": str,
    "enableServiceLinks": bool,
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "terminationGracePeriodSeconds": int,
    "tolerations": [TOLERATION],
    "nodeSelector": LABELS,
    "imagePullSecrets": [{"name!": str}],
}
TEMPLATE = {"metadata": {"labels": LABELS, "annotations": LABELS}, "spec!": POD}
CLAIM = {
    "accessModes!": [("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod")],
    "storageClassName": str,
    "resources!": RESOURCES,
}
SELECTOR = {"matchLabels!": LABELS}
CLUSTER = {
    "rayVersion": str,
    "authOptions": {"mode": ("token", "disabled")},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {
        "version": ("v1", "v2"),
        "idleTimeoutSeconds": int,
        "upscalingMode": ("Default", "Aggressive", "Conservative"),
        "resources": RESOURCES,
        "image": str,
        "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
        "env": [VARIABLE],
        "securityContext": CONTAINER_SECURITY,
    },
    "gcsFaultToleranceOptions": {"redisAddress!": str},
    "headServiceAnnotations": LABELS,
    "suspend": bool,
    "headGroupSpec!": {
        "rayStartParams": {"*": str},
        "serviceType": ("ClusterIP", "NodePort", "LoadBalancer"),
        "enableIngress": bool,
        "template!": TEMPLATE,
    },
    "workerGroupSpecs": [
        {
            "groupName!": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "numOfHosts": int,
            "idleTimeoutSeconds": int,
            "suspend": bool,
            "rayStartParams": {"*": str},
            "template!": TEMPLATE,
        }
    ],
}
JOB = {
    "entrypoint": str,
    "entrypointNumCpus": int,
    "entrypointNumGpus": int,
    "runtimeEnvYAML": str,
    "submissionMode": ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"),
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "suspend": bool,
    "metadata": LABELS,
    "clusterSelector": LABELS,
    "submitterPodTemplate": TEMPLATE,
    "submitterConfig": {"backoffLimit": int},
    "rayClusterSpec": CLUSTER,
}
REPLICATED = {"replicas": int, "selector!": SELECTOR, "template!": TEMPLATE}
PEER = {"podSelector": SELECTOR, "namespaceSelector": SELECTOR}
POLICY = {
    "podSelector!": SELECTOR,
    "policyTypes": [("Ingress", "Egress")],
    "ingress": [{"from": [PEER], "ports": [{"protocol": ("TCP", "UDP"), "port": int}]}],
}
SERVICE = {
    "selector": LABELS,
    "clusterIP": str,
    "type": ("ClusterIP", "NodePort", "LoadBalancer"),
    "ports!": [{"name": str, "port!": int, "targetPort": (str, int), "protocol": ("TCP", "UDP")}],
}
KINDS: dict[tuple[str, str], dict[str, Any]] = {
    ("ray.io/v1", "RayCluster"): CLUSTER,
    ("ray.io/v1", "RayJob"): JOB,
    ("apps/v1", "Deployment"): REPLICATED,
    ("apps/v1", "StatefulSet"): {
        **REPLICATED,
        "serviceName!": str,
        "volumeClaimTemplates": [{"metadata!": METADATA, "spec!": CLAIM}],
    },
    ("v1", "Service"): SERVICE,
    ("v1", "PersistentVolumeClaim"): CLAIM,
    ("networking.k8s.io/v1", "NetworkPolicy"): POLICY,
}


def problems(document: dict[str, Any]) -> list[str]:
    """What Kubernetes or KubeRay would refuse, or silently ignore, in one object; empty if nothing."""
    kind = (str(document.get("apiVersion")), str(document.get("kind")))
    if kind not in KINDS:
        return [f"apiVersion, kind: {kind[0]} {kind[1]} is not known"]
    whole = {"apiVersion!": str, "kind!": str, "metadata!": METADATA, "spec!": KINDS[kind]}
    found = _problems(document, whole, "")
    name = str(document.get("metadata", {}).get("name", ""))
    if not NAME.fullmatch(name):
        found.append(f"metadata.name: {name!r} is not a name")
    longest = {"RayJob": 47, "RayCluster": 63 - len("-head-svc")}.get(kind[1], 63)
    if len(name) > longest:
        found.append(f"metadata.name: {len(name)} characters, at most {longest} for a {kind[1]}")
    return found


def _problems(value: Any, wanted: Any, where: str) -> list[str]:
    if wanted is QUANTITY:
        good = isinstance(value, str | int) and re.fullmatch(r"\d+(\.\d+)?(m|[kMGTP]i?)?", str(value))
        return [] if good else [f"{where}: {value!r} is not a quantity"]
    if isinstance(wanted, tuple):
        good = type(value) in wanted if isinstance(wanted[0], type) else value in wanted
        return [] if good else [f"{where}: {value!r} is not one of {wanted}"]
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return [f"{where}: expected a list"]
        return [each for i, item in enumerate(value) for each in _problems(item, wanted[0], f"{where}[{i}]")]
    if isinstance(wanted, dict):
        return _problems_of_object(value, wanted, where)
    return [] if type(value) is wanted else [f"{where}: {value!r} is not {wanted.__name__}"]


def _problems_of_object(value: Any, wanted: dict[str, Any], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: expected an object"]
    fields = {key.rstrip("!"): (kind, key.endswith("!")) for key, kind in wanted.items()}
    found = [f"{where}.{key}: is missing" for key, (_, required) in fields.items() if required and key not in value]
    for key, item in value.items():
        kind = fields.get(key, fields.get("*"))
        found += _problems(item, kind[0], f"{where}.{key}") if kind else [f"{where}.{key}: no such field"]
    return [problem.removeprefix(".") for problem in found]
