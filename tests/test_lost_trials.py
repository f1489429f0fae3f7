"""Processes of trials that Ray ends in a way that makes Ray Tune give up: the other runs go on all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_suites
from ray.exceptions import OutOfMemoryError

from eqbench import engine
from eqbench.announcer import Announcer
from eqbench.run_folder import SuiteFolder
from eqbench.run_spec import RunSpec

Tune = Callable[[Sequence[RunSpec], Any], None]


class Suite:
    """Runs whose Ray Tune is a function of the test, which begins and finishes runs as that function says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder: SuiteFolder = small_suites.planned(folder, seeds=[0, 1])
        self.specs = [run.read_spec() for run in self.folder.runs()]
        self.said: list[str] = []
        self.calls: list[list[str]] = []
        monkeypatch.setattr(engine, "room_for_all", lambda specs: 1)
        self._patch = monkeypatch

    def execute(self, tune: Callable[[Suite, list[RunSpec]], None]) -> engine.Summary:
        def stand_in(specs: list[RunSpec], folder: Any, scratch: str, watchers: Any, say: Any) -> None:
            self.watchers = watchers
            self.calls.append([spec.run_id for spec in specs])
            tune(self, specs)

        self._patch.setattr(engine, "_tune", stand_in)
        return engine.execute(self.specs, self.folder, say=self.said.append)

    def begin(self, spec: RunSpec) -> None:
        for watcher in self.watchers:
            watcher.started(self.folder.run(spec.run_id), spec)

    def finish(self, spec: RunSpec) -> None:
        for watcher in self.watchers:
            watcher.ended(self.folder.run(spec.run_id), spec, {"status": "finished"})


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    return Suite(tmp_path, monkeypatch)


def give_up() -> None:
    """As Ray Tune does when an actor is lost in a way that it does not know."""
    error = OutOfMemoryError("Task was killed due to the node running low on memory.")
    raise RuntimeError(f"Caught unexpected exception: {error}") from error


def test_all_go_on_that_have_not_ended(suite: Suite) -> None:
    def tune(suite: Suite, specs: list[RunSpec]) -> None:
        if len(suite.calls) == 1:
            suite.begin(specs[0])
            suite.finish(specs[0])
            suite.begin(specs[1])
            give_up()
        for spec in specs:
            suite.begin(spec)
            suite.finish(spec)

    summary = suite.execute(tune)
    ids = [spec.run_id for spec in suite.specs]
    assert suite.calls == [ids, ids[1:]]
    assert summary.finished == tuple(ids)
    [said] = suite.said
    assert said.startswith("Ray has ended a trial's process: ")
    assert said.endswith("; going on")


def test_one_that_is_lost_each_time_has_failed_and_the_rest_is_trained(suite: Suite) -> None:
    bad = suite.specs[0]

    def tune(suite: Suite, specs: list[RunSpec]) -> None:
        for spec in specs:
            suite.begin(spec)
            if spec is bad:
                give_up()
            suite.finish(spec)

    summary = suite.execute(tune)
    assert summary.failed == (bad.run_id,)
    assert set(summary.finished) == {spec.run_id for spec in suite.specs[1:]}
    assert len(suite.calls) == engine.TRIAL_DRIVER_FAILURES + 2
    result = suite.folder.run(bad.run_id).read_result() or {}
    assert (result["status"], "memory" in result["status_detail"]) == ("failed", True)


def test_any_other_error_is_none_of_this(suite: Suite) -> None:
    def tune(suite: Suite, specs: list[RunSpec]) -> None:
        suite.begin(specs[0])
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        suite.execute(tune)


def test_a_ray_tune_that_begins_nothing_is_not_asked_for_ever(suite: Suite) -> None:
    summary = suite.execute(lambda suite, specs: None)
    assert len(suite.calls) == 1
    assert set(summary.unfinished) == {spec.run_id for spec in suite.specs}


def test_a_run_that_lost_its_process_before_it_was_trained_has_not_ended(suite: Suite) -> None:
    spec = suite.specs[0]
    run = suite.folder.run(spec.run_id)
    heard: list[str] = []
    watcher: Any = SimpleNamespace(
        started=lambda *_: heard.append("started"), ended=lambda *_: heard.append("ended"), reported=None
    )
    trial: Any = SimpleNamespace(config={"run": str(run.path)}, pickled_error_file=None)
    announcer = Announcer({str(run.path): spec}, [watcher])
    announcer.on_trial_start(1, [], trial)
    announcer.on_trial_error(1, [], trial)
    assert (heard, run.read_result()) == (["started"], None)

    run.start_attempt()
    announcer.on_trial_error(1, [], trial)
    assert heard == ["started", "ended"]
