"""A worker that stands still is ended and says where; a machine that announces that it goes loses nothing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_suites
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from eqbench import supervision, trial
from eqbench.errors import InputError
from eqbench.run_folder import RunFolder, is_evaluation
from eqbench.run_spec import Resources, RunSpec
from eqbench.supervision import Supervision, Watched, stuck, watching
from eqbench.train_loop import train
from eqbench.trial import train_and_record

from .same_runs import assert_same_run, differences, events, last_state
from .tiny_runs import CODE, CPU, at_step, attempt, in_group, in_process, kill_self, planned, tiny_spec

SOON = 0.03
"""Minutes: long enough for a step of a tiny run on a busy machine, short enough to wait for."""


def wait_for_ever() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def supervised(path: Path, stuck_at: int = -1) -> None:
    torch.set_num_threads(1)
    at_step[stuck_at] = wait_for_ever
    run = RunFolder(path)
    with watching(run, run.read_spec().resources.stuck_minutes) as watch:
        assert train_and_record(run, CPU, code=CODE, watch=watch) is None


def test_a_worker_that_stands_still_is_ended_and_its_run_goes_on(
    tmp_path: Path, uninterrupted: Callable[[RunSpec], RunFolder]
) -> None:
    spec = tiny_spec(stuck_minutes=SOON, record_every=2, checkpoint_minutes=0)
    run = planned(tmp_path / "run", spec)
    assert in_process(supervised, run.path, 5) == 1
    assert run.newest_checkpoint == 4
    (said,) = stuck(run)
    assert "rank 0 did not finish a step within 0.03 min" in said
    (file,) = run.path.glob("stuck_rank0_*.txt")
    assert "in wait_for_ever" in file.read_text()
    assert stuck(run, lately=True) == [said]
    os.utime(file, (0, 0))  # it does not matter which machine's clock said when
    assert stuck(run, lately=True) == [said]

    assert in_process(supervised, run.path) == 0
    assert_same_run(run, uninterrupted(spec))
    result = run.read_result()
    assert result
    assert said in result["warnings"]
    assert stuck(run, lately=True) == []


def test_a_worker_that_ends_in_time_leaves_no_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with watching(run, minutes=1) as watch:
        watch.stepped()
        with watch.evaluating():
            watch.stepped()
    assert stuck(run) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_worker_has_removed_is_no_reason_to_fail(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with watching(run, minutes=1):
        (file,) = tmp_path.iterdir()
        assert str(os.getpid()) in file.name
        file.unlink()


def test_an_evaluation_may_take_longer_than_a_step(tmp_path: Path) -> None:
    assert in_process(slow_evaluation, tmp_path, True) == 0
    assert in_process(slow_evaluation, tmp_path, False) == 1


def slow_evaluation(folder: Path, evaluates: bool) -> None:
    watch = Watched(0.2, folder / "stuck_rank0.txt")
    watch.stepped()
    with watch.evaluating() if evaluates else Supervision().evaluating():
        threading.Event().wait(0.6)
    watch.close()


# -- notices -----------------------------------------------------------------------------------------------------


class LeavesAt(Supervision):
    """A machine goes and says so after an iteration; `goes` is called before the next step or evaluation ends."""

    def __init__(self, iteration: int, goes: Callable[[], None] = lambda: None) -> None:
        self._iteration, self._goes, self._told = iteration, goes, False

    def stepped(self) -> None:
        if self._told:
            self._goes()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        self.stepped()
        yield

    def leaving(self, iteration: int) -> bool:
        self._told |= iteration == self._iteration
        return iteration == self._iteration


def left_at(path: Path, iteration: int) -> None:
    torch.set_num_threads(1)
    train_and_record(RunFolder(path), CPU, code=CODE, watch=LeavesAt(iteration, kill_self))


def left_in_group(run: RunFolder, iteration: int) -> None:
    train(run.read_spec(), run, CPU, watch=LeavesAt(iteration, kill_self))


@pytest.mark.parametrize("iteration", [1, 6, 7, 8, 12])
@pytest.mark.parametrize("changes", [{}, {"record_every": 2}])
def test_a_notice_changes_nothing_whether_the_machine_goes_or_stays(
    iteration: int, changes: dict[str, Any], tmp_path: Path, uninterrupted: Callable[[RunSpec], RunFolder]
) -> None:
    """Four steps per epoch, an evaluation after each: the checkpoint is there before it, and between two records."""
    spec = tiny_spec(epochs=4, **changes)
    gone = planned(tmp_path / "gone", spec)
    assert in_process(left_at, gone.path, iteration) == -9
    assert gone.newest_checkpoint == iteration
    assert iteration not in [event["iteration"] for event in gone.read_events() if is_evaluation(event)]
    assert attempt(gone) == 0
    assert_same_run(gone, uninterrupted(spec))

    stayed = planned(tmp_path / "stayed", spec)
    assert train_and_record(stayed, CPU, code=CODE, watch=LeavesAt(iteration)) is None
    assert_same_run(stayed, uninterrupted(spec))


def test_gone_at_the_last_iteration(tmp_path: Path, uninterrupted: Callable[[RunSpec], RunFolder]) -> None:
    spec = tiny_spec()
    run = planned(tmp_path / "run", spec)
    assert in_process(left_at, run.path, 12) == -9
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))


@pytest.mark.parametrize("iteration", [6, 8])
def test_several_workers_go_on_after_a_notice_as_without_it(iteration: int, tmp_path: Path) -> None:
    spec = tiny_spec(norm="group", record_every=3)
    gone, stayed = (planned(tmp_path / name, spec) for name in ("gone", "stayed"))
    assert in_group(2, left_in_group, gone, iteration) == []
    assert gone.newest_checkpoint == iteration
    for run in (gone, stayed):
        in_group(2, left_in_group, run, 0)
    assert events(gone) == events(stayed)
    assert differences(last_state(gone), last_state(stayed)) == []


def test_fewer_workers_share_what_has_been_lost_since_the_last_record(tmp_path: Path) -> None:
    spec = tiny_spec(norm="group", batch_size=14, epochs=1, record_every=3)
    gone, stayed = (planned(tmp_path / name, spec) for name in ("gone", "stayed"))
    in_group(2, left_in_group, gone, 2)
    for run in (gone, stayed):
        in_group(1, left_in_group, run, 0)
    (loss, expected) = (events(run)[0][2]["train/loss"] for run in (gone, stayed))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_all_workers_hear_of_a_notice_after_the_same_iteration(tmp_path: Path) -> None:
    told, other = in_group(2, noticed_by_one, RunFolder(tmp_path))
    assert told == other
    assert len(told) == 2
    assert 10 <= told[0] < 20 <= told[1]


def noticed_by_one(run: RunFolder) -> list[int]:
    """Of two machines that go, the second one after 19 iterations."""
    rank = torch.distributed.get_rank()
    iteration = 0
    watch = Watched(60, run.path / "stuck.txt", lambda: rank and (iteration > 9) + (iteration > 19))
    told = []
    for iteration in range(1, 65):
        told += [iteration] if watch.leaving(iteration) else []
    watch.close()
    return told


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [
        ([0.001] * 200, [1, 3, 7, 15, 31, 63, 127, 191]),
        ([0.25] * 40, [1, 3, 7, 15, 23, 31, 39]),
        ([4.0] * 4, [1, 2, 3, 4]),
        ([0.5] * 8 + [100.0] + [0.5] * 8, [1, 3, 7, 11, 12, 14]),
    ],
    ids=["many short steps", "about two seconds", "each of several seconds", "after an evaluation"],
)
def test_workers_agree_about_every_two_seconds(
    seconds: list[float], asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iteration = 0
    found: list[int] = []
    now = [0.0]
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def notice() -> int:
        found.append(iteration)
        return 0

    watch = Watched(60, tmp_path / "stuck.txt", notice)
    for iteration, passed in enumerate(seconds, 1):
        now[0] += passed
        assert not watch.leaving(iteration)
    watch.close()
    assert found == asked


def test_a_notice_is_heard_after_an_error_and_so_is_that_of_another_machine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [
        None,
        ValueError("first"),
        ValueError("second"),
        PreemptionInfo(None, {"a": [0]}),
        PreemptionInfo(None, {"a": [0], "b": [1]}),
    ]
    heard: list[int] = []

    def answer() -> Any:
        heard.append(notice())
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(supervision, "SECONDS_BETWEEN_NOTICES", 0.01)
    monkeypatch.setattr("ray.train.get_preemption_info", answer)
    with contextlib.closing(supervision.PreemptionNotice()) as notice:
        small_suites.until(lambda: len(heard) > 5, "all answers", 60)
        assert heard[:6] == [0, 0, 0, 0, 1, 2]
    notice.join(timeout=60)
    assert not notice.is_alive()
    assert [record.message for record in caplog.records] == [
        "no notice of a machine that will go is heard: ValueError: first"
    ]


def test_fewer_workers_than_the_least_is_a_contradiction() -> None:
    assert Resources(num_workers=4, min_workers=2).min_workers == 2
    with pytest.raises(ValueError, match="min_workers 5: expected at most num_workers, which is 4"):
        Resources(num_workers=4, min_workers=5)


# -- why a run failed --------------------------------------------------------------------------------------------

LOST = RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [192.0.2.2]")


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[dict[str, Any]]:
    """Let Ray Train end with an error; what Ray Tune hears."""

    def fit(*_: Any) -> None:
        raise error

    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(trial, "_fit", fit)
    monkeypatch.setattr("ray.tune.report", reports.append)
    return reports


@pytest.mark.parametrize(
    ("error", "name", "said"),
    [
        (WorkerGroupError("failed", {0: ActorDiedError(), 1: LOST}), "rank0_7_2", "rank 0 did not finish a step"),
        (WorkerGroupError("failed", {0: ActorDiedError(), 1: LOST}), "rank0_7_1", "a worker process died"),
        (WorkerGroupError("failed", {0: ActorDiedError(), 1: LOST}), "rank0_7", "a worker process died"),
        (WorkerGroupError("failed", {0: InputError("x"), 1: LOST}), "rank0_7_2", "InputError: x"),
    ],
)
def test_a_stuck_worker_is_the_reason_of_the_attempt_that_lost_it_only(
    error: Exception, name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(tmp_path / "run", tiny_spec())
    run.start_attempt()
    run.start_attempt()
    (run.path / f"stuck_{name}.txt").write_text("Thread 0x7 in forward")
    reports = failing(monkeypatch, error)
    trial.run_trial({"run": str(run.path)})
    assert reports[-1]["failure"].startswith(said)
    assert "of its machine" not in reports[-1]["failure"]
    assert len(stuck(run)) == 1


def test_only_workers_that_run_out_of_memory_make_a_run_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a helper process of Ray: Ray Tune starts the trial again."""
    run = planned(tmp_path / "run", tiny_spec())
    reports = failing(monkeypatch, OutOfMemoryError("a process was killed"))
    with pytest.raises(OutOfMemoryError):
        trial.run_trial({"run": str(run.path)})
    assert (reports, run.error_file.exists()) == ([], False)
    reports = failing(monkeypatch, WorkerGroupError("failed", {0: OutOfMemoryError("a worker was killed")}))
    trial.run_trial({"run": str(run.path)})
    assert reports[-1]["failure"].startswith("out of memory: a node ran low and Ray ended a worker")


