"""Which store is used, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from eqbench.errors import EnvironmentProblem
from eqbench.tracking import public, resolve_uri


def test_the_default_is_a_file_in_the_working_folder(tmp_path: Path) -> None:
    assert resolve_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_suite_is_before_the_default_and_the_environment_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_uri("http://suite:5000") == "http://suite:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://environment")
    assert resolve_uri("http://suite:5000") == "https://environment"


def test_a_relative_sqlite_path_is_the_same_store_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = resolve_uri("sqlite:///stores/a.db")
    monkeypatch.chdir("/")
    assert resolve_uri(uri) == uri == f"sqlite:///{tmp_path}/stores/a.db"


@pytest.mark.parametrize("uri", ["mlruns", "/data/mlruns", "file:///data/mlruns", "./mlruns"])
def test_the_file_store_is_refused(uri: str) -> None:
    with pytest.raises(EnvironmentProblem, match=r"mlflow.tracking_uri: '.*mlruns' is a folder.*sqlite:///"):
        resolve_uri(uri)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused(uri: str) -> None:
    with pytest.raises(EnvironmentProblem, match="is lost when the process ends"):
        resolve_uri(uri)


def test_an_unknown_kind_gets_the_nearest_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "htps://ada:secret@server")
    with pytest.raises(EnvironmentProblem, match="did you mean 'https'") as caught:
        resolve_uri()
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI: 'htps://server'")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ada:secret@server", "MLFLOW_TRACKING_URI: 'server': is of no known kind"),
        ("file://ada:secret@server/mlruns", "MLFLOW_TRACKING_URI: 'file://server/mlruns' is a folder"),
        ("http:/ada:secret@server", "MLFLOW_TRACKING_URI: server: names no host"),
        ("http:server:5000", "MLFLOW_TRACKING_URI: http:server:5000: names no host"),
        ("https://server/?token=secret", "MLFLOW_TRACKING_URI: https://server/: has a query"),
        ("http://ada:sec#ret@server", "MLFLOW_TRACKING_URI: http://server: is no URI"),
    ],
)
def test_what_is_no_uri_of_a_server_is_refused_without_its_password(
    uri: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(EnvironmentProblem) as caught:
        resolve_uri()
    assert str(caught.value).startswith(message)
    assert not {word for word in ("ada", "secret") if word in str(caught.value)}


@pytest.mark.parametrize("uri", ["http://host:5000", "postgresql+psycopg2://h/db", "databricks", "mysql://h/db"])
def test_servers_and_databases_are_taken_as_they_are(uri: str) -> None:
    assert resolve_uri(uri) == uri


def test_public_leaves_other_uris_alone() -> None:
    assert public("sqlite:////data/a@b.db") == "sqlite:////data/a@b.db"
    assert public("postgresql://u:p@h:5432/db") == "postgresql://h:5432/db"
