"""What the doctor says about MLflow's store, ports and Ray's token."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from eqbench.doctor import services
from eqbench.doctor.cluster_findings import Node, tracking
from eqbench.doctor.cluster_probe import SEARCH, why_silent


@pytest.fixture(autouse=True)
def no_store_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_sqlite_store_that_will_be_created_is_not_created_by_looking(tmp_path: Path) -> None:
    check = services.tracking_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert (check.status, check.found) == ("ok", f"{tmp_path}/mlflow.db: will be created")
    assert list(tmp_path.iterdir()) == []


def test_sqlite_store_in_a_missing_folder(tmp_path: Path) -> None:
    check = services.tracking_store(f"sqlite:///{tmp_path}/my folder/mlflow.db")
    assert (check.status, check.fix) == ("problem", f"mkdir -p '{tmp_path}/my folder'")


def test_sqlite_store_that_exists(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE runs (id TEXT)")
    connection.close()
    assert services.tracking_store(f"sqlite:///{file}").found == f"{file}: writable, 1 tables"


def test_sqlite_store_that_is_another_file(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"not a database" * 100)
    check = services.tracking_store(f"sqlite:///{file}")
    assert check.status == "problem"
    assert "not a database" in check.found
    assert "eqbench sync" in check.fix


def test_sqlite_store_that_another_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SERVER_SECONDS", 0.05)
    file = tmp_path / "mlflow.db"
    holder = sqlite3.connect(file)
    holder.execute("CREATE TABLE runs (id TEXT)")
    holder.execute("BEGIN EXCLUSIVE")
    check = services.tracking_store(f"sqlite:///{file}")
    holder.close()
    assert (check.status, check.found) == ("problem", f"{file}: database is locked")
    assert "fuser" in check.fix


@pytest.mark.parametrize("uri", ["mlruns", "file:///data/mlruns", "sqlite://", "htp://tracking:5000"])
def test_store_of_a_kind_that_mlflow_or_eqbench_refuses(uri: str) -> None:
    check = services.tracking_store(uri)
    assert check.status == "problem"
    assert check.fix


class Health(http.server.BaseHTTPRequestHandler):
    """Tracking servers as the doctor sees them, each below its path; `/locked` wants to know who asks."""

    ANSWERS: ClassVar = {
        **dict.fromkeys(["/health", "/other/health", "/locked/health", "/sick/health", SEARCH], 200),
        "/closed/health": 401,
        "/broken/health": 500,
        f"/other{SEARCH}": 403,
        f"/sick{SEARCH}": 500,
    }

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        locked = 200 if self.headers.get("Authorization") == "Bearer token-of-mine" else 401
        self.send_response({**self.ANSWERS, f"/locked{SEARCH}": locked}.get(path, 404))
        self.end_headers()
        self.wfile.write(b"Invalid Host header - possible DNS rebinding attack detected" if "other" in path else b"{}")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"ada:secret@127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "status", "fix"),
    [
        ("", "ok", ""),
        ("/", "ok", ""),
        ("/closed", "problem", "MLFLOW_TRACKING_TOKEN"),
        ("/broken", "problem", "export MLFLOW_TRACKING_URI"),
        ("/locked", "problem", "MLFLOW_TRACKING_TOKEN"),
        ("/other", "problem", "--allowed-hosts '127.0.0.1,127.0.0.1:*"),
        ("/sick", "problem", "export MLFLOW_TRACKING_URI"),
        ("/none", "problem", "export MLFLOW_TRACKING_URI"),
    ],
)
def test_server(path: str, status: str, fix: str, server: str) -> None:
    check = services.tracking_store(f"http://{server}{path}")
    assert check.status == status
    assert fix in check.fix
    assert "secret" not in check.found


def test_a_server_is_asked_as_a_run_asks_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-of-mine")
    assert services.tracking_store(f"http://{server.rpartition('@')[2]}/locked").status == "ok"


def test_a_node_asks_a_server_as_a_run_does(server: str) -> None:
    address = f"http://{server.rpartition('@')[2]}"
    assert [why_silent(f"{address}{path}") for path in ("", "/", "/locked")] == ["", "", ""]
    refused = why_silent(f"{address}/other")
    assert refused.startswith("HTTP 403: Invalid Host header")
    assert why_silent(f"{address}/sick") == "HTTP 500 Internal Server Error"
    assert "--allowed-hosts '127.0.0.1" in tracking(address, [Node("a", "a", {}, {"mlflow": refused})]).fix


def test_a_proxy_between_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy, server = f"127.0.0.1:{closed_port()}", "http://mlflow.example:5000"
    monkeypatch.setenv("http_proxy", f"http://ada:secret@{proxy}")
    way = f"; asked through the proxy {proxy}, no_proxy=mlflow.example avoids it"
    check = services.tracking_store(server)
    assert (check.status, check.found.endswith(way)) == ("problem", True), check.found
    assert why_silent(server).endswith(way)
    monkeypatch.setenv("no_proxy", "mlflow.example")
    assert "proxy" not in services.tracking_store(server).found + why_silent(server)


def test_a_password_of_a_database_is_not_shown() -> None:
    check = services.tracking_store(f"postgresql://127.0.0.1:{closed_port()}/mlflow?password=secret")
    assert (check.status, "secret" in check.found) == ("problem", False)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("http://[x", "mlflow.tracking_uri: http://[x: is no URI; expected e.g. http://<host>:5000"),
        ("http://mlflow:port", "mlflow.tracking_uri: http://mlflow:port: is no URI; expected e.g. http://<host>:5000"),
        ("postgresql://ada:pa/ss@host/db", "MLFLOW_TRACKING_URI, or the suite's mlflow.tracking_uri, is no URI"),
    ],
)
def test_store_that_is_no_uri(uri: str, found: str) -> None:
    check = services.tracking_store(uri)
    assert (check.status, check.found) == ("problem", found)


def test_a_workspace_of_databricks_is_not_checked() -> None:
    assert services.tracking_store("databricks://scope:prefix").status == "ok"


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_server_that_is_not_there(scheme: str) -> None:
    check = services.tracking_store(f"{scheme}://ada:secret@127.0.0.1:{closed_port()}/mlflow")
    assert check.status == "problem"
    assert "refused" in check.found
    assert "secret" not in check.found


def test_database_server_that_listens(server: str) -> None:
    assert services.tracking_store(f"postgresql://{server}/mlflow").status == "ok"


def test_the_environment_variable_decides_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert "other.db" in services.tracking_store("http://127.0.0.1:1").found


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        check = services.ports({"Ray dashboard": port})
    assert (check.status, check.found) == ("warning", f"taken: {port} (Ray dashboard)")
    assert services.ports({"Ray dashboard": closed_port()}).status == "ok"


@pytest.mark.parametrize(
    ("environment", "status", "words"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "ok", "disabled"),
        ({"RAY_AUTH_MODE": "tokn"}, "problem", "expected 'token' or 'disabled'"),
        ({"RAY_AUTH_TOKEN": "abc"}, "ok", "RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN_PATH": "/does/not/exist"}, "problem", "no such file"),
        ({}, "ok", "none yet"),
    ],
)
def test_ray_token(environment: dict[str, str], status: str, words: str, tmp_path: Path) -> None:
    check = services.ray_token(environment, tmp_path)
    assert check.status == status
    assert words in check.found


def test_ray_token_in_the_home_folder(tmp_path: Path) -> None:
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("abc")
    check = services.ray_token({"RAY_AUTH_MODE": "token"}, tmp_path)
    assert (check.status, check.found) == ("ok", f"from {file}")
