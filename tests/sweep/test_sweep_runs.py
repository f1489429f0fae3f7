"""Sweeps on Ray: trials in one process after another, stopping, failures, lost processes, killed drivers, MLflow."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_suites
import torch
import yaml
from rich.console import Console

from eqbench.run_folder import RunFolder
from eqbench.suite import load_suite
from eqbench.sweep import driver
from eqbench.sweep.definition import load_sweep
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import Results, Trial
from eqbench.trial import train_and_record

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
STORE = "sqlite:///mlflow.db"


def write(name: str, section: dict[str, Any], **changes: Any) -> Path:
    """A sweep file; runs of four epochs with an evaluation after each, on one CPU."""
    data = small_suites.suite(name=name, **changes)
    data["train"] = {"epochs": 4, "batch_size": 32, "deterministic": True, "evaluate_every_epochs": 1}
    data["train"] |= changes.get("train", {})
    data["resources"] |= {"cpus_per_worker": 1}
    return small_suites.write(Path(f"{name}.yaml"), {**data, "sweep": section})


def launch(file: Path, *overrides: str, mlflow: bool = False, **options: Any) -> tuple[driver.Outcome, str]:
    """What `eqbench sweep` does, and what it says meanwhile."""
    screen = io.StringIO()
    what = driver.Search(load_sweep(file, overrides), Path("runs"), mlflow=mlflow, **options)
    return driver.launch(what, Console(file=screen, width=200)), screen.getvalue()


def by_name(results: Results) -> dict[str, Trial]:
    return {trial.name: trial for trial in results.trials}


def run_of(name: str, trial: Trial) -> RunFolder:
    return SweepFolder(Path("runs"), name).run(trial.run_ids[0])


def contents(name: str) -> dict[str, bytes]:
    """The results of all runs of a sweep."""
    return {str(file): file.read_bytes() for file in Path(f"runs/{name}/sweeps").glob("*/result.json")}


def tracked(name: str) -> list[Any]:
    from eqbench.tracking.store import connect

    client = connect(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(f"{name}/sweeps")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


# -- stopping, MLflow, continuing --------------------------------------------------------------------------------

STOPPING = {
    "space": {"loss.tau": {"uniform": [0, 8]}, "train.lr": {"loguniform": [1e-3, 0.3]}},
    "trials": 8,
    "search": {"name": "optuna", "startup_trials": 4},
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "objective": {"maximize": "val/top1", "subject_to": "val/many >= baseline - 100"},
}


@pytest.fixture(scope="module")
def stopping(local_ray: None) -> tuple[driver.Outcome, str]:
    return launch(write("stopping", STOPPING), mlflow=True)


def test_every_setting_was_tried_and_some_were_stopped(stopping: tuple[driver.Outcome, str]) -> None:
    results = stopping[0].results
    trials = by_name(results)
    assert list(trials) == ["baseline", "default", *(f"trial {number}" for number in range(8))]
    assert (trials["baseline"].status, trials["default"].status) == ("finished", "finished")
    assert {trial.status for trial in results.trials} == {"finished", "stopped"}
    for trial in results.trials:
        epochs = 4 if trial.status == "finished" else trial.epochs
        assert len(trial.curve) == trial.epochs == epochs
        assert (trial.status == "stopped") == (trial.epochs < 4)
        result = run_of("stopping", trial).read_result() or {}
        assert result["metrics"]["top1"] == trial.metrics["val/top1"]
        if trial.status == "stopped":
            assert result["status_detail"] == f"stopped early by asha after epoch {trial.epochs:g} of 4"


def test_what_the_trials_before_left_in_the_process_changes_nothing(
    stopping: tuple[driver.Outcome, str], tmp_path: Path
) -> None:
    finished = [trial for trial in stopping[0].results.trials if trial.status == "finished"]
    run = run_of("stopping", finished[-1])
    alone = RunFolder(tmp_path / run.run_id)
    alone.write_spec(run.read_spec())
    assert train_and_record(alone, torch.device("cpu"), code={}) is None
    small_suites.assert_equal_bit_for_bit(run, alone)
    assert (run.read_result() or {})["cost"]["peak_memory_mb"] > 50


def test_mlflow_is_in_step(stopping: tuple[driver.Outcome, str]) -> None:
    results = stopping[0].results
    runs = {run.data.tags["eqbench.run_id"]: run for run in tracked("stopping")}
    [parent] = [run for run in runs.values() if run.data.tags["eqbench.kind"] == "suite"]
    assert len(runs) == 11
    for trial in results.trials:
        run = runs[trial.run_ids[0]]
        assert (run.info.status, run.data.tags["eqbench.status_detail"]) == ("FINISHED", trial.detail)
        assert run.data.tags["eqbench.valid"] == ("true" if trial.status == "finished" else "false")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["eqbench.trial"] == (str(trial.number) if trial.kind == "proposed" else trial.kind)
        assert run.data.metrics["val/top1"] == pytest.approx(trial.metrics["val/top1"])
        for path, value in trial.values.items():
            key = {"loss.tau": "loss.params.tau", "train.optimizer.lr": "train.optimizer.lr"}[path]
            assert run.data.params[key] == str(value)


def test_the_parent_run_has_plots_and_the_best_setting(stopping: tuple[driver.Outcome, str]) -> None:
    from eqbench.tracking.store import connect

    [parent] = [run for run in tracked("stopping") if run.data.tags["eqbench.kind"] == "suite"]
    client = connect(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    files = [item.path for folder in (None, "plots") for item in client.list_artifacts(parent.info.run_id, folder)]
    assert {"best.yaml", "plots/sweep.html", "plots/curves.png", "config"} <= set(files)
    specs = load_suite(SweepFolder(Path("runs"), "stopping").best_file).expand()
    assert {spec.seed for spec in specs}.isdisjoint({0})


def test_again_trains_nothing_and_more_trials_go_on(stopping: tuple[driver.Outcome, str]) -> None:
    before = contents("stopping")
    outcome, said = launch(Path("stopping.yaml"), mlflow=True, resume=True)
    assert contents("stopping") == before
    assert outcome.results.trials == stopping[0].results.trials
    assert "10 trials begun, 10 of them ended" in said
    assert "at once" not in said  # Ray was not even asked
    outcome, _ = launch(Path("stopping.yaml"), "sweep.trials=10", mlflow=True)
    after = contents("stopping")
    assert before.items() < after.items()
    assert len(outcome.results.trials) == 12
    runs = tracked("stopping")
    parents = [run.info.run_id for run in runs if run.data.tags["eqbench.kind"] == "suite"]
    children = [run.data.tags.get("mlflow.parentRunId") for run in runs]
    assert sorted(children.count(parent) for parent in parents) == [2, 10]


def test_another_baseline_is_trained_and_judges(stopping: tuple[driver.Outcome, str]) -> None:
    outcome, _ = launch(Path("stopping.yaml"), "losses=[balanced_softmax, softmax_eql]", "sweep.trials=8")
    results = outcome.results
    assert results.baseline is not None
    assert (results.baseline.label, results.baseline.status) == ("balanced_softmax", "finished")
    before, after = by_name(stopping[0].results), by_name(results)
    assert all(after[name] == trial for name, trial in before.items() if name != "baseline")


# -- several workers ---------------------------------------------------------------------------------------------


def test_worker_groups_record_nothing_beyond_the_evaluation_that_stopped_them() -> None:
    section = {
        "space": {"loss.tau": [12]},
        "search": "grid",
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 4},
        "objective": {"maximize": "val/top1"},
    }
    data = {"losses": ["softmax_eql"], "resources": {"num_workers": 2, "record_every": 3, "checkpoint_minutes": 0}}
    outcome, _ = launch(write("groups", section, **data), mlflow=True)
    runs = {run.data.tags["eqbench.run_id"]: run for run in tracked("groups")}
    stopped = [trial for trial in outcome.results.trials if trial.status == "stopped"]
    assert stopped
    for trial in outcome.results.trials:
        run = run_of("groups", trial)
        result = run.read_result() or {}
        last = run.read_events()[-1]
        assert result["cost"].get("num_workers", 2) == 2
        assert result["status"] == trial.status
        assert result["metrics"]["top1"] == trial.metrics["val/top1"] == last["metrics"]["val/top1"]
        assert runs[trial.run_ids[0]].data.metrics["val/top1"] == pytest.approx(trial.metrics["val/top1"])
        assert last["iteration"] == trial.epochs * run.read_spec().budget.iterations_per_epoch
        if trial.status == "stopped":
            assert trial.detail == f"stopped early by asha after epoch {trial.epochs:g} of 4"


# -- failures ----------------------------------------------------------------------------------------------------


def test_a_failure_stays_with_its_trial() -> None:
    section = {
        "space": {"loss.name": {"choice": ["softmax_eql", "faulty_losses:Breaks", "faulty_losses:Diverges"]}},
        "search": "grid",
        "objective": {"maximize": "val/few"},
    }
    file = write("failing", section, losses=["softmax_eql"], train={"epochs": 1})
    outcome, _ = launch(file)
    found = {trial.label: (trial.status, trial.detail) for trial in outcome.results.trials}
    details = [detail for status, detail in found.values() if status == "failed"]
    assert outcome.results.default is not None
    assert (outcome.results.default.status, len(details)) == ("finished", 2)
    assert any(detail.startswith("RuntimeError: the loss is broken") for detail in details)
    assert any(detail.startswith("non-finite gradient at iteration 1") for detail in details)
    attempts = [run_of("failing", trial).attempts for trial in outcome.results.trials]
    launch(file)
    assert [run_of("failing", trial).attempts for trial in outcome.results.trials] == attempts
    launch(file, retry_failed=True)
    again = [run_of("failing", trial).attempts for trial in outcome.results.trials]
    more = [trial.status == "failed" for trial in outcome.results.trials]
    assert again == [before + once for before, once in zip(attempts, more, strict=True)]


# -- lost processes, killed drivers ------------------------------------------------------------------------------


def waiting(name: str) -> Path:
    """A sweep of a loss, three of whose settings wait in the middle of their second epoch as long as `wait` exists."""
    folder = Path(name).absolute()
    folder.mkdir()
    (folder / "wait").write_text("16")
    section = {
        "space": {"loss.patient": {"choice": [True, False]}, "train.lr": [0.05, 0.1, 0.2]},
        "search": "grid",
        "objective": {"maximize": "val/top1"},
    }
    loss = {"name": "faulty_losses:Waits", "folder": str(folder), "patient": True, "label": "waits"}
    return write(name, section, losses=[loss], train={"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.1}})


def waiting_processes(name: str) -> set[int]:
    return {int(file.name.partition("-")[2]) for file in Path(name).glob("waiting-*")}


def assert_complete(name: str, tmp_path: Path) -> list[Trial]:
    """All trials have finished; one that waited equals one that was never interrupted. Those that were."""
    results = SweepFolder(Path("runs"), name).results()
    assert [trial.status for trial in results.trials] == ["finished"] * 6
    interrupted = [trial for trial in results.trials if run_of(name, trial).attempts > 1]
    run = run_of(name, next(trial for trial in interrupted if trial.values["loss.patient"] is False))
    undisturbed = RunFolder(tmp_path / run.run_id)
    undisturbed.write_spec(run.read_spec())
    assert train_and_record(undisturbed, torch.device("cpu"), code={}) is None
    small_suites.assert_equal_bit_for_bit(run, undisturbed)
    return interrupted


def test_loss_of_a_trials_process_changes_nothing(tmp_path: Path) -> None:
    file = waiting("lost")

    def kill() -> None:
        small_suites.until(lambda: waiting_processes("lost"), "a run in mid-epoch")
        Path("lost/wait").unlink()
        for number in waiting_processes("lost"):
            psutil.Process(number).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    outcome, _ = launch(file)
    killer.join()
    assert not outcome.interrupted
    assert all(trial.values["loss.patient"] is False for trial in assert_complete("lost", tmp_path))


def test_a_killed_driver_is_continued(tmp_path: Path) -> None:
    import ray

    file = waiting("killed")
    command = [sys.executable, "-m", "eqbench.cli", "sweep", str(file), "--storage", "runs", "--no-mlflow"]
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        small_suites.until(lambda: waiting_processes("killed") or program.poll() is not None, "a run in mid-epoch")
        ended = program.poll() is not None
    finally:
        program.send_signal(signal.SIGKILL)
        said, _ = program.communicate()
    assert not ended, said
    for number in waiting_processes("killed"):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(number).kill()
    Path("killed/wait").unlink()
    before = contents("killed")
    lines = Path("runs/killed/sweeps/trials.jsonl").read_text()
    assert 0 < len(before) < 6
    launch(file, resume=True)
    assert before.items() < contents("killed").items()
    assert Path("runs/killed/sweeps/trials.jsonl").read_text().startswith(lines)
    assert_complete("killed", tmp_path)


def test_two_sweeps_on_one_cluster() -> None:
    import ray

    section = {"space": {"loss.tau": {"uniform": [0, 2]}}, "trials": 1, "objective": {"maximize": "val/top1"}}
    address = ray.get_runtime_context().gcs_address
    files = [write(name, section, train={"epochs": 1}) for name in ("left", "right")]
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "eqbench.cli", "sweep", str(file), "--storage", "runs", "--no-mlflow"],
            env={**os.environ, "RAY_ADDRESS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for file in files
    ]
    said = [program.communicate(timeout=small_suites.PATIENCE_SECONDS)[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], said
    for name in ("left", "right"):
        results = SweepFolder(Path("runs"), name).results()
        assert [trial.status for trial in results.trials] == ["finished"] * 3


def test_the_same_sweep_twice_at_once_is_refused() -> None:
    file = write("held", STOPPING)
    sweep = load_sweep(file)
    folder = SweepFolder(Path("runs"), sweep.name)
    folder.create()
    with folder.lock(), pytest.raises(Exception, match="works on this suite"):
        launch(file)
    assert not folder.sweep_file.exists()


def test_resume_without_anything_to_resume() -> None:
    from eqbench.errors import InputError

    with pytest.raises(InputError, match=r"--resume: .*fresh/sweeps has no trial of this sweep"):
        launch(write("fresh", STOPPING), resume=True)


def test_seeds_are_averaged() -> None:
    section = {"space": {"loss.tau": [0.5, 1.5]}, "search": "grid", "objective": {"maximize": "val/top1"}}
    file = write("seeds", section, seeds=[0, 1], losses=["softmax_eql"], train={"epochs": 1})
    outcome, _ = launch(file)
    folder = SweepFolder(Path("runs"), "seeds")
    for trial in outcome.results.trials:
        results = [folder.run(run_id).read_result() or {} for run_id in trial.run_ids]
        assert len(results) == 2
        assert trial.metrics["val/top1"] == pytest.approx(sum(each["metrics"]["top1"] for each in results) / 2)
    best = yaml.safe_load(folder.best_file.read_text())
    assert not {0, 1} & set(best["seeds"])
    assert json.loads(folder.sweep_file.read_text())["seeds"] == [0, 1]
