"""A run and its mirror: at any moment the mirror is a state to go on from, whoever has trained where."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import mirrored_runs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mirrored_runs import Crash, Machine, assert_whole

from eqbench.run_folder import RunFolder
from eqbench.storage.remote import RemoteProblem
from eqbench.storage.run_mirror import Superseded

LENGTH = 7


def trained(machine: Machine, end: int = LENGTH, pushes: int = 1) -> None:
    """Train to `end`, the mirror brought level after every `pushes` iterations and at the end."""
    for iteration in range(machine.start() + 1, end + 1):
        machine.step(iteration)
        if iteration % pushes == 0:
            machine.mirror.push(ending=False)
    machine.finish()
    machine.mirror.push(ending=True)


def test_another_machine_finds_a_finished_run_without_its_checkpoints(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    trained(Machine(tmp_path / "a", there))
    reader = Machine(tmp_path / "b", there)
    reader.mirror.fetch()
    assert reader.run.finished
    assert_whole(reader.run, LENGTH)
    assert not list(reader.run.checkpoints.glob("[0-9]*"))
    assert reader.run.newest_checkpoint == LENGTH - LENGTH % mirrored_runs.EVERY
    assert len(list((tmp_path / "there/suite/run/checkpoints").iterdir())) == 2


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    trained(machine)
    there.changes_left = 0
    machine.mirror.push(ending=True)
    Machine(tmp_path / "a", there).mirror.push(ending=True)


@settings(max_examples=30)
@given(
    crashes=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 45), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=5
    ),
    pushes=st.integers(1, 4),
)
@example(crashes=[(1, 3, 0, 0), (1, 4, 0, 1), (1, 5, 0, 1)], pushes=1)
def test_after_any_crash_another_machine_goes_on(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[tuple[int, int, int, int]], pushes: int
) -> None:
    """`crashes`: which machine goes on, after how many changes of the mirror it dies, which one starts then, and how
    often, and dies before it writes anything."""
    folder = tmp_path_factory.mktemp("crashes")
    there = mirrored_runs.remote(folder / "there")
    machine, reached = Machine(folder / "0", there), 0
    for which, changes, another, starts in crashes:
        machine = Machine(folder / str(which), there)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Machine, "start", checked_start(Machine.start))
            there.changes_left = changes
            with contextlib.suppress(Crash):
                trained(machine, pushes=pushes)
            there.changes_left = 10**9
            idle = Machine(folder / str(another), there)
            for _ in range(starts):
                idle.step(idle.start() + 1)
        newcomer = Machine(folder / "newcomer", there)
        iteration = newcomer.start()
        assert_whole(newcomer.run, iteration)
        assert iteration >= reached
        reached = iteration
        shutil.rmtree(newcomer.run.path)
    trained(machine, pushes=pushes)
    reader = Machine(folder / "reader", there)
    reader.mirror.fetch()
    assert reader.run.finished
    assert_whole(reader.run, LENGTH)
    assert [event["iteration"] for event in reader.run.read_events()] == [*range(1, LENGTH + 1)]
    shutil.rmtree(folder)


def crash(paths: Sequence[str]) -> dict[str, tuple[int, int]]:
    if paths:
        raise Crash
    return {}


def checked_start(start: object) -> object:
    """A start that makes sure of what it goes on from."""

    def checked(machine: Machine) -> int:
        iteration: int = start(machine)  # type: ignore[operator]
        assert_whole(machine.run, iteration)
        return iteration

    return checked


def test_a_machine_that_was_ahead_gives_way_to_a_later_start(tmp_path: Path) -> None:
    """Its checkpoint of iteration 6 is of no use beside another machine's records up to 4."""
    there = mirrored_runs.remote(tmp_path / "there")
    first, second = Machine(tmp_path / "a", there), Machine(tmp_path / "b", there)
    for iteration in range(first.start() + 1, 7):
        first.step(iteration)
        if iteration == 3:
            first.mirror.push(ending=False)
    assert second.start() == 2
    second.step(3)
    second.step(4)
    second.mirror.push(ending=False)
    with pytest.raises(Superseded, match="another machine has started this run again"):
        first.mirror.push(ending=False)
    assert Machine(tmp_path / "a", there).start() == 4
    assert_whole(first.run, 4)


