"""Progress of a suite: plain lines in logs, a live table on a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import small_suites
from rich.console import Console

from eqbench.progress import LiveProgress, PlainProgress, progress_for
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec

FINISHED = {"status": "finished", "main_metric": "top1", "metrics": {"top1": 81.25}, "cost": {"train_seconds": 61.4}}
FAILED = {"status": "failed", "status_detail": "RuntimeError: no [such] thing"}


@pytest.fixture
def runs(tmp_path: Path) -> list[tuple[RunFolder, RunSpec]]:
    folder: SuiteFolder = small_suites.planned(tmp_path)
    return [(run, run.read_spec()) for run in folder.planned()]


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def written(on: Console) -> str:
    return on.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_chosen_by_where_it_is_shown() -> None:
    assert isinstance(progress_for(console(terminal=True), 1), LiveProgress)
    assert isinstance(progress_for(console(terminal=False), 1), PlainProgress)


def test_plain_lines(runs: list[tuple[RunFolder, RunSpec]]) -> None:
    on = console(terminal=False)
    (first, spec), (second, other) = runs
    second.start_attempt()
    with PlainProgress(on, 2) as progress:
        progress.started(first, spec)
        progress.started(second, other)
        progress.reported(first, spec, {"iteration": 11, "train/loss": 1.23456, "val/top1": 50.0, "val/few": 1.0})
        progress.reported(first, spec, {"iteration": 22, "time_total_s": 3})
        progress.ended(first, spec, FINISHED)
        progress.ended(second, other, FAILED)
    lines = written(on).splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    assert [line[10:] for line in lines] == [
        f"started  digits · cross_entropy · s0  {spec.run_id}",
        f"started again  digits · softmax_eql · s0  {other.run_id}",
        "iteration 11/22  digits · cross_entropy · s0  train/loss 1.235  top1 50",
        "iteration 22/22  digits · cross_entropy · s0",
        "finished  digits · cross_entropy · s0  top1 81.2  61 s  (1 of 2)",
        "FAILED  digits · softmax_eql · s0  RuntimeError: no [such] thing  (2 of 2)",
    ]


def test_a_main_metric_that_does_not_exist(runs: list[tuple[RunFolder, RunSpec]]) -> None:
    on = console(terminal=False)
    PlainProgress(on, 1).ended(*runs[0], {**FINISHED, "metrics": {"top1": None}})
    assert "top1 n/a" in written(on)


def test_live_table(runs: list[tuple[RunFolder, RunSpec]]) -> None:
    on = console(terminal=True)
    (first, spec), (second, other) = runs
    progress = LiveProgress(on, 3)
    progress.started(first, spec)
    progress.started(second, other)
    first.append_event(11, 342, {"train/loss": 1.23456})
    first.append_event(11, 342, {"val/top1": 50.0})
    on.print(progress._table())
    shown = written(on)
    assert "0 of 3 runs ended" in shown
    assert re.search(r"digits · cross_entropy · s0 +│ +1\.0/2 │ +1\.235 │ +top1 50\.0 │ +│", shown)
    assert re.search(r"digits · softmax_eql · s0 +│ +starting │", shown)


def test_time_left_is_that_of_this_attempt(
    runs: list[tuple[RunFolder, RunSpec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = console(terminal=True)
    run, spec = runs[0]
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = LiveProgress(on, 1)
    run.append_event(2, 64, {"train/loss": 1.0})
    progress.started(run, spec)
    on.print(progress._table())
    now[0] += 100
    run.append_event(12, 374, {"train/loss": 1.0})
    on.print(progress._table())
    assert "00:01:40" in written(on).split("runs ended")[-1]


def test_ended_runs_scroll_by(runs: list[tuple[RunFolder, RunSpec]]) -> None:
    on = console(terminal=True)
    run, spec = runs[0]
    with LiveProgress(on, 2) as progress:
        progress.started(run, spec)
        progress.reported(run, spec, {"iteration": 11})
        progress.ended(run, spec, FAILED)
    assert "FAILED  digits · cross_entropy · s0  RuntimeError: no [such] thing" in written(on)
    assert "1 of 2 runs ended" in written(on)
