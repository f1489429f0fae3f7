"""`eqbench status`: the state of each run from what its folder holds."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import small_suites
from rich.console import Console

from eqbench import status
from eqbench.errors import InputError
from eqbench.run_folder import RunFolder, SuiteFolder

ENDED = {"status_detail": "", "main_metric": "top1", "metrics": {"top1": 81.25, "few": None}, "cost": {}}


@pytest.fixture
def folder(tmp_path: Path) -> SuiteFolder:
    """A suite of six runs, one in each state while no process works on it, and one that has not recorded anything."""
    folder = small_suites.planned(tmp_path, seeds=[0, 1, 2, 3, 4, 5], losses=["cross_entropy"])
    _, started, evaluated, killed, failed, finished = folder.planned()
    for run in (started, evaluated, killed, failed, finished):
        run.start_attempt()
    evaluated.append_event(11, 342, {"train/loss": 2.0})
    evaluated.append_event(11, 342, {"val/top1": 40.0, "val/few": 1.0})
    evaluated.append_event(12, 374, {"train/loss": 1.5})
    killed.write_result({**ENDED, "status": "killed", "status_detail": "interrupted", "metrics": {}})
    failed.write_result({**ENDED, "status": "failed", "status_detail": "RuntimeError: no", "metrics": {}})
    finished.append_event(22, 684, {"val/top1": 81.25})
    finished.write_result({**ENDED, "status": "finished"})
    return folder


def states(folder: SuiteFolder) -> list[str]:
    return [entry["state"] for entry in status.describe(folder)]


def test_states(folder: SuiteFolder) -> None:
    assert states(folder) == ["planned", "interrupted", "interrupted", "killed", "failed", "finished"]
    with folder.lock():
        assert states(folder) == ["planned", "running", "running", "killed", "failed", "finished"]


def test_an_entry_is_the_latest_of_everything(folder: SuiteFolder) -> None:
    entry = status.describe(folder)[2]
    run = folder.planned()[2]
    assert entry == {
        "name": "digits · cross_entropy · s2",
        "run_id": run.run_id,
        "state": "interrupted",
        "detail": "",
        "iteration": 12,
        "iterations": 22,
        "metric": "top1",
        "value": 40.0,
        "attempts": 1,
    }


def test_a_finished_run_shows_its_result(folder: SuiteFolder) -> None:
    entry = status.describe(folder)[5]
    assert (entry["iteration"], entry["metric"], entry["value"]) == (22, "top1", 81.25)


def test_table(folder: SuiteFolder) -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(status.table(folder, status.describe(folder)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "small: 1 of 6 runs finished" in shown
    assert "failed: RuntimeError: no" in shown
    assert "12/22   top1 40.0" in shown
    assert "22/22   top1 81.2" in shown


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"name: [", b"suite: x\n", b"- 1\n"])
def test_a_run_that_cannot_be_read(folder: SuiteFolder, content: bytes) -> None:
    run: RunFolder = folder.planned()[0]
    run.spec_file.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.yaml: cannot be read as a run"):
        status.describe(folder)


def test_watch_ends_when_nothing_runs(folder: SuiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "SECONDS_BETWEEN_LOOKS", 0.0)
    work = contextlib.ExitStack()
    work.enter_context(folder.lock())

    class Screen(io.StringIO):
        """The suite's process ends when the table has been shown three times."""

        shown = 0

        def write(self, text: str) -> int:
            if "runs finished" in text:
                self.shown += 1
                if self.shown == 3:
                    work.close()
            return super().write(text)

    screen = Screen()
    status.watch(folder, Console(file=screen, width=140, force_terminal=True))
    assert screen.shown >= 4
    assert not folder.locked
    assert "running" in screen.getvalue()


def test_watch_of_a_suite_at_rest_shows_it_once(folder: SuiteFolder) -> None:
    console = Console(file=io.StringIO(), width=140)
    status.watch(folder, console)
    assert console.file.getvalue().count("1 of 6 runs finished") == 1  # type: ignore[attr-defined]
