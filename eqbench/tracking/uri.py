"""Which MLflow a suite is tracked in."""

from __future__ import annotations

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from eqbench.errors import EnvironmentProblem, InputError, nearest

DEFAULT_STORE = "mlflow.db"
SQLITE = "sqlite:///"
SCHEMES = frozenset({"http", "https", "databricks", "sqlite", "postgresql", "mysql", "mssql"})


def resolve_uri(suite_uri: str | None = None) -> str:
    """The tracking URI: `MLFLOW_TRACKING_URI`, else the suite's, else `mlflow.db` in the working folder.

    A relative SQLite path is made absolute, so that the same store is found from any working folder.

    Raises:
        EnvironmentProblem: the URI is of MLflow's former file store, of an unknown kind, or kept in memory.
    """
    variable = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    origin = "MLFLOW_TRACKING_URI" if variable else "mlflow.tracking_uri"
    return _checked(variable or suite_uri or SQLITE + DEFAULT_STORE, origin)


def given_uri(uri: str) -> str:
    """The URI of the option --tracking-uri, which goes before every other.

    Raises:
        InputError: it is none of a store, as in `resolve_uri`.
    """
    try:
        return _checked(uri, "--tracking-uri")
    except EnvironmentProblem as error:
        raise InputError(str(error)) from None


def _checked(uri: str, origin: str) -> str:
    scheme = uri.partition(":")[0].partition("+")[0].lower() if ":" in uri else ""
    if uri.startswith("databricks"):
        return uri
    if scheme in {"", "file"}:
        raise EnvironmentProblem(
            f"{origin}: {shown(uri)!r} is a folder, and MLflow no longer keeps runs in folders; expected "
            f"'{SQLITE}<path>.db' or the address of a server, 'http://<host>:<port>'"
        )
    if scheme not in SCHEMES | {point.name for point in entry_points(group="mlflow.tracking_store")}:
        raise EnvironmentProblem(
            f"{origin}: {shown(uri)!r}: is of no known kind; expected one of "
            f"{', '.join(sorted(SCHEMES))}{nearest(scheme, SCHEMES)}"
        )
    if fault := fault_of_server(uri):
        raise EnvironmentProblem(f"{origin}: {shown(uri)}: {fault}")
    if scheme != "sqlite":
        return uri
    if uri.partition("?")[0] in {"sqlite:", "sqlite://", SQLITE, f"{SQLITE}:memory:"}:
        raise EnvironmentProblem(f"{origin}: {uri!r} is lost when the process ends; expected '{SQLITE}<path>.db'")
    return SQLITE + str(Path(uri.removeprefix(SQLITE)).expanduser().absolute())


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, or None for any other URI.

    >>> sqlite_file("sqlite:////data/mlflow.db").as_posix()
    '/data/mlflow.db'
    """
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def fault_of_server(uri: str) -> str:
    """Why an http or https URI is not that of an MLflow server; empty for one that is, or of another kind.

    >>> fault_of_server("http:mlflow:5000"), fault_of_server("https://mlflow/team")
    ('names no host; expected e.g. http://<host>:5000', '')
    """
    if not re.match("https?:", uri, re.IGNORECASE):
        return ""
    try:
        _ = urlsplit(uri).port
    except ValueError:
        return "is no URI; expected e.g. http://<host>:5000"
    if not re.match(r"https?://([^/?#]*@)?[^/?#@:]", uri, re.IGNORECASE):
        return "names no host; expected e.g. http://<host>:5000"
    if "?" in uri or "#" in uri:
        return "has a query or a fragment, which MLflow cannot pass on; expected e.g. http://<host>:5000"
    return ""


def shown(uri: str) -> str:
    """What a refusal says of a text that was given as a URI and may be none: nothing before its last @, no query.

    >>> shown("http://ada:pa#ss@mlflow/?token=x"), shown("ada:pass@mlflow:5000"), shown("http:/ada:pass@mlflow")
    ('http://mlflow/', 'mlflow:5000', 'mlflow')
    """
    if uri.startswith("sqlite:"):
        return uri
    scheme = re.match(r"[a-z][a-z0-9+.-]*://", uri, re.IGNORECASE)
    start = scheme[0] if scheme else ""
    return start + re.split("[?#]", uri.removeprefix(start).rpartition("@")[2])[0]


def public(uri: str) -> str:
    """The URI without user name and password, for messages and files.

    >>> public("https://ada:secret@mlflow.example.org/team")
    'https://mlflow.example.org/team'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
