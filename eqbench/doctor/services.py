"""What runs are sent to and talk through: MLflow's store, ports, Ray's token."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from eqbench.doctor.cluster_probe import SEARCH, by_proxy
from eqbench.doctor.report import Check
from eqbench.errors import EnvironmentProblem
from eqbench.tracking.uri import resolve_uri, shown, sqlite_file

SERVER_SECONDS = 3
SEARCH_SECONDS = 10
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
STORE = "mlflow store"
ANOTHER_STORE = "mend it, or use a file: export MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
CREDENTIALS = "export MLFLOW_TRACKING_USERNAME=… MLFLOW_TRACKING_PASSWORD=…   (or MLFLOW_TRACKING_TOKEN=…)"


def tracking_store(suite_uri: str | None = None) -> Check:
    """Whether the MLflow store that a run would use is usable: its SQLite file is writable, its server answers."""
    try:
        uri = resolve_uri(suite_uri)
        parts = urlsplit(uri)
        port = None if parts.scheme.startswith("databricks") else parts.port
    except EnvironmentProblem as error:
        return Check(STORE, "problem", str(error), ANOTHER_STORE)
    except ValueError:
        found = "MLFLOW_TRACKING_URI, or the suite's mlflow.tracking_uri, is no URI"
        return Check(STORE, "problem", found, ANOTHER_STORE)
    if file := sqlite_file(uri):
        return _sqlite(file)
    if parts.scheme in ("http", "https"):
        check = _server(uri)
        return check if check.status == "ok" else replace(check, found=f"{check.found}{by_proxy(uri)}")
    port = port or DATABASE_PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port:
        return _database(shown(uri), parts.hostname, port)
    return Check(STORE, "ok", f"{shown(uri)}: of a kind that is not checked from here")


def _sqlite(file: Path) -> Check:
    if not file.exists():
        if os.access(file.parent, os.W_OK | os.X_OK):
            return Check(STORE, "ok", f"{file}: will be created")
        found = f"{file}: its folder is missing or cannot be written"
        return Check(STORE, "problem", found, f"mkdir -p {shlex.quote(str(file.parent))}")
    try:
        address = f"file:{quote(str(file))}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=SERVER_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.rollback()
    except sqlite3.OperationalError as error:
        fix = f"fuser -v {shlex.quote(str(file))}   (shows what holds it, if it is locked; else see its permissions)"
        return Check(STORE, "problem", f"{file}: {error}", fix)
    except sqlite3.DatabaseError as error:
        aside = shlex.join(["mv", str(file), f"{file}.broken"])
        return Check(STORE, "problem", f"{file}: {error}", f"{aside} && eqbench sync")
    return Check(STORE, "ok", f"{file}: writable, {tables} tables")


def _server(uri: str) -> Check:
    address = shown(uri)
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=SERVER_SECONDS):
            return _search(uri)
    except urllib.error.HTTPError as error:
        found = f"{address}: answers /health with HTTP {error.code} {error.reason}"
        return Check(STORE, "problem", found, CREDENTIALS if error.code in (401, 403) else ANOTHER_STORE)
    except (OSError, http.client.HTTPException) as error:
        found = f"{address}: no answer from an MLflow server: {getattr(error, 'reason', error)}"
        return Check(STORE, "problem", found, ANOTHER_STORE)


def _search(uri: str) -> Check:
    """Whether a server that is there does what a run asks of it, for this user and by this name."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    address, once = shown(uri), {"timeout": SEARCH_SECONDS, "max_retries": 0, "raise_on_status": False}
    try:
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        answer = http_request(credentials, SEARCH, "GET", params={"max_results": 1}, **once)  # type: ignore[no-untyped-call]
    except (MlflowException, OSError) as error:
        return Check(STORE, "problem", f"{address}: {SEARCH}: no answer ({type(error).__name__})", ANOTHER_STORE)
    if answer.ok:
        return Check(STORE, "ok", f"{address}: answers")
    found = f"{address}: answers {SEARCH} with HTTP {answer.status_code}"
    if answer.status_code == http.HTTPStatus.FORBIDDEN and "Host header" in answer.text:
        return Check(STORE, "problem", f"{found}: {answer.text.strip()[:200]}", allowing(address))
    return Check(STORE, "problem", found, CREDENTIALS if answer.status_code in (401, 403) else ANOTHER_STORE)


def allowing(server: str) -> str:
    """The fix where an MLflow server refuses the name that it is called by.

    >>> allowing("http://tracking:5000")
    "start the server with --allowed-hosts 'tracking,tracking:*,localhost:*,127.0.0.1:*'"
    """
    host = urlsplit(server).hostname
    return f"start the server with --allowed-hosts '{host},{host}:*,localhost:*,127.0.0.1:*'"


def _database(address: str, host: str, port: int) -> Check:
    try:
        with socket.create_connection((host, port), timeout=SERVER_SECONDS):
            return Check(STORE, "ok", f"{address}: port {port} answers")
    except OSError as error:
        return Check(STORE, "problem", f"{address}: port {port} does not answer: {error}", ANOTHER_STORE)


def ports(wanted: Mapping[str, int]) -> Check:
    """Whether processes can talk over the loopback, and which of the ports wanted are taken."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as error:
        fix = "sudo ip link set lo up   (in a sandbox: allow connections to 127.0.0.1)"
        return Check("ports", "problem", f"127.0.0.1 cannot be listened on: {error}", fix)
    taken = [f"{port} ({use})" for use, port in wanted.items() if _answers(port)]
    if not taken:
        return Check("ports", "ok", "free: " + ", ".join(f"{port} ({use})" for use, port in wanted.items()))
    fix = "ss -ltnp   (shows which process listens; another Ray cluster or MLflow UI may be running)"
    return Check("ports", "warning", f"taken: {', '.join(taken)}", fix)


def _answers(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ray_token(environment: Mapping[str, str], home: Path) -> Check:
    """Whether Ray's authentication is set up: off, or on with a token that can be read or made."""
    name, mode = "ray token", environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        return Check(name, "ok", "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports may run code")
    if mode not in ("", "token"):
        return Check(name, "problem", f"RAY_AUTH_MODE={mode!r}; expected 'token' or 'disabled'", "unset RAY_AUTH_MODE")
    if environment.get("RAY_AUTH_TOKEN"):
        return Check(name, "ok", "from RAY_AUTH_TOKEN")
    given = environment.get("RAY_AUTH_TOKEN_PATH")
    file = Path(given) if given else home / ".ray" / "auth_token"
    if file.is_file():
        return Check(name, "ok", f"from {file}")
    if given:
        return Check(name, "problem", f"RAY_AUTH_TOKEN_PATH={given}: no such file", "unset RAY_AUTH_TOKEN_PATH")
    folder = next(place for place in (file.parent, home, *home.parents) if place.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        found = f"none, and {folder} cannot be written: Ray cannot start with authentication"
        return Check(name, "problem", found, "export RAY_AUTH_MODE=disabled")
    return Check(name, "ok", f"none yet: Ray writes {file} when it first starts here")
