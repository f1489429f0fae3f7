"""Runs whose storage is an S3 bucket, on a local server: trained, continued elsewhere, read, refused for a while."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
import small_suites
import torch
from s3_server import BUCKET, Server
from training.same_runs import assert_same_run
from training.tiny_runs import CODE, CPU, at_step, planned, tiny_spec

from eqbench.errors import EnvironmentProblem
from eqbench.leaderboard.find import find_suite_folder
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.seeding import make_deterministic
from eqbench.status import describe
from eqbench.storage import suite_mirror, training
from eqbench.storage.place import Place, place
from eqbench.storage.remote import Remote
from eqbench.trial import train_and_record

CHECKPOINTS_OFTEN: dict[str, Any] = {"record_every": 1, "checkpoint_minutes": 0}
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server.serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_PUSHES", 0.02)
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(Remote, "tries", 1)
    random_state = torch.get_rng_state()
    yield
    make_deterministic(False)
    torch.set_rng_state(random_state)
    server.gate.refusals, server.gate.answer = 0, "AccessDenied"


@pytest.fixture
def reference(tmp_path: Path) -> RunFolder:
    """The same run, in a folder of this machine."""
    run = planned(tmp_path / "reference", tiny_spec(**CHECKPOINTS_OFTEN))
    assert train_and_record(run, CPU, code=CODE) is None
    return run


def on_machine(cache: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> Place:
    """The storage as a machine with this cache sees it."""
    monkeypatch.setenv("EQBENCH_CACHE", str(cache))
    return place(uri)


def plan(here: Place) -> dict[str, str]:
    """What a driver writes before a trial starts; the configuration of the trial."""
    spec = tiny_spec(**CHECKPOINTS_OFTEN)
    folder = SuiteFolder(here.local, "tiny")
    folder.create()
    folder.write_plan([spec], "name: tiny\n")
    run = folder.run(spec.run_id)
    suite_mirror.publish(folder.path, [run.path])
    return {"run": str(run.path), **training.for_workers(folder.path)}


def train(run: RunFolder) -> dict[str, str]:
    with run.exclusively(), training.mirrored(run) as unwritten:
        assert train_and_record(run, CPU, code=CODE) is None
    return unwritten


def test_a_run_is_continued_on_another_machine_and_read_on_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: RunFolder
) -> None:
    uri = f"s3://{BUCKET}/continued"
    driver = on_machine(tmp_path / "driver", monkeypatch, uri)
    config = plan(driver)
    first = on_machine(tmp_path / "first", monkeypatch, uri)
    run = training.run_here(config)
    assert run.path.is_relative_to(first.local)

    def die_after_a_checkpoint() -> None:
        assert first.remote
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(path.endswith("manifest.json") for path in first.remote.list()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(at_step, 6, die_after_a_checkpoint)
        with pytest.raises(KeyboardInterrupt):
            train(run)
    shutil.rmtree(tmp_path / "first")

    on_machine(tmp_path / "second", monkeypatch, uri)
    run = training.run_here(config)
    started: list[int] = []
    with monkeypatch.context() as patch:
        patch.setitem(at_step, 3, lambda: started.append(run.newest_checkpoint))
        assert train(run) == {}
    assert run.attempts == 2
    assert_same_run(run, reference)

    reader = on_machine(tmp_path / "reader", monkeypatch, uri)
    folder = find_suite_folder(reader.local, "tiny")
    read = folder.run(run.run_id)
    assert read.read_result() == run.read_result()
    assert read.read_events() == run.read_events()
    assert not list(read.checkpoints.glob("[0-9]*"))
    assert [entry["state"] for entry in describe(folder)] == ["finished"]

    suite_mirror.fetch_suite(folder.path)
    wanted = training.manifest_digest(run.checkpoints / f"{read.newest_checkpoint:09d}")
    training.fetch_checkpoint(read.checkpoints, read.newest_checkpoint, wanted)
    assert_same_run(read, reference)


@pytest.mark.parametrize("answer", ["AccessDenied", "SlowDown"])
def test_a_server_that_refuses_writes_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, reference: RunFolder, answer: str
) -> None:
    server.gate.answer = answer
    uri = f"s3://{BUCKET}/refused-{answer}"
    here = on_machine(tmp_path / "cache", monkeypatch, uri)
    run = training.run_here(plan(here))
    with monkeypatch.context() as patch:
        patch.setitem(at_step, 0, lambda: setattr(server.gate, "refusals", 10**9))
        patch.setattr(training, "sleep", lambda _: setattr(server.gate, "refusals", 0))  # once the run has to wait
        assert train(run) == {}
    assert server.gate.refused
    assert_same_run(run, reference)
    wanted = training.manifest_digest(run.checkpoints / f"{12:09d}")
    shutil.rmtree(tmp_path / "cache")
    here = on_machine(tmp_path / "cache", monkeypatch, uri)
    folder = find_suite_folder(here.local, "tiny")
    suite_mirror.fetch_suite(folder.path)
    training.fetch_checkpoint(folder.run(run.run_id).checkpoints, 12, wanted)
    assert_same_run(folder.run(run.run_id), reference)


def test_a_server_that_refuses_writes_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, reference: RunFolder
) -> None:
    """The run fails and says where it is."""
    here = on_machine(tmp_path / "cache", monkeypatch, f"s3://{BUCKET}/lost")
    run = training.run_here(plan(here))
    monkeypatch.setattr(training, "MINUTES_OF_PATIENCE", 0.0)
    with monkeypatch.context() as patch:
        patch.setitem(at_step, 0, lambda: setattr(server.gate, "refusals", 10**9))
        unwritten = train(run)
    assert f"cannot write s3://{BUCKET}/lost/tiny/" in unwritten["failure"]
    assert str(run.path) in unwritten["failure"]
    assert_same_run(run, reference)


def test_a_bucket_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on_machine(tmp_path / "cache", monkeypatch, "s3://nothing-of-the-kind/runs")
    with pytest.raises(EnvironmentProblem, match=r"cannot \w+ s3://nothing-of-the-kind/runs.*bucket does not exist"):
        plan(here)


@pytest.mark.ray
def test_the_command_line_with_a_bucket(tmp_path: Path, server: Server) -> None:
    """Trained on Ray, read with another cache."""
    small_suites.write(tmp_path / "small.yaml", small_suites.suite(losses=["cross_entropy"]))
    uri = f"s3://{BUCKET}/command-line"

    def eqbench(cache: str, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **server.environment, "EQBENCH_CACHE": str(tmp_path / cache)}
        environment |= {"EQBENCH_STORAGE": uri}
        command = [sys.executable, "-m", "eqbench.cli", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)

    done = eqbench("one", "run", "small.yaml", "--no-mlflow")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "runs").exists()
    shutil.rmtree(tmp_path / "one")
    shown = eqbench("two", "status", "small", "--json")
    assert [entry["state"] for entry in json.loads(shown.stdout)] == ["finished"], shown.stderr
    assert any("/command-line/small/.ray" in path for _, path in server.gate.requests)
    left = Remote.of(uri).list()
    assert not [path for path in left if ".ray" in path or ".driver.json" in path]
    assert [path for path in left if path.endswith("state.pt")]
