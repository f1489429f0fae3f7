"""A population on Ray, from its file to MLflow; and one whose driver is killed, which ends as if it had not been."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import small_suites
from rich.console import Console

from eqbench import value_schedule
from eqbench.run_folder import RunFolder
from eqbench.suite import load_suite
from eqbench.sweep import driver
from eqbench.sweep.definition import load_sweep
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import Results, Trial

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]  # of two CPUs: three members have to take turns


@pytest.fixture(scope="module")
def file(local_ray: None) -> Path:
    data = small_suites.suite(name="population")
    data["train"] = {"epochs": 4, "batch_size": 32, "deterministic": True, "evaluate_every_epochs": 1}
    data["resources"] |= {"cpus_per_worker": 1}
    data["sweep"] = {
        "space": {"loss.tau": {"uniform": [0, 3]}, "train.lr": {"loguniform": [1e-3, 0.3]}},
        "trials": 3,
        "scheduler": {"name": "pbt", "every_epochs": 1, "quantile": 0.5},
        "objective": {"maximize": "val/top1"},
    }
    return small_suites.write(Path("population.yaml"), data)


def launch(file: Path, storage: str, **options: Any) -> Results:
    what = driver.Search(load_sweep(file), Path(storage), **options)
    return driver.launch(what, Console(file=io.StringIO(), width=200)).results


def members(results: Results) -> list[Trial]:
    return [trial for trial in results.trials if trial.kind == "proposed"]


def runs(results: Results, storage: str) -> list[RunFolder]:
    folder = SweepFolder(Path(storage), "population")
    return [folder.run(trial.run_ids[0]) for trial in members(results)]


@pytest.fixture(scope="module")
def undisturbed(file: Path) -> Results:
    return launch(file, "runs", mlflow=True)


def test_members_take_values_from_each_other(undisturbed: Results) -> None:
    assert [trial.status for trial in undisturbed.trials] == ["finished"] * 5
    decisions = SweepFolder(Path("runs"), "population").path / "population.jsonl"
    assert len(decisions.read_text().splitlines()) == 3
    exploits = [exploit for trial in members(undisturbed) for exploit in trial.schedule if exploit[2]]
    assert len(exploits) == 3
    space = undisturbed.section.space
    for trial in members(undisturbed):
        assert trial.values == trial.schedule[-1][1]
        assert all(space.contains(values) for _, values, _ in trial.schedule)
        assert [epoch for epoch, _ in trial.curve] == [1.0, 2.0, 3.0, 4.0]
    assert [trial.schedule for trial in undisturbed.trials if trial.kind != "proposed"] == [(), ()]
    assert [run.attempts for run in runs(undisturbed, "runs")] == [1, 1, 1]


def test_mlflow_has_the_values_over_time_and_the_last_ones(undisturbed: Results) -> None:
    from eqbench.tracking.store import connect

    client = connect(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("population/sweeps")
    assert experiment is not None
    tracked = {run.data.tags["eqbench.run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    for trial in members(undisturbed):
        run = tracked[trial.run_ids[0]]
        history = client.get_metric_history(run.info.run_id, "schedule/loss.tau")
        expected = {round(epoch * 11): values["loss.tau"] for epoch, values, _ in trial.schedule}
        for point in history:
            begun = max(iteration for iteration in expected if iteration < point.step)
            assert point.value == pytest.approx(expected[begun])
        assert [point.step for point in history if point.step % 11 == 0] == [11, 22, 33, 44]
        for path, value in trial.values.items():
            assert run.data.params[f"final.{path}"] == str(value)
        assert run.data.params["loss.params.tau"] == str(trial.schedule[0][1]["loss.tau"])
        assert "config/schedule.jsonl" in [item.path for item in client.list_artifacts(run.info.run_id, "config")]


def test_pictures_and_the_best_setting_are_written(undisturbed: Results) -> None:
    folder = SweepFolder(Path("runs"), "population")
    assert (folder.plots / "schedule.png").stat().st_size > 1000
    assert load_suite(folder.best_file).expand()


def test_a_killed_driver_is_continued(file: Path, undisturbed: Results) -> None:
    import ray

    command = [sys.executable, "-m", "eqbench.cli", "sweep", str(file), "--storage", "killed", "--no-mlflow"]
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = SweepFolder(Path("killed"), "population")
    decisions = folder.path / "population.jsonl"
    try:
        small_suites.until(lambda: decisions.exists() or program.poll() is not None, "a first decision")
        ended = program.poll() is not None
    finally:
        program.send_signal(signal.SIGKILL)
        said, _ = program.communicate()
    assert not ended, said
    before = decisions.read_bytes()
    assert any(trial.status != "finished" for trial in folder.results().trials)
    continued = launch(file, "killed", mlflow=False, resume=True)
    whole = (Path("runs") / "population/sweeps/population.jsonl").read_bytes()
    assert decisions.read_bytes() == whole
    assert whole.startswith(before)
    for trial, other in zip(members(continued), members(undisturbed), strict=True):
        assert trial.schedule == other.schedule
    for run, other in zip(runs(continued, "killed"), runs(undisturbed, "runs"), strict=True):
        small_suites.assert_equal_bit_for_bit(run, other)
        assert value_schedule.read(run) == value_schedule.read(other)
