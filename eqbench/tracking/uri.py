"""Which MLflow a suite is tracked in."""

from __future__ import annotations

import os
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
            f"{origin}: {uri!r} is a folder, and MLflow no longer keeps runs in folders; expected "
            f"'{SQLITE}<path>.db' or the address of a server, 'http://<host>:<port>'"
        )
    if scheme not in SCHEMES | {point.name for point in entry_points(group="mlflow.tracking_store")}:
        raise EnvironmentProblem(
            f"{origin}: {public(uri)!r}: unknown kind {scheme!r}; expected one of "
            f"{', '.join(sorted(SCHEMES))}{nearest(scheme, SCHEMES)}"
        )
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


def public(uri: str) -> str:
    """The URI without user name and password, for messages and files.

    >>> public("https://ada:secret@mlflow.example.org/team")
    'https://mlflow.example.org/team'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
