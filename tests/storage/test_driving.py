"""Driver, workers and readers of one URI, each on a machine of its own: what reaches whom."""

from __future__ import annotations

import contextlib
import json
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from machines import PATIENCE_SECONDS, Machines, machine_of, planned, until
from ray.tune import TuneError
from training.tiny_runs import tiny_spec

from eqbench import file_lock, stopping
from eqbench.announcer import Announcer
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.leaderboard.find import find_suite_folder
from eqbench.run_folder import RunFolder, suites_in
from eqbench.storage import driving, lease, suite_mirror, training
from eqbench.storage.remote import Remote, RemoteProblem
from eqbench.storage.run_mirror import RunMirror
from eqbench.sweep import driver


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_PUSHES", 0.01)
    monkeypatch.setattr(driving, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(Remote, "tries", 1)


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(tmp_path, monkeypatch)


def test_a_worker_finds_its_run_and_the_driver_what_it_records(on: Machines) -> None:
    folder, config = planned(on("driver"))
    with driving.driving(folder.path) as mirror:
        mirror.started(folder.run("run"), None)  # type: ignore[arg-type]
        on("worker")
        run = training.run_here(config)
        assert run.spec_file.read_text() == "name: run\n"
        assert run.path != folder.run("run").path
        worker = machine_of(run)
        worker.start()
        worker.step(1)
        worker.step(2)
        worker.mirror.push(ending=False)
        until(lambda: len(folder.run("run").read_events()) == 2)
        worker.step(3)
        worker.finish()
        worker.mirror.push(ending=True)
        mirror.ended(folder.run("run"), None, {})  # type: ignore[arg-type]
        assert folder.run("run").finished
        assert folder.run("run").newest_checkpoint == 2
    assert not [path for path in suite_mirror.place_of(folder.path).remote.list() if "driver" in path]  # type: ignore[union-attr]


def test_what_a_driver_writes_of_a_run_that_was_lost_reaches_readers(on: Machines) -> None:
    folder, config = planned(on("driver"))
    with driving.driving(folder.path) as mirror:
        worker = machine_of(training.run_here(config))
        worker.start()
        worker.step(1)
        worker.mirror.push(ending=False)
        folder.run("run").write_result({"status": "failed", "status_detail": "x", "metrics": {}, "cost": {}})
        mirror.ended(folder.run("run"), None, {})  # type: ignore[arg-type]
        (folder.path / "invocations").mkdir()
        (folder.path / "invocations" / "one.json").write_text("{}")
    reader = find_suite_folder(on("reader").local, "suite")
    assert reader.run("run").intact_result() == folder.run("run").intact_result()
    assert len(reader.run("run").read_events()) == 1
    assert (reader.path / "invocations" / "one.json").read_text() == "{}"


def test_a_stopped_run_is_not_written_any_more(on: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker hears of it; what the driver keeps of it is what the mirror has, and the next start lifts the mark."""
    folder, config = planned(on("driver"))
    on("worker")
    run = training.run_here(config)
    monkeypatch.setattr(RunFolder, "read_spec", lambda _: type("Spec", (), {"origin": None}))
    with run.exclusively(), training.mirrored(run):
        worker = machine_of(run)
        run.start_attempt()
        worker.step(1)
        worker.step(2)
        run.append_event(2, 2, {"val/top1": 1.0})
        worker.step(3)
        stopping.mark(folder.run("run"), 2)
        suite_mirror.stop(folder.run("run"), 2)
        assert len(folder.run("run").read_events()) >= 3
        until(lambda: stopping.is_marked(run))
        worker.step(4)
    folder.run("run").rewind_to(2)
    folder.run("run").write_result({"status": "stopped", "status_detail": "", "metrics": {}, "cost": {}})
    suite_mirror.settle(folder.run("run").path)
    reader = find_suite_folder(on("reader").local, "suite").run("run")
    assert [event["iteration"] for event in reader.read_events()] == [1, 2, 2]
    assert sorted(int(part.stem) for part in reader.gradients.iterdir()) == [1, 2]
    assert (reader.read_result() or {})["status"] == "stopped"
    assert stopping.is_marked(reader)
    with run.exclusively(), training.mirrored(run):
        assert not stopping.is_marked(run)
        assert [event["iteration"] for event in run.read_events()] == [1, 2, 2]


def test_one_driver_at_a_time(on: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = planned(on("one"))
    drives = contextlib.ExitStack()
    drives.enter_context(folder.lock())
    mirror = drives.enter_context(driving.driving(folder.path))
    other = find_suite_folder(on("two").local, "suite")
    assert other.locked
    with pytest.raises(EnvironmentProblem, match=r"another eqbench process \(one, pid \d+\) works on this suite"):
        other.lock().__enter__()
    assert not other.lock_file.read_text()
    refusal = pytest.raises(EnvironmentProblem, match=r"there/suite: .*\(one, pid \d+\).*180 s after the last")
    with refusal, driving.driving(other.path):
        pass
    monkeypatch.setattr(lease, "SECONDS", 0.0)  # it has run out
    with other.lock(), driving.driving(other.path):
        monkeypatch.setattr(lease, "SECONDS", 180.0)
        mirror._lease.renew()  # type: ignore[attr-defined]
        with pytest.raises(EnvironmentProblem, match=r"\(two, pid"):
            mirror.started(folder.run("run"), None)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentProblem, match=r"\(two, pid"):
        drives.close()
    assert not other.locked
    assert not (on.there / "suite" / lease.FILE).exists()


def test_a_driver_that_has_lost_its_claim_ends_with_the_reason_though_ray_tune_is_in_between(on: Machines) -> None:
    folder, config = planned(on("one"))
    announced = {config["run"]: tiny_spec()}
    trial, report = SimpleNamespace(config=config), {"iteration": 1}

    def drive() -> None:
        with driving.driving(folder.path) as mirror:
            mirror._lease.lost = "two, pid 1"  # type: ignore[attr-defined]
            try:
                Announcer(announced, [mirror]).on_trial_result(1, [], trial, report)
            except EnvironmentProblem:
                raise TuneError(traceback.format_exc()) from None

    with pytest.raises(EnvironmentProblem, match=r"there/suite: another eqbench process \(two, pid 1\)"):
        drive()


def test_nothing_is_written_of_a_suite_that_could_not_be_read(on: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = planned(on("one"))
    folder.plan_file.write_text("old")
    (on.there / "suite" / "plan.json").write_text("new, and longer")
    monkeypatch.setattr(suite_mirror, "fetch_suite", away)
    with pytest.raises(RemoteProblem, match="away"), driving.driving(folder.path):
        pass
    assert (on.there / "suite" / "plan.json").read_text() == "new, and longer"
    assert not (on.there / "suite" / lease.FILE).exists()


def away(*_: Any) -> None:
    raise RemoteProblem("it is away")


@pytest.mark.parametrize("problem", [RemoteProblem("it is away"), OSError(28, "disk full")])
def test_the_claim_is_given_back_where_the_rest_cannot_be_written(
    on: Machines, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    folder, _ = planned(on("one"))

    def refuse(*_: Any) -> None:
        raise problem

    monkeypatch.setattr(suite_mirror, "publish", refuse)
    with pytest.raises(ZeroDivisionError), driving.driving(folder.path):
        raise ZeroDivisionError
    assert not (on.there / "suite" / lease.FILE).exists()
    assert "eqbench-lease" not in [thread.name for thread in threading.enumerate()]


def test_a_claim_that_cannot_be_given_back_is_not_renewed(on: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = planned(on("one"))
    with driving.driving(folder.path):
        monkeypatch.setattr(Remote, "delete", away)
    assert (on.there / "suite" / lease.FILE).exists()
    assert "eqbench-lease" not in [thread.name for thread in threading.enumerate()]


def test_a_call_removes_what_ray_wrote_for_it_and_leaves_that_of_others(on: Machines) -> None:
    """A driver that has lost its claim ends while the one that took over works."""
    folder, _ = planned(on("one"))
    ours, theirs = on.there / "suite/.ray", training.scratch(folder.path)
    with training.scratch(folder.path) as one, theirs as two:
        assert one != two
        for each in (one, two):
            assert each.startswith(f"file://{ours}/")
            Path(each.removeprefix("file://")).mkdir(parents=True)
        with training.scratch(folder.path) as third:
            Path(third.removeprefix("file://")).mkdir()
        assert {str(path) for path in ours.iterdir()} == {each.removeprefix("file://") for each in (one, two)}


def test_what_killed_calls_have_left_is_removed_once_the_suite_is_claimed(on: Machines, tmp_path: Path) -> None:
    folder, _ = planned(on("one"))
    for suite, there in ((folder.path, on.there / "suite"), (tmp_path / "shared", tmp_path / "shared")):
        (there / ".ray/1/tune").mkdir(parents=True)
        with driving.driving(suite), training.scratch(suite) as scratch:
            assert not (there / ".ray/1").exists()
            Path(scratch.removeprefix("file://")).mkdir(parents=True)
        assert not list(there.glob(".ray/*"))
    assert not (tmp_path / "shared/.ray").exists()


def test_a_run_whose_mirror_cannot_be_read_keeps_no_other_from_being_followed(
    on: Machines, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read: list[str] = []

    def fetch(run: Path) -> None:
        read.append(run.name)
        if run.name != "good":
            raise AttributeError(run.name)

    monkeypatch.setattr(suite_mirror, "fetch_run", fetch)
    with driving.Following() as following:
        for name in ("bad", "good", "worse"):
            following.add(Path(name))
        until(lambda: read.count("good") > 2 and read.count("bad") > 2)
    assert len(caplog.messages) == 1
    assert "AttributeError: " in caplog.text


def test_a_store_that_takes_its_time_keeps_no_worker_from_its_run(
    on: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are listed before the lock is taken, and not at all where a run is trained here."""
    folder, _ = planned(on("driver"))
    run, listed, listing = folder.run("run"), [], RunMirror.listed

    def look(mirror: RunMirror) -> Any:
        listed.append(file_lock.is_held(run.path / ".lock"))
        return listing(mirror)

    monkeypatch.setattr(RunMirror, "listed", look)
    suite_mirror.fetch_run(run.path)
    with run.exclusively():
        suite_mirror.fetch_run(run.path)
    assert listed == [False]


def test_a_driver_that_died_here_is_no_obstacle_here(on: Machines) -> None:
    """The lock of the folder shows that it is gone."""
    folder, _ = planned(on("one"))
    remote = on("one").remote
    assert remote
    lease.Lease(remote, "suite", folder.path).acquire()
    with folder.lock(), driving.driving(folder.path):
        pass


def test_suites_are_found_by_those_who_have_nothing_yet(on: Machines) -> None:
    planned(on("driver"))
    here = on("reader")
    assert [folder.suite for folder in suites_in(here.local)] == ["suite"]
    with pytest.raises(InputError, match="it holds suite"):
        find_suite_folder(here.local, "suit")


def test_a_run_that_is_trained_here_is_left_alone(on: Machines) -> None:
    folder, _ = planned(on("driver"))
    worker = machine_of(folder.run("run"))
    with folder.run("run").exclusively():
        worker.start()
        worker.step(1)
        worker.mirror.push(ending=False)
        worker.step(2)
        suite_mirror.fetch_suite(folder.path)
        assert len(worker.run.read_events()) == 2


def test_the_weights_that_a_run_starts_from_are_read(on: Machines) -> None:
    _, config = planned(on("driver"))
    worker = machine_of(training.run_here(config))
    worker.start()
    worker.step(1)
    worker.step(2)
    worker.mirror.push(ending=True)
    origin = on("other").local / "suite" / "run"
    training.fetch_origin(origin)
    assert (origin / "checkpoints" / f"{2:09d}" / "state.pt").exists()


def test_other_workers_wait_for_the_checkpoint_of_the_first(on: Machines) -> None:
    _, config = planned(on("driver"))
    first = machine_of(training.run_here(config))
    first.start()
    first.step(1)
    first.step(2)
    on("second")
    checkpoints = training.run_here(config).checkpoints
    wanted = training.manifest_digest(first.run.checkpoints / f"{2:09d}")
    waiting = threading.Thread(target=training.fetch_checkpoint, args=(checkpoints, 2, wanted, PATIENCE_SECONDS))
    waiting.start()
    first.mirror.push(ending=False)
    waiting.join()
    assert json.loads((checkpoints / f"{2:09d}" / "manifest.json").read_text())["iteration"] == 2


@pytest.mark.parametrize("mirrored_before", [False, True])
def test_other_workers_do_not_go_on_from_a_checkpoint_of_an_earlier_start(on: Machines, mirrored_before: bool) -> None:
    """Of the same iteration, on their machine or in the mirror too; nor from one that is damaged."""
    _, config = planned(on("driver"))
    on("second")
    second = machine_of(training.run_here(config))
    second.start()
    second.step(1)
    second.step(2)
    if mirrored_before:
        second.mirror.push(ending=False)
    on("first")
    first = machine_of(training.run_here(config))
    first.start()
    first.run.start_attempt()
    first.step(1)
    first.step(2)
    state = f"{2:09d}/state.pt"
    weights = (first.run.checkpoints / state).read_text()
    assert (second.run.checkpoints / state).read_text() != weights
    on("second")
    wanted = training.manifest_digest(first.run.checkpoints / f"{2:09d}")
    with pytest.raises(EnvironmentProblem, match=r"there/suite/run/checkpoints/000000002/manifest.json: no checkpoint"):
        training.fetch_checkpoint(second.run.checkpoints, 2, wanted, 0.0)
    first.mirror.push(ending=False)
    for damage in (None, "damaged"):
        if damage:
            (second.run.checkpoints / state).write_text(damage)
        training.fetch_checkpoint(second.run.checkpoints, 2, wanted, 0.0)
        assert (second.run.checkpoints / state).read_text() == weights


def test_other_workers_wait_while_the_store_does_not_answer(on: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    _, config = planned(on("driver"))
    run = training.run_here(config)
    monkeypatch.setattr(Remote, "read", away)
    naps: list[float] = []
    monkeypatch.setattr(training, "sleep", naps.append)
    monkeypatch.setattr(training, "monotonic", lambda: float(len(naps)))
    with pytest.raises(EnvironmentProblem, match=r"within 0.05 min \(it is away\); the machine of that worker must"):
        training.fetch_checkpoint(run.checkpoints, 2, "digest", 3.0)
    assert len(naps) == 4


def test_populations_need_a_folder_that_machines_share(on: Machines) -> None:
    here = on("driver")
    section = SimpleNamespace(scheduler=SimpleNamespace(name="pbt"))
    what: Any = SimpleNamespace(sweep=SimpleNamespace(section=section), storage=here.local)
    with pytest.raises(InputError, match=r"file://.*: a sweep with the scheduler pbt needs a folder that all machines"):
        driver.refuse_population(what)
    what.storage = Path("runs")
    driver.refuse_population(what)
