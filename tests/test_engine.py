"""Runs on Ray: isolation, results, reasons, several workers, lost processes. On the Ray that tests share."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_suites
import torch

from eqbench import cli, engine
from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.suite import load_suite
from eqbench.trial import train_and_record

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@dataclass
class Heard:
    """A watcher that remembers what it was told, by run id."""

    calls: dict[str, list[str]] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def _note(self, spec: RunSpec, what: str) -> None:
        self.calls.setdefault(spec.run_id, []).append(what)
        self.threads.add(threading.current_thread().name)

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self._note(spec, "started")

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None:
        self._note(spec, f"reported {metrics['iteration']}")
        self.reports.append(metrics)

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._note(spec, f"ended {result['status']}")


def plan(data: dict[str, Any], storage: str) -> tuple[list[RunSpec], SuiteFolder]:
    file = small_suites.write(Path(f"{data['name']}.yaml"), data)
    loaded = load_suite(file)
    specs = loaded.expand()
    folder = SuiteFolder(Path(storage), loaded.name)
    folder.create()
    folder.write_plan(specs, loaded.text)
    return specs, folder


# -- one call with good and bad runs -----------------------------------------------------------------------------


@dataclass
class Done:
    """One call of the engine and what it left."""

    runs: dict[str, tuple[RunSpec, RunFolder]]
    folder: SuiteFolder
    summary: engine.Summary
    heard: Heard

    def result(self, name: str) -> dict[str, Any]:
        return self.runs[name][1].read_result() or {}


@pytest.fixture(scope="module")
def done(local_ray: None) -> Done:
    one, two = small_suites.task(resources={"max_failures": 0}), small_suites.task(name="two")
    one["losses"] = ["softmax_eql", "faulty_losses:Dies", "faulty_losses:Diverges"]
    two["losses"] = ["cross_entropy", "faulty_losses:Breaks"]
    two |= {"train": {"epochs": 1, "batch_size": 34}, "resources": {"num_workers": 2, "max_failures": 0}}
    model = {"name": "classifier", "backbone": "resnet8", "width": 4, "trained": "classifier"}
    seconds = [
        small_suites.task(name=f"after_{loss}", model=dict(model), losses=["cross_entropy"])
        | {"start_from": {"task": "digits", "loss": loss}, "train": {"epochs": 1}}
        for loss in ("softmax_eql", "Diverges")
    ]
    specs, folder = plan(small_suites.suite(tasks=[one, two, *seconds]), "mixed")
    heard = Heard()
    summary = engine.execute(specs, folder, [heard])
    return Done({spec.name: (spec, folder.run(spec.run_id)) for spec in specs}, folder, summary, heard)


GOOD = ("digits · softmax_eql · s0", "two · cross_entropy · s0", "after_softmax_eql · cross_entropy · s0")
BAD = ("digits · Dies · s0", "digits · Diverges · s0", "two · Breaks · s0", "after_Diverges · cross_entropy · s0")


def test_failures_stay_with_their_runs(done: Done) -> None:
    ids = {name: spec.run_id for name, (spec, _) in done.runs.items()}
    assert set(done.summary.finished) == {ids[name] for name in GOOD}
    assert set(done.summary.failed) == {ids[name] for name in BAD}
    assert (done.summary.unfinished, done.summary.interrupted) == ((), False)


def test_a_second_stage_comes_after_the_first_and_fails_with_it(done: Done) -> None:
    order = [spec.run_id for spec, _ in done.runs.values()]
    started = list(done.heard.calls)
    assert sorted(started) == sorted(order)
    assert set(started[5:]) == set(order[5:])
    assert "but it failed: " in done.result(BAD[3])["status_detail"]


@pytest.mark.parametrize("name", GOOD)
def test_result_of_a_finished_run(done: Done, name: str) -> None:
    spec, run = done.runs[name]
    result = done.result(name)
    assert (result["status"], result["status_detail"], result["attempts"]) == ("finished", "", 1)
    assert result["main_metric"] == "top1"
    assert 0 <= result["metrics"]["top1"] <= 100
    assert result["budget"] == {"iterations": spec.budget.iterations, "samples": spec.budget.samples}
    assert result["cost"]["num_workers"] == spec.resources.num_workers
    assert torch.__version__.startswith(result["environment"]["torch"])
    assert (run.newest_checkpoint, run.error_file.exists()) == (spec.budget.iterations, False)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        (BAD[0], "a worker process died: killed, out of memory, or crashed"),
        (BAD[1], "non-finite gradient at iteration 1 (loss "),
        (BAD[2], "RuntimeError: the loss is broken; and a second line"),
        (BAD[3], "starts from 'digits · Diverges · s0'"),
    ],
)
def test_result_of_a_failed_run_says_why_in_one_line(done: Done, name: str, detail: str) -> None:
    _, run = done.runs[name]
    result = done.result(name)
    assert (result["status"], result["metrics"]) == ("failed", {})
    assert result["status_detail"].startswith(detail)
    assert "\n" not in result["status_detail"]
    assert result["attempts"] == 1
    assert "Traceback" in run.error_file.read_text()
    assert "faulty_losses" in run.error_file.read_text() or name != BAD[2]


def test_watchers_hear_of_every_run_in_order(done: Done) -> None:
    heard = {name: done.heard.calls[spec.run_id] for name, (spec, _) in done.runs.items()}
    assert heard[GOOD[0]] == ["started", "reported 11", "reported 22", "ended finished"]
    assert heard[GOOD[1]] == heard[GOOD[2]] == ["started", "reported 11", "ended finished"]
    for name in BAD:
        assert heard[name] == ["started", "ended failed"]
    assert done.heard.threads == {"MainThread"}


def test_a_report_has_training_and_evaluation(done: Done) -> None:
    assert all({"iteration", "train/loss", "val/top1"} <= report.keys() for report in done.heard.reports)


def test_ray_equals_no_ray(done: Done) -> None:
    spec, run = done.runs[GOOD[0]]
    alone = RunFolder(Path("alone") / spec.run_id)
    alone.write_spec(spec)
    assert train_and_record(alone, torch.device("cpu"), code={}) is None
    small_suites.assert_equal_bit_for_bit(run, alone)


def test_nothing_is_left_behind(done: Done) -> None:
    import ray
    from ray.util import placement_group_table

    assert not (done.folder.path / ".ray").exists()
    assert not any(group["state"] == "CREATED" for group in placement_group_table().values())
    free = small_suites.until(
        lambda: ray.available_resources().get("CPU") == 2 and ray.available_resources(), "all CPUs free again"
    )
    assert free["CPU"] == 2


def test_what_is_finished_is_not_run_again(done: Done) -> None:
    specs = [spec for spec, _ in done.runs.values()]
    assert {spec.name for spec in engine.remaining(specs, done.folder)} == set(BAD)


def test_impossible_resources_are_refused_before_anything_starts() -> None:
    data = small_suites.suite(name="large", resources={"num_workers": 3})
    specs, folder = plan(data, "impossible")
    heard = Heard()
    with pytest.raises(EnvironmentProblem, match=r"3 worker\(s\) of 1 CPU each are asked for, the nodes have 2 CPU"):
        engine.execute(specs, folder, [heard])
    assert heard.calls == {}
    assert [folder.run(spec.run_id).attempts for spec in specs] == [0, 0]


# -- the command line on this Ray --------------------------------------------------------------------------------


def eqbench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["eqbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_impossible_resources_are_one_line_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/greedy.db")
    small_suites.write(Path("greedy.yaml"), small_suites.suite(name="greedy"))
    arguments = ("run", "greedy.yaml", "--storage", "greedy", "-o", "resources.gpus_per_worker=64")
    assert eqbench(monkeypatch, *arguments) == 3
    errors = capsys.readouterr().err
    assert errors.startswith("eqbench: resources: 1 worker(s) of 0.25 CPU and 64 GPU each are asked for, the ")
    assert errors.count("\n") == 1
    assert SuiteFolder(Path("greedy"), "greedy").runs() == []
    assert not Path("greedy.db").exists()


def test_another_ray_on_the_machine_is_no_obstacle() -> None:
    program = "from eqbench import cluster\nwith cluster.connected(): print(cluster.node_resources()[0]['CPU'])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert float(answer.stdout) >= 1


# -- lost processes ----------------------------------------------------------------------------------------------


class Killer(threading.Thread):
    """Waits until `number` workers of a run wait in mid-epoch, then sends SIGKILL and lets the others go on."""

    def __init__(self, place: Path, number: int, victim: Callable[[list[int]], int]) -> None:
        super().__init__()
        place.mkdir()
        (place / "wait").write_text("8")
        self._place, self._number, self._victim = place, number, victim

    def run(self) -> None:
        try:  # runs that come before this one take their time
            pids = small_suites.until(self._waiting, f"{self._number} workers in mid-epoch", patience=900)
            os.kill(self._victim(pids), signal.SIGKILL)
        finally:
            (self._place / "wait").unlink()

    def _waiting(self) -> list[int]:
        pids = [int(file.name.partition("-")[2]) for file in self._place.glob("waiting-*")]
        return pids if len(pids) == self._number else []


def trial_driver(_: list[int]) -> int:
    """The process in which Tune runs the trial."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::ImplicitFunc.train"]:
                return process.pid
    raise AssertionError("no trial is running")


