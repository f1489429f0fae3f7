"""Stores and suites for the tests of tracking."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracked_runs import Seen, make_spec

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking.store import connect


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path) -> str:
    """An empty SQLite store, already created."""
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_store.read_bytes())
    return f"sqlite:///{file}"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{file}")
    return file


@pytest.fixture
def dead_uri() -> Iterator[str]:
    """The address of a port at which nothing listens, nor can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def seen(uri: str) -> Seen:
    return Seen(uri)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFolder:
    """A planned suite of three runs."""
    folder = SuiteFolder(tmp_path / "runs", "toy")
    folder.create()
    folder.write_plan([make_spec(seed) for seed in range(3)], "name: toy\n")
    return folder


@pytest.fixture
def run(suite: SuiteFolder) -> RunFolder:
    """The first run of the suite."""
    return suite.run(make_spec(0).run_id)