def test_many_starts_here_do_not_outweigh_what_another_machine_has_done(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    first, second = Machine(tmp_path / "a", there), Machine(tmp_path / "b", there)
    for iteration in range(first.start() + 1, 3):
        first.step(iteration)
        first.mirror.push(ending=False)
    for _ in range(4):
        assert first.start() == 2
    first.step(3)
    for iteration in range(second.start() + 1, 9):
        second.step(iteration)
        second.mirror.push(ending=False)
    assert second.run.attempts < first.run.attempts
    assert first.start() == 8
    first.step(9)
    first.mirror.push(ending=False)
    for machine in (first, Machine(tmp_path / "c", there)):
        assert machine.start() == 8
        assert_whole(machine.run, 8)


def test_a_checkpoint_of_the_same_iteration_is_the_mirrors(tmp_path: Path) -> None:
    """That of a start that another machine knows nothing of has other weights."""
    there = mirrored_runs.remote(tmp_path / "there")
    first, second = Machine(tmp_path / "a", there), Machine(tmp_path / "b", there)
    for iteration in range(first.start() + 1, 5):
        first.step(iteration)
        if iteration < 4:
            first.mirror.push(ending=False)
    for iteration in range(second.start() + 1, 5):
        second.step(iteration)
        second.mirror.push(ending=False)
    assert first.start() == 4
    assert_whole(first.run, 4)


def test_a_start_that_was_written_before_a_crash_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there before its stamps were noted here, and since then the run has been started here once more."""
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    machine.start()
    with monkeypatch.context() as patch:
        patch.setattr(there, "stamps", crash)
        with pytest.raises(Crash):
            machine.mirror.push(ending=False)
    assert there.read("suite/run/state.json")
    machine.run.start_attempt()
    for iteration in range(1, 4):
        machine.step(iteration)
    again = Machine(tmp_path / "a", there)
    assert again.start() == 2
    assert_whole(again.run, 2)


def test_a_machine_that_is_ahead_of_its_own_mirror_goes_on_from_what_it_has(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    for iteration in range(machine.start() + 1, 7):
        machine.step(iteration)
        if iteration == 3:
            machine.mirror.push(ending=False)
    again = Machine(tmp_path / "a", there)
    assert again.start() == 6
    assert_whole(again.run, 6)


def test_checkpoints_that_training_went_back_behind_are_removed_first(tmp_path: Path) -> None:
    """Else records up to 2 would lie beside a checkpoint of 4."""
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    for iteration in range(machine.start() + 1, 5):
        machine.step(iteration)
        machine.mirror.push(ending=False)
    shutil.rmtree(machine.run.checkpoints / f"{4:09d}")
    machine.run.rewind_to(2)
    machine.mirror.push(ending=False)
    assert Machine(tmp_path / "b", there).start() == 2


@pytest.mark.parametrize("where", ["a", "b"])
def test_a_checkpoint_between_two_records_stays_when_training_goes_on_from_it(tmp_path: Path, where: str) -> None:
    """That of a notice. Others read it meanwhile, and it is not written twice."""
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    for iteration in range(machine.start() + 1, 3):
        machine.step(iteration)
    machine.save(3)
    machine.mirror.push(ending=False)
    manifest = tmp_path / "there/suite/run/checkpoints" / f"{3:09d}" / "manifest.json"
    written = manifest.stat()

    again = Machine(tmp_path / where, there)
    assert again.start() == 3
    again.mirror.push(ending=False)
    assert manifest.stat().st_ino == written.st_ino


def test_a_damaged_checkpoint_there_is_passed_over(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    for iteration in range(machine.start() + 1, 5):
        machine.step(iteration)
        machine.mirror.push(ending=False)
    (tmp_path / "there/suite/run/checkpoints" / f"{4:09d}" / "state.pt").write_bytes(b"half of it")
    assert Machine(tmp_path / "b", there).start() == 2


def test_a_damaged_checkpoint_here_is_read_again(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    for iteration in range(machine.start() + 1, 5):
        machine.step(iteration)
        machine.mirror.push(ending=False)
    state = machine.run.checkpoints / f"{4:09d}" / "state.pt"
    content = state.read_bytes()
    state.write_bytes(b"half of it")
    assert machine.start() == 4
    assert state.read_bytes() == content


def test_a_checkpoint_that_training_removes_is_written_all_the_same(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    machine.start()
    machine.step(1)
    machine.step(2)
    upload = there.upload

    def slow(path: str, source: object) -> None:
        shutil.rmtree(machine.run.checkpoints / f"{2:09d}", ignore_errors=True)
        upload(path, source)  # type: ignore[arg-type]

    there.upload = slow  # type: ignore[method-assign]
    machine.mirror.push(ending=False)
    assert Machine(tmp_path / "b", there).start() == 2


def test_a_failed_result_there_goes_with_the_next_start(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine, reader = Machine(tmp_path / "a", there), Machine(tmp_path / "b", there)
    machine.start()
    machine.step(1)
    machine.run.write_result({"status": "failed", "status_detail": "", "metrics": {}, "cost": {}})
    machine.mirror.push(ending=True)
    reader.mirror.fetch()
    assert reader.run.read_result()
    machine.start()
    machine.mirror.push(ending=False)
    reader.mirror.fetch()
    assert reader.run.read_result() is None


def test_who_only_reads_never_gets_behind_or_undoes_what_is_there(tmp_path: Path) -> None:
    """A driver writes a result of its own, with no checkpoint here, and leaves those there alone."""
    there = mirrored_runs.remote(tmp_path / "there")
    machine, driver = Machine(tmp_path / "a", there), Machine(tmp_path / "b", there)
    for iteration in range(machine.start() + 1, 6):
        machine.step(iteration)
        machine.mirror.push(ending=False)
        driver.mirror.fetch()
        assert_whole(driver.run, iteration)
    driver.run.write_result({"status": "killed", "status_detail": "", "metrics": {}, "cost": {}})
    driver.mirror.fetch()
    driver.mirror.push(ending=True)
    assert Machine(tmp_path / "c", there).start() == 4
    assert there.read("suite/run/result.json")


def test_a_finished_result_there_is_right(tmp_path: Path) -> None:
    """A driver that was interrupted does not know yet that the run had finished."""
    there = mirrored_runs.remote(tmp_path / "there")
    machine, driver = Machine(tmp_path / "a", there), Machine(tmp_path / "b", there)
    machine.start()
    machine.step(1)
    machine.mirror.push(ending=False)
    driver.mirror.fetch()
    machine.finish()
    machine.mirror.push(ending=True)
    driver.run.write_result({"status": "killed", "status_detail": "", "metrics": {}, "cost": {}})
    driver.mirror.fetch()
    assert driver.run.finished


def test_a_run_that_was_deleted_there_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is here of it is kept beside it, and what the driver has planned since is not of it."""
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    machine.run.spec_file.write_text("name: run\n")
    trained(machine)
    machine.run.append_event(LENGTH + 1, 8, {})
    there.delete_folder("suite/run")
    machine.run.spec_file.write_text("name: another\n")
    assert machine.start() == 0
    assert machine.run.read_events() == []
    assert machine.run.spec_file.read_text() == "name: another\n"
    (kept,) = machine.run.path.glob(".deleted-*")
    assert f"suite/run: was deleted; what is here of it is now in {kept}" in caplog.text
    assert_whole(RunFolder(kept), LENGTH - 1)
    assert RunFolder(kept).finished
    assert len(list(kept.glob("checkpoints/*/state.pt"))) == 2
    machine.mirror.push(ending=False)
    assert not [path for path in there.list() if "deleted" in path]


def test_a_run_that_is_deleted_there_while_it_is_trained_is_written_anew(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    for iteration in range(machine.start() + 1, 6):
        machine.step(iteration)
        machine.mirror.push(ending=False)
    there.delete_folder("suite/run")
    for iteration in range(6, 9):
        machine.step(iteration)
        machine.mirror.push(ending=False)
    other = Machine(tmp_path / "b", there)
    assert other.start() == 8
    assert_whole(other.run, 8)


def test_what_is_of_one_machine_is_not_read(tmp_path: Path) -> None:
    """Locks, and markers of where a folder is mirrored, that somebody has copied there with the rest."""
    there = mirrored_runs.remote(tmp_path / "there")
    for name in (".lock", ".place.json", ".mirror.json", "evaluation/.hidden"):
        there.write(f"suite/run/{name}", b"{}")
    machine = Machine(tmp_path / "a", there)
    with machine.run.exclusively():
        lock = (machine.run.path / ".lock").stat().st_ino
        machine.start()
        assert (machine.run.path / ".lock").stat().st_ino == lock
    machine.mirror.fetch()
    assert not list(machine.run.path.rglob(".hidden")) + list(machine.run.path.rglob(".place.json"))


def test_what_only_the_driver_writes_outlives_a_start_elsewhere(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    worker, driver, another = (Machine(tmp_path / name, there) for name in "abc")
    worker.start()
    worker.step(1)
    worker.mirror.push(ending=False)
    driver.mirror.fetch()
    (driver.run.path / "synced.json").write_text('{"step": 1}')
    another.start()
    another.step(1)
    another.mirror.push(ending=False)
    driver.mirror.fetch()
    assert (driver.run.path / "synced.json").read_text() == '{"step": 1}'


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"attempt": null}', '{"attempt": "x"}', '{"started": [], "attempt": 1}']
)
def test_a_damaged_state_there_is_no_start(tmp_path: Path, content: str) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    there.write("suite/run/state.json", content.encode())
    machine = Machine(tmp_path / "a", there)
    trained(machine)
    there.write("suite/run/state.json", content.encode())
    assert Machine(tmp_path / "b", there).start() == LENGTH - 1


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"files": []}', '{"files": {"a": 1}}', '{"files": {}, "checkpoints": {"x": 1}, "starts": [[1, 2]]}'],
)
def test_what_is_known_of_a_mirror_may_be_damaged(tmp_path: Path, content: str) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    trained(machine)
    (machine.run.path / ".mirror.json").write_text(content)
    assert machine.start() == LENGTH - 1
    assert_whole(machine.run, LENGTH - 1)


def test_a_store_that_refuses_leaves_all_as_it_is(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    machine.start()
    machine.step(1)
    there.refuses = True
    with pytest.raises(RemoteProblem, match="cannot write"):
        machine.mirror.push(ending=False)
    there.refuses = False
    machine.mirror.push(ending=False)
    assert Machine(tmp_path / "b", there).start() == 0
    assert there.read("suite/run/events.jsonl") == machine.run.events_file.read_bytes()


def test_names_that_would_lie_elsewhere_are_not_read(tmp_path: Path) -> None:
    there = mirrored_runs.remote(tmp_path / "there")
    machine = Machine(tmp_path / "a", there)
    machine.start()
    machine.step(1)
    machine.step(2)
    manifest = machine.run.checkpoints / f"{2:09d}" / "manifest.json"
    manifest.write_text('{"files": {"../../../../evil": {"sha256": "0"}}}')
    machine.mirror.push(ending=False)
    other = Machine(tmp_path / "b", there)
    assert other.start() == 0
    assert not list(tmp_path.rglob("evil"))
