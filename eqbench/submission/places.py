"""Where a job's results and metrics go: refused here where no cluster could write or reach it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import SplitResult, urlsplit

from eqbench.errors import InputError
from eqbench.storage import place
from eqbench.submission.address import is_loopback
from eqbench.tracking import uri as tracking_uri

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
    check_uri(storage)
    return storage


def check_uri(storage: str) -> None:
    """What `check_storage` says of a URI; of a folder nothing."""
    if "://" in storage:
        place.check_uri(storage)


def check_tracking(given: str | None, environment: Mapping[str, str], of_suite: str | None, alone: bool) -> str | None:
    """The MLflow server as the job is given it; None leaves it to MLFLOW_TRACKING_URI on the cluster, or the suite.

    Whether it answers, the job asks from its own node, the only one that sends to it: `inside_job`.

    Args:
        given: on the command line; else MLFLOW_TRACKING_URI of `environment`, else what the suite says.
        alone: whether the cluster is one machine and stays one.

    Raises:
        InputError: it is no server, one that only this machine reaches, or holds a password.
    """
    named = {"--tracking-uri": given, "MLFLOW_TRACKING_URI": environment.get("MLFLOW_TRACKING_URI", "").strip()}
    origin, uri = next(((origin, uri) for origin, uri in named.items() if uri), ("mlflow.tracking_uri", of_suite))
    if not uri:
        return None
    parts = _split(uri, origin)
    named_so = f"{origin}: {tracking_uri.shown(uri)}"
    if parts.password or (parts.username and parts.scheme in SERVER_SCHEMES):
        raise InputError(f"{named_so}: a password does not belong in it; {CREDENTIALS}")
    if parts.scheme.startswith("databricks"):
        return _passed_on(origin, uri)
    if parts.scheme not in SERVER_SCHEMES:
        if parts.scheme == "sqlite" and alone and uri.startswith("sqlite:////"):
            return _passed_on(origin, uri)
        what = "a file, that only one machine sees" if parts.scheme in ("sqlite", "file", "") else "no server"
        raise InputError(f"{named_so}: is {what}; {ANOTHER}")
    if fault := tracking_uri.fault_of_server(uri):
        raise InputError(f"{named_so}: {fault}")
    if not alone and is_loopback(parts.hostname or ""):
        raise InputError(
            f"{named_so}: means each machine itself, and the cluster has, or will have, several; {ANOTHER}"
        )
    return _passed_on(origin, uri)


def shown(storage: str) -> str:
    """For messages and metadata: a URI without user name, password and query.

    >>> shown("s3://key:secret@bucket/runs?region=eu-west-1"), shown("/shared/what?/runs")
    ('s3://bucket/runs', '/shared/what?/runs')
    """
    return place.public(storage) if "://" in storage else storage


def _split(uri: str, origin: str) -> SplitResult:
    """The parts of a URI whose port, if it is a server's, is a number.

    Raises:
        InputError: it has none.
    """
    try:
        parts = urlsplit(uri)
        _ = parts.scheme in SERVER_SCHEMES and parts.port
    except ValueError as error:
        raise InputError(f"{origin}: {tracking_uri.shown(uri)}: is no URI; expected e.g. http://<host>:5000") from error
    return parts


def _passed_on(origin: str, uri: str) -> str | None:
    """The suite's own is in its file."""
    return None if origin == "mlflow.tracking_uri" else uri
