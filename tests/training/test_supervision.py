"""A worker that stands still is ended and says where; a machine that announces that it goes loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eqbench.run_folder import RunFolder
from eqbench.run_spec import Resources, RunSpec
from eqbench.supervision import Supervision, Watched, stuck, watching
from eqbench.trial import train_and_record

from .same_runs import assert_same_run, last_state
from .tiny_runs import CODE, CPU, at_step, in_group, in_process, planned, tiny_spec

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
    assert "in wait_for_ever" in (run.path / "stuck_rank0.txt").read_text()

    assert in_process(supervised, run.path) == 0
    assert_same_run(run, uninterrupted(spec))
    result = run.read_result()
    assert result
    assert said in result["warnings"]


def test_a_worker_that_ends_in_time_leaves_no_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with watching(run, minutes=1) as watch:
        watch.stepped()
        with watch.evaluating():
            watch.stepped()
    assert stuck(run) == []
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_may_take_longer_than_a_step(tmp_path: Path) -> None:
    assert in_process(slow_evaluation, tmp_path, True) == 0
    assert in_process(slow_evaluation, tmp_path, False) == 1


def slow_evaluation(folder: Path, evaluates: bool) -> None:
    watch = Watched(0.2, folder / "stuck_rank0.txt")
    watch.stepped()
    with watch.evaluating() if evaluates else Supervision().evaluating():
        threading.Event().wait(0.6)
    watch.close()


class LeavesAt(Supervision):
    """A machine goes, and says so after an iteration; which checkpoints there were when the next step was done."""

    def __init__(self, iteration: int, run: RunFolder) -> None:
        self.iteration, self.run, self.found = iteration, run, -1
        self._told = False

    def stepped(self) -> None:
        if self._told and self.found < 0:
            self.found = self.run.newest_checkpoint

    def leaving(self, iteration: int) -> bool:
        self._told = iteration == self.iteration or self._told
        return iteration == self.iteration


def test_a_checkpoint_is_written_at_the_notice(tmp_path: Path, uninterrupted: Callable[[RunSpec], RunFolder]) -> None:
    spec = tiny_spec()
    run = planned(tmp_path / "run", spec)
    watch = LeavesAt(6, run)
    assert train_and_record(run, CPU, code=CODE, watch=watch) is None
    assert watch.found == 6
    assert 6 in [event["iteration"] for event in run.read_events()]
    reference = uninterrupted(spec)
    torch.testing.assert_close(last_state(run)["model"], last_state(reference)["model"], rtol=0, atol=0)
    assert (run.read_result() or {})["metrics"] == (reference.read_result() or {})["metrics"]


def test_all_workers_hear_of_a_notice_after_the_same_iteration(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert in_group(2, noticed_by_one, run) == [[16], [16]]


def noticed_by_one(run: RunFolder) -> list[int]:
    rank = torch.distributed.get_rank()
    iteration = 0
    watch = Watched(60, run.path / f"stuck_rank{rank}.txt", lambda: rank == 1 and iteration > 9)
    told = []
    for iteration in range(1, 33):
        told += [iteration] if watch.leaving(iteration) else []
    watch.close()
    return told


def test_fewer_workers_than_the_least_is_a_contradiction() -> None:
    assert Resources(num_workers=4, min_workers=2).min_workers == 2
    with pytest.raises(ValueError, match="min_workers 5: expected at most num_workers, which is 4"):
        Resources(num_workers=4, min_workers=5)
