"""Trials whose storage has a URI: what Ray Tune hears of them, and a store that does not answer when they begin."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from machines import Machines
from mirrored_runs import Machine
from ray import cloudpickle, tune
from ray.exceptions import ActorDiedError, RayTaskError
from ray.train import WorkerGroupError
from training.tiny_runs import CPU, planned, tiny_spec

from eqbench import distributed, supervision, train_loop, trial
from eqbench.announcer import Announcer
from eqbench.checkpoint import Checkpoints
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.storage import driving, suite_mirror, training
from eqbench.storage.place import Place
from eqbench.storage.remote import Remote, RemoteProblem
from eqbench.storage.run_mirror import RunMirror
from eqbench.sweep.announcer import SweepAnnouncer

SPEC = tiny_spec()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_PUSHES", 0.01)
    monkeypatch.setattr(trial, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(Remote, "tries", 1)


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(tmp_path, monkeypatch)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray Tune hears."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", heard.append)
    return heard


def suite_of(here: Place) -> tuple[SuiteFolder, dict[str, Any]]:
    """A suite with one run, and the configuration of its trial."""
    folder = SuiteFolder(here.local, "tiny")
    folder.create()
    folder.write_plan([SPEC], "name: tiny\n")
    run = folder.run(SPEC.run_id)
    suite_mirror.publish(folder.path, [run.path])
    return folder, {"run": str(run.path), **training.for_workers(folder.path)}


def worker_of(here: Place, tmp_path: Path) -> Machine:
    """Another machine that trains the run."""
    assert here.remote
    worker = Machine(tmp_path / "worker", here.remote)
    worker.run = RunFolder(tmp_path / "worker" / "tiny" / SPEC.run_id)
    worker.mirror = RunMirror(worker.run.path, here.remote, f"tiny/{SPEC.run_id}")
    worker.mirror.fetch()
    worker.run.start_attempt()
    return worker


def fail_at_first(
    monkeypatch: pytest.MonkeyPatch, method: str, times: int, cause: Exception | None = None
) -> list[str]:
    """Let the store not answer so many times; what it was asked for meanwhile."""
    asked: list[str] = []
    act = getattr(Remote, method)

    def maybe(self: Remote, path: str = "", *arguments: Any) -> Any:
        if len(asked) < times:
            asked.append(path)
            raise RemoteProblem(f"cannot {method} {path}: no route") from cause
        return act(self, path, *arguments)

    monkeypatch.setattr(Remote, method, maybe)
    return asked


def test_the_last_evaluation_reaches_ray_tune(
    on: Machines, monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]], tmp_path: Path
) -> None:
    """It is in the mirror when the training ends, and nobody has looked since."""
    here = on("driver")
    folder, config = suite_of(here)
    monkeypatch.setattr(driving, "SECONDS_BETWEEN_LOOKS", 3600.0)

    def fit(*_: Any) -> dict[str, str]:
        worker = worker_of(here, tmp_path)
        for iteration in (4, 12):
            worker.run.append_event(iteration, iteration, {"val/top1": iteration / 16})
        worker.mirror.push(ending=True)
        return {"result": "null"}

    monkeypatch.setattr(trial, "_fit", fit)
    trial.run_trial(config)
    assert [(report.get("iteration"), report.get("val/top1")) for report in reports[:-1]] == [(4, 0.25), (12, 0.75)]
    assert reports[-1] == {"ended": True, "result": "null"}
    assert len(folder.run(SPEC.run_id).read_events()) == 2


def test_the_last_look_waits_for_the_lock_of_the_run(on: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own thread may have it for an instant."""
    folder, _ = suite_of(on("driver"))
    patience: list[float] = []
    monkeypatch.setattr(suite_mirror, "fetch_run", lambda run, seconds=0.0: patience.append(seconds))
    with driving.following(folder.run(SPEC.run_id).path):
        pass
    assert patience == [suite_mirror.PATIENCE_SECONDS]


