"""Driver, workers and readers of one URI, each on a machine of its own: what reaches whom."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mirrored_runs import Machine

from eqbench import stopping
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.leaderboard.find import find_suite_folder
from eqbench.run_folder import RunFolder, SuiteFolder, suites_in
from eqbench.storage import driving, lease, suite_mirror, training
from eqbench.storage.place import Place, place
from eqbench.storage.remote import Remote
from eqbench.sweep import driver

PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_PUSHES", 0.01)
    monkeypatch.setattr(driving, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(Remote, "tries", 1)


class Machines:
    """Machines with one URI, by name."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._patch = patch

    def __call__(self, name: str) -> Place:
        """From now on this process is on that machine."""
        self._patch.setenv("EQBENCH_CACHE", str(self._root / name))
        self._patch.setattr(lease.socket, "gethostname", lambda: name)
        return place(f"file://{self._root}/there")


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(tmp_path, monkeypatch)


def planned(here: Place) -> tuple[SuiteFolder, dict[str, Any]]:
    """A suite with one run, written as a driver writes it; the configuration of its trial."""
    folder = SuiteFolder(here.local, "suite")
    folder.create()
    run = folder.run("run")
    run.path.mkdir(exist_ok=True)
    run.spec_file.write_text("name: run\n")
    folder.suite_file.write_text("name: suite\n")
    folder.plan_file.write_text('{"suite": "suite", "run_ids": ["run"]}')
    suite_mirror.publish(folder.path, [run.path])
    return folder, {"run": str(run.path), **training.for_workers(folder.path)}


def machine_of(run: RunFolder) -> Machine:
    """As a worker works on it."""
    mirror = suite_mirror.mirror_of(run.path)
    assert mirror is not None
    return Machine(run.path.parents[1], mirror.remote)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
    with folder.lock(), driving.driving(folder.path) as mirror:
        other = find_suite_folder(on("two").local, "suite")
        assert other.locked
        with pytest.raises(EnvironmentProblem, match=r"another eqbench process \(one, pid \d+\) works on this suite"):
            other.lock().__enter__()
        with (
            pytest.raises(EnvironmentProblem, match=r"there/suite: .*\(one, pid \d+\).*180 s after the last"),
            driving.driving(other.path),
        ):
            pass
        monkeypatch.setattr(lease, "SECONDS", 0.0)  # it has run out
        with other.lock(), driving.driving(other.path):
            monkeypatch.setattr(lease, "SECONDS", 180.0)
            mirror._lease.renew()  # type: ignore[attr-defined]
            with pytest.raises(EnvironmentProblem, match=r"\(two, pid"):
                mirror.started(folder.run("run"), None)  # type: ignore[arg-type]
    assert not other.locked


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
    waiting = threading.Thread(target=training.fetch_checkpoint, args=(checkpoints, 2, PATIENCE_SECONDS))
    waiting.start()
    first.mirror.push(ending=False)
    waiting.join()
    assert json.loads((checkpoints / f"{2:09d}" / "manifest.json").read_text())["iteration"] == 2


def test_populations_need_a_folder_that_machines_share(on: Machines) -> None:
    here = on("driver")
    section = SimpleNamespace(scheduler=SimpleNamespace(name="pbt"))
    what: Any = SimpleNamespace(sweep=SimpleNamespace(section=section), storage=here.local)
    with pytest.raises(InputError, match=r"file://.*: a sweep with the scheduler pbt needs a folder that all machines"):
        driver.refuse_population(what)
    what.storage = Path("runs")
    driver.refuse_population(what)