@dataclass
class Lost:
    """Two calls of `eqbench run`, each of a run that loses a process, and what they printed; MLflow is not there."""

    store: str
    runs: dict[str, tuple[RunSpec, RunFolder]] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def lost(local_ray: None) -> Lost:
    """One run loses its trial's process, one a worker of two."""
    killers = {
        "driver": (Killer(Path("driver").absolute(), 1, trial_driver), {"max_failures": 0}),
        "worker": (Killer(Path("worker").absolute(), 2, max), {"num_workers": 2}),
    }
    with socket.socket() as held:  # nobody else gets the port as long as it is bound
        held.bind(("127.0.0.1", 0))
        lost = Lost(f"http://127.0.0.1:{held.getsockname()[1]}")
        for name, (killer, resources) in killers.items():
            losses = [{"name": "faulty_losses:Waits", "folder": str(Path(name).absolute())}]
            task = small_suites.task(losses=losses, resources={"cpus_per_worker": 0.5, **resources})
            small_suites.write(Path(f"{name}.yaml"), small_suites.suite(name=name, tasks=[task]))
            killer.start()
            with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
                patch.setenv("MLFLOW_TRACKING_URI", lost.store)
                code = eqbench(patch, "run", f"{name}.yaml", "--storage", "lost")
            killer.join()
            lost.printed[name] = printed.getvalue()
            assert code == 0, lost.printed[name]
            [run] = SuiteFolder(Path("lost"), name).runs()
            lost.runs[name] = run.read_spec(), run
    return lost


