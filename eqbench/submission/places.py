"""Where a job's results and metrics go: refused here where no cluster could write or reach it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from eqbench.errors import InputError, nearest
from eqbench.storage.place import FSSPEC_PACKAGES, PYARROW_SCHEMES, SECRETS

STORAGE_SCHEMES = (*PYARROW_SCHEMES, *FSSPEC_PACKAGES)
SERVER_SCHEMES = ("http", "https")
CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on the cluster"
ANOTHER = (
    "give a server that every node reaches, --tracking-uri http://<host>:5000, or unset it to use the cluster's own"
)


def check_storage(storage: str | None) -> str | None:
    """The storage as the job is given it; None leaves it to EQBENCH_STORAGE on the cluster.

    Raises:
        InputError: it is relative, of an unknown kind, or holds a password.
    """
    if not storage:
        return None
    if "://" not in storage:
        if PurePosixPath(storage).is_absolute():
            return storage
        raise InputError(
            f"--storage {storage}: is relative, and a job has a folder of its own that goes with it; expected a folder "
            "that all machines of the cluster share, e.g. --storage /shared/runs, or a URI, e.g. s3://bucket/runs"
        )
    parts = urlsplit(storage)
    if parts.scheme not in STORAGE_SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in STORAGE_SCHEMES)
        shown = without_credentials(storage)
        raise InputError(f"--storage {shown}: expected one of {known}{nearest(parts.scheme, STORAGE_SCHEMES)}")
    if parts.password or any(word in parts.query.lower() for word in SECRETS):
        raise InputError(
            f"--storage {without_credentials(storage)}: keys do not belong in it, they would be in logs and in MLflow; "
            "give the cluster's machines a role, or set AWS_ACCESS_KEY_ID and the like on them"
        )
    return storage


def check_tracking(given: str | None, environment: Mapping[str, str], of_suite: str | None, nodes: int) -> str | None:
    """The MLflow server as the job is given it; None leaves it to MLFLOW_TRACKING_URI on the cluster, or the suite.

    Args:
        given: on the command line; else MLFLOW_TRACKING_URI of `environment`, else what the suite says.
        nodes: of the cluster.

    Raises:
        InputError: it is no server, one that only this machine reaches, or holds a password.
    """
    named = {"--tracking-uri": given, "MLFLOW_TRACKING_URI": environment.get("MLFLOW_TRACKING_URI", "").strip()}
    origin, uri = next(((origin, uri) for origin, uri in named.items() if uri), ("mlflow.tracking_uri", of_suite))
    if not uri:
        return None
    parts = urlsplit(uri)
    shown = f"{origin}: {without_credentials(uri)}"
    if parts.password or (parts.username and parts.scheme in SERVER_SCHEMES):
        raise InputError(f"{shown}: a password does not belong in it; {CREDENTIALS}")
    if parts.scheme.startswith("databricks"):
        return _passed_on(origin, uri)
    if parts.scheme not in SERVER_SCHEMES:
        if parts.scheme == "sqlite" and nodes == 1 and uri.startswith("sqlite:////"):
            return _passed_on(origin, uri)
        what = "a file, that only one machine sees" if parts.scheme in ("sqlite", "file", "") else "no server"
        raise InputError(f"{shown}: is {what}; {ANOTHER}")
    if nodes > 1 and _is_loopback(parts.hostname or ""):
        raise InputError(f"{shown}: means each machine itself, and the cluster has {nodes}; {ANOTHER}")
    return _passed_on(origin, uri)


def without_credentials(uri: str) -> str:
    """The URI without user name, password and query.

    >>> without_credentials("s3://key:secret@bucket/runs?region=eu-west-1")
    's3://bucket/runs'
    >>> without_credentials("abfs://runs@account.dfs.core.windows.net/a")
    'abfs://runs@account.dfs.core.windows.net/a'
    """
    parts = urlsplit(uri)
    container = parts.scheme.startswith("abf") and not parts.password  # abfs://container@account…
    if (container or "@" not in parts.netloc) and not parts.query:
        return uri
    if container:
        return urlunsplit(parts._replace(query="", fragment=""))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _passed_on(origin: str, uri: str) -> str | None:
    """The suite's own is in its file."""
    return None if origin == "mlflow.tracking_uri" else uri


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