@pytest.mark.parametrize("run", [trial.run_trial, trial.run_alone])
def test_a_store_that_is_away_for_good_is_why_a_run_fails(
    on: Machines, monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]], run: Any, tmp_path: Path
) -> None:
    _, config = suite_of(on("driver"))
    monkeypatch.setattr(training, "MINUTES_OF_PATIENCE", 0.0)
    fail_at_first(monkeypatch, "read", 10**9)
    run({**config, "folder": str(tmp_path / "nowhere")})
    failure = f"cannot read tiny/{SPEC.run_id}/run.yaml: no route; tried for 0 min"
    assert reports == [{"ended": True, "failure": failure}]


def test_a_run_that_is_nowhere_says_so(on: Machines, reports: list[dict[str, Any]], tmp_path: Path) -> None:
    trial.run_trial({"run": str(tmp_path / "suite" / "run")})
    assert reports == [
        {"ended": True, "failure": f"{tmp_path}/suite/run is not there: --storage must be shared by all machines"}
    ]


@pytest.mark.parametrize("method", ["read", "list"])
def test_a_worker_waits_for_a_store_that_does_not_answer(
    on: Machines, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    _, config = suite_of(on("driver"))
    on("worker")
    asked = fail_at_first(monkeypatch, method, 3)
    run = training.run_here(config)
    with run.exclusively(), training.mirrored(run) as unwritten:
        assert len(asked) == 3
    assert not unwritten


def test_what_another_machine_has_done_is_read_however_often_that_fails(
    on: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In whatever place: what this machine has of an earlier start goes, all of it."""
    here = on("driver")
    _, config = suite_of(here)
    on("worker")
    run = training.run_here(config)
    for left in range(8):
        with run.exclusively(), training.mirrored(run):
            run.start_attempt()
            run.append_event(1, 1, {"train/loss": 1.0})
        other = worker_of(here, tmp_path / str(left))
        other.run.append_event(1, 1, {"train/loss": 2.0})
        other.mirror.push(ending=False)
        with monkeypatch.context() as patch:
            patch.setattr(Remote, "_tried", failing_once(after=left))
            with run.exclusively(), training.mirrored(run):
                assert run.read_events() == other.run.read_events()
                assert run.attempts == other.run.attempts


def failing_once(after: int) -> Any:
    """The store does not answer when it has been asked so many times."""
    ask, asked = Remote._tried, []

    def act(self: Remote, what: str, path: str, act: Any) -> Any:
        asked.append(path)
        if len(asked) == after + 1:
            raise RemoteProblem("no route")
        return ask(self, what, path, act)

    return act


def test_a_store_that_denies_access_at_the_beginning_is_not_asked_again(
    on: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = suite_of(on("driver"))
    asked = fail_at_first(monkeypatch, "read", 10**9, PermissionError("access denied"))
    with pytest.raises(training.NotMirrored, match=r"run\.yaml: no route$"):
        training.run_here(config)
    assert len(asked) == 1


def test_where_a_worker_stood_is_sent_when_another_one_starts_on_its_machine(
    on: Machines, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It could not do it, and was none of those that write what the run records. The attempt since is not to blame."""
    here = on("driver")
    folder, config = suite_of(here)
    first = worker_of(here, tmp_path)
    first.mirror.push(ending=False)
    on("other")
    other = training.run_here(config)
    (other.path / "stuck_rank1_7_1.txt").write_text("in wait_for_ever")
    (other.path / "stuck_rank1_9_2.txt").touch()  # of one that lives
    on("driver")
    lost = WorkerGroupError("failed", {0: ActorDiedError()})
    died = "a worker process died: killed, out of memory, or crashed; its log is in Ray's session folder"

    def fit(*_: Any) -> None:
        first.run.start_attempt()
        first.mirror.push(ending=False)
        raise lost

    monkeypatch.setattr(trial, "_fit", fit)
    for _ in range(2):
        trial.run_trial(config)
        assert reports[-1]["failure"] == (
            f"{died}; or one did not finish a step within 30 min and was ended: where it stood is then in "
            f"stuck_rank*.txt in {folder.run(SPEC.run_id).path} of its machine"
        )
        with training.mirrored(other, first=False):
            pass
    run = folder.run(SPEC.run_id)
    suite_mirror.fetch_run(run.path)
    assert [file.name for file in run.path.glob("stuck_*")] == ["stuck_rank1_7_1.txt"]
    (said,) = supervision.stuck(run)
    assert said.startswith("rank 1 did not finish a step within 30 min")


def test_where_a_worker_stood_in_a_run_that_was_deleted_since_is_not_sent(on: Machines) -> None:
    _, config = suite_of(on("driver"))
    on("other")
    other = training.run_here(config)
    (other.path / "stuck_rank1_7_1.txt").write_text("in wait_for_ever")
    with training.mirrored(other, first=False):
        pass
    assert not list(on.there.rglob("stuck_*"))


def failed_trial(config: dict[str, Any], file: Path | None) -> Any:
    return SimpleNamespace(config=config, pickled_error_file=file and str(file))


@pytest.mark.parametrize("announcer", [Announcer, lambda *given: SweepAnnouncer(*given, scheduler="asha")])
def test_a_trial_whose_process_failed_again_and_again_says_why(tmp_path: Path, announcer: Any) -> None:
    run = planned(tmp_path / "run", SPEC)
    run.plots.mkdir()
    heard: list[dict[str, Any]] = []
    watcher = SimpleNamespace(ended=lambda run, spec, result: heard.append(result))
    config = {"run": str(run.path)}
    error = RayTaskError("run_trial", "Traceback (most recent call last):\nOSError: no space", OSError("no space"))
    file = tmp_path / "error.pkl"
    file.write_bytes(cloudpickle.dumps(error.as_instanceof_cause()))
    for each in (file, tmp_path / "absent", None):
        announcer({str(run.path): SPEC}, [watcher]).on_trial_error(1, [], failed_trial(config, each))
    lost = "its process was lost, again and again"
    assert [result["status_detail"] for result in heard] == ["OSError: no space", lost, lost]
    assert all(result["status"] == "failed" for result in heard)
    assert time.time() - heard[0]["finished_at"] < 60


def test_a_worker_on_another_machine_loads_what_the_first_one_has(
    on: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has a checkpoint of the same iteration itself, of an earlier start, and nobody ends it while it waits."""
    here = on("driver")
    _, config = suite_of(here)
    first = worker_of(here, tmp_path)
    Checkpoints(first.run.checkpoints).save(4, {"weights": 2.0, "elapsed": 5.0})
    first.mirror.push(ending=False)
    wanted = training.manifest_digest(first.run.checkpoints / f"{4:09d}")
    on("other")
    run = training.run_here(config)
    Checkpoints(run.checkpoints).save(4, {"weights": 1.0, "elapsed": 5.0})
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "from_first_rank", lambda known: (4, {}, wanted))
    loaded: list[Any] = []
    trainer: Any = SimpleNamespace(load_state_dict=loaded.append)
    assert train_loop.restore(trainer, Checkpoints(run.checkpoints))[0] == 4
    assert [state["weights"] for state in loaded] == [2.0]


def test_nobody_is_taken_for_stuck_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient: list[bool] = [False]
    seen: list[bool] = []

    class Watch(supervision.Supervision):
        @contextlib.contextmanager
        def evaluating(self) -> Iterator[None]:
            patient.append(True)
            yield
            patient.append(False)

    def prepare(*_: Any) -> tuple[None, None]:
        seen.append(patient[-1])
        return None, None

    def restore(*_: Any) -> None:
        seen.append(patient[-1])
        raise ZeroDivisionError

    monkeypatch.setattr(train_loop, "prepare", prepare)
    monkeypatch.setattr(train_loop, "restore", restore)
    with pytest.raises(ZeroDivisionError):
        train_loop.train(SPEC, RunFolder(tmp_path), CPU, watch=Watch())
    assert seen == [True, True]