def test_loss_of_a_worker_changes_nothing(lost: Lost, tmp_path: Path) -> None:
    spec, run = lost.runs["worker"]
    assert (run.read_result() or {})["attempts"] == 2
    torch.multiprocessing.spawn(_train_on_two, args=(str(tmp_path), spec), nprocs=2)
    small_suites.assert_equal_bit_for_bit(run, RunFolder(tmp_path / spec.run_id))


def test_loss_of_the_trials_process_changes_nothing(lost: Lost, tmp_path: Path) -> None:
    spec, run = lost.runs["driver"]
    assert (run.read_result() or {})["attempts"] == 2
    alone = RunFolder(tmp_path / spec.run_id)
    alone.write_spec(spec)
    train_and_record(alone, torch.device("cpu"), code={})
    small_suites.assert_equal_bit_for_bit(run, alone)


def test_two_suites_in_one_process_without_mlflow_which_gets_them_later(
    lost: Lost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    for printed in lost.printed.values():
        assert "(1 of 1)" in printed
        assert f"MLflow is behind (MLflow at {lost.store}: Connection refused); nothing is lost: run" in " ".join(
            printed.split()
        )
    store = f"sqlite:///{Path.cwd()}/later.db"
    said = []
    for _ in range(2):
        assert eqbench(monkeypatch, "sync", "--storage", "lost", "--tracking-uri", store) == 0
        said.append(capsys.readouterr().out)
    assert said == ["2 runs sent, 0 were level already\n", "0 runs sent, 2 were level already\n"]
    client = MlflowClient(store)
    for name in lost.runs:
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert [run.info.status for run in runs] == ["FINISHED"] * 2
        [child] = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        history = client.get_metric_history(child.info.run_id, "val/top1")
        assert [metric.step for metric in history] == [11, 22]


def _train_on_two(rank: int, folder: str, spec: RunSpec) -> None:
    """One of two processes that train without Ray."""
    run = RunFolder(Path(folder) / spec.run_id)
    if rank == 0:
        run.write_spec(spec)
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.distributed.barrier()
    train_and_record(run, torch.device("cpu"), code={}, first=rank == 0, alone=False)
    torch.distributed.destroy_process_group()