def test_workers_on_several_machines_know_of_which_attempt_they_are(tmp_path: Path) -> None:
    """Only the first one's machine has what was recorded of it."""
    run = RunFolder(tmp_path)
    run.start_attempt()
    names = in_group(2, watched_apart, run)
    assert [name.split("_")[1::2] for name in names] == [["rank0", "2.txt"], ["rank1", "2.txt"]]


def watched_apart(run: RunFolder) -> str:
    own = RunFolder(run.path / "other machine") if torch.distributed.get_rank() else run
    with watching(own, minutes=1):
        (file,) = own.path.glob("stuck_rank*.txt")
    return file.name


@pytest.mark.parametrize(("workers", "waited"), [(1, []), (2, [trial.SECONDS_UNTIL_A_LOSS_IS_KNOWN])])
@pytest.mark.parametrize("error", [LOST, OSError("/data/igloo/x.jpg: connection refused")])
def test_who_has_lost_the_connection_to_another_worker_waits(
    error: Exception, workers: int, waited: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_as_worker(*_: Any) -> None:
        raise error

    slept: list[int] = []
    monkeypatch.setattr(trial, "_train_as_worker", train_as_worker)
    monkeypatch.setattr(trial, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_world_size=lambda: workers))
    with pytest.raises(type(error)):
        trial._worker({})
    assert slept == (waited if error is LOST else [])
