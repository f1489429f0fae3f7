"""The files of a run and of a suite: written whole or not at all, read back whatever a crash left."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import stat
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml

from eqbench.errors import EnvironmentProblem, InputError
from eqbench.run_folder import RunFolder, SuiteFolder, last_event, suites_in, write_atomically
from eqbench.run_spec import RunSpec

from .tiny_runs import in_process, planned, processes, tiny_spec

RESULT: dict[str, Any] = {"status": "finished", "status_detail": "", "metrics": {"top1": 50.0}, "cost": {}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return planned(tmp_path / "run", tiny_spec())


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFolder:
    folder = SuiteFolder(tmp_path / "runs", "tiny")
    folder.create()
    return folder


def iterations(run: RunFolder) -> list[int]:
    return [event["iteration"] for event in run.read_events()]


# -- writing whole files -----------------------------------------------------------------------------------------


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in ("first", b"second"):
        write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_text() == "second"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def _overfill(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        write_atomically(path, "x" * 2000)
    except OSError as error:
        Path(f"{path}.message").write_text(str(error))


def test_on_a_full_disk_the_old_content_stays_and_the_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, "old")
    assert in_process(_overfill, file) == 0
    assert Path(f"{file}.message").read_text() == f"[Errno 27] File too large: '{file}'"
    assert file.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "file.message"]


# -- specification and result ------------------------------------------------------------------------------------


def test_the_specification_is_read_back(run: RunFolder) -> None:
    assert run.read_spec() == tiny_spec()
    assert yaml.safe_load(run.spec_file.read_text())["seed"] == 3
    assert run.newest_checkpoint == 0
    assert (run.attempts, run.finished, run.read_result()) == (0, False, None)


def test_attempts_are_counted_and_forget_how_the_last_one_ended(run: RunFolder) -> None:
    assert run.start_attempt() == 1
    run.write_result({**RESULT, "status": "killed"})
    run.error_file.write_text("Traceback")
    assert run.start_attempt() == run.attempts == 2
    assert run.read_result() is None
    assert not run.error_file.exists()


@pytest.mark.parametrize("content", ["", "{", '{"attempt": 3', "[]", "null", b"\xff\xfe"])
def test_files_that_a_crash_cut_off_count_as_absent(content: str | bytes, run: RunFolder) -> None:
    for file in (run.state_file, run.result_file):
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    assert (run.attempts, run.finished, run.read_result()) == (0, False, None)
    with pytest.raises(InputError) as refused:
        run.intact_result()
    assert str(refused.value).startswith(f"{run.result_file}: cannot be read (")
    assert run.start_attempt() == 1


@pytest.mark.parametrize("attempt", ['"x"', "[1]", "null", "-1", "true", "1.5"])
def test_a_number_of_attempts_that_is_none_counts_as_absent(attempt: str, run: RunFolder) -> None:
    run.state_file.write_text(f'{{"attempt": {attempt}}}')
    assert run.attempts == 0


def test_a_folder_in_the_place_of_a_result(run: RunFolder) -> None:
    run.result_file.mkdir()
    assert not run.finished
    with pytest.raises(InputError, match=r"result.json: cannot be read \(it is a folder\)"):
        run.intact_result()


def test_only_a_finished_result_makes_a_run_finished(run: RunFolder) -> None:
    for status in ("finished", "failed", "killed"):
        run.write_result({**RESULT, "status": status})
        assert run.finished == (status == "finished")
    assert json.loads(run.result_file.read_text())["schema_version"] == 1


@pytest.mark.parametrize("version", [2, 0, None, "1"])
def test_a_result_of_another_schema_is_refused(version: Any, run: RunFolder) -> None:
    run.result_file.write_text(json.dumps({**RESULT, "schema_version": version}))
    with pytest.raises(InputError) as refused:
        run.read_result()
    assert str(refused.value) == f"{run.result_file}: schema_version: {version!r} is not known here; expected 1"


@pytest.mark.parametrize(("key", "value"), [("status", None), ("metrics", [1]), ("cost", 3), ("main_metric", 5)])
def test_a_file_that_is_not_a_result_is_refused(key: str, value: Any, run: RunFolder) -> None:
    run.write_result({**RESULT, key: value})
    with pytest.raises(InputError) as refused:
        run.read_result()
    assert str(refused.value).startswith(f"{run.result_file}: {key}: {value!r}, expected a ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_say_is_never_written(value: float, run: RunFolder) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_result({**RESULT, "metrics": {"top1": value}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_event(1, 8, {"train/loss": value})
    assert not run.result_file.exists()
    assert not run.events_file.exists()


# -- events ------------------------------------------------------------------------------------------------------


def test_events_are_read_in_order_and_from_the_end(run: RunFolder) -> None:
    assert run.read_events() == []
    assert last_event(run) is None
    for iteration in range(1, 101):
        run.append_event(iteration, 8 * iteration, {"train/loss": 1 / iteration})
    assert iterations(run) == list(range(1, 101))
    latest = run.read_events(newest_bytes=500)
    assert 1 < len(latest) < 10
    assert latest[-1]["samples"] == 800
    assert set(latest[-1]) == {"iteration", "samples", "time_ms", "metrics"}
    run.append_event(100, 800, {"val/top1": 40.0})
    event = last_event(run)
    assert event is not None
    assert event["metrics"] == {"train/loss": 0.01, "val/top1": 40.0}


@pytest.mark.parametrize(
    "half", [b'{"iteration": 2, "sam', b'{"iteration": 2, "metrics": {"a": 1', b"\0\0\0", b"7", b"{}"]
)
def test_a_line_that_a_crash_cut_off_is_left_out_and_costs_no_other(half: bytes, run: RunFolder) -> None:
    run.append_event(1, 8, {"train/loss": 1.0})
    with run.events_file.open("ab") as file:
        file.write(half)
    assert iterations(run) == [1]
    run.append_event(3, 24, {"train/loss": 1.0})
    assert iterations(run) == [1, 3]
    run.rewind_to(3)
    assert run.events_file.read_bytes().count(b"\n") == 2


def test_a_line_that_only_lacks_its_end_counts(run: RunFolder) -> None:
    run.append_event(1, 8, {})
    run.events_file.write_bytes(run.events_file.read_bytes().rstrip(b"\n"))
    run.append_event(2, 16, {})
    assert iterations(run) == [1, 2]


def test_rewinding_forgets_what_came_later(run: RunFolder) -> None:
    run.gradients.mkdir()
    for iteration in (2, 4, 6):
        run.append_event(iteration, 8 * iteration, {"train/loss": 1.0})
        run.append_event(iteration, 8 * iteration, {"val/top1": 1.0})
        (run.gradients / f"{iteration:09d}.parquet").touch()
    run.rewind_to(4)
    assert iterations(run) == [2, 2, 4, 4]
    run.rewind_to(4, evaluated=False)
    assert iterations(run) == [2, 2, 4]
    assert sorted(part.stem for part in run.gradients.iterdir()) == ["000000002", "000000004"]
    run.rewind_to(0)
    assert run.events_file.read_text() == ""


def test_the_newest_checkpoint_is_found_among_what_else_is_there(run: RunFolder) -> None:
    for name in ("000000008", "000000012", ".000000020.7.tmp", "000000099.bak", "notes"):
        (run.checkpoints / name).mkdir(parents=True)
    assert run.newest_checkpoint == 12


# -- one writer at a time ----------------------------------------------------------------------------------------


def _hold(path: Path, whole_suite: bool, parent: Connection) -> None:
    with SuiteFolder(path.parent, path.name).lock() if whole_suite else RunFolder(path).exclusively():
        parent.send("held")
        parent.recv()


@contextlib.contextmanager
def another_process_holds(path: Path, *, whole_suite: bool = False) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process that has the lock until something is sent to it."""
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_hold, args=(path, whole_suite, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "held"
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()


def test_a_run_is_written_by_one_process_at_a_time(run: RunFolder) -> None:
    refusal = "another process has been training this run"
    with another_process_holds(run.path) as (process, connection):
        with pytest.raises(EnvironmentProblem, match=refusal), run.exclusively(patience=0):
            pass
        threading.Timer(0.2, connection.send, ["release"]).start()
        with run.exclusively():
            process.join()
        assert process.exitcode == 0


def test_a_process_that_is_killed_does_not_hold_a_run(run: RunFolder) -> None:
    with another_process_holds(run.path) as (process, _):
        process.kill()
        process.join()
        with run.exclusively(patience=0):
            pass


def test_a_suite_is_worked_on_by_one_driver_at_a_time(suite: SuiteFolder) -> None:
    assert not suite.locked
    with another_process_holds(suite.path, whole_suite=True) as (process, connection):
        assert suite.locked
        with pytest.raises(EnvironmentProblem) as refused, suite.lock():
            pass
        who = f"another eqbench process (pid {process.pid})"
        assert str(refused.value) == f"{suite.path}: {who} works on this suite"
        connection.send("release")
        process.join()
        assert not suite.locked
    with suite.lock():
        assert suite.lock_file.read_text() == f"pid {os.getpid()}"


def test_looking_at_a_lock_needs_no_permission_to_write(suite: SuiteFolder) -> None:
    suite.lock_file.touch(mode=stat.S_IRUSR)
    assert not suite.locked


# -- suites ------------------------------------------------------------------------------------------------------


def specs(*seeds: int) -> list[RunSpec]:
    return [tiny_spec().model_copy(update={"seed": seed}) for seed in seeds]


def test_the_plan_comes_first_and_in_its_order(suite: SuiteFolder) -> None:
    earlier, later = specs(5, 6), specs(2, 1, 3)
    suite.write_plan(earlier, "name: tiny\n")
    suite.write_plan(later, "name: tiny\n")
    planned_ids = [run.run_id for run in suite.planned()]
    assert planned_ids[:3] == suite.read_plan() == [spec.run_id for spec in later]
    assert sorted(planned_ids[3:]) == sorted(spec.run_id for spec in earlier)
    assert [found.suite for found in suites_in(suite.path.parent)] == ["tiny"]
    assert suite.suite_file.read_text() == "name: tiny\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"run_ids": 3}', b'{"run_ids": [1]}', b'{"run_ids": [], "left_out": 1}', b"\xff"],
)
def test_a_damaged_plan_is_refused_and_an_absent_one_is_empty(content: bytes, suite: SuiteFolder) -> None:
    suite.write_plan(specs(1), "")
    suite.plan_file.write_bytes(content)
    for reading in (suite.read_plan, suite.planned, suite.left_out):
        with pytest.raises(InputError) as refused:
            reading()
        assert str(refused.value).startswith(f"{suite.plan_file}: ")
        assert str(refused.value).endswith("; delete it, and the next `eqbench run` writes it anew")
    suite.plan_file.unlink()
    assert (suite.read_plan(), len(suite.planned())) == ([], 1)


def test_a_run_whose_run_yaml_is_gone_is_known_by_its_result(suite: SuiteFolder) -> None:
    first, second = specs(1, 2)
    suite.write_plan([first, second], "")
    run = suite.run(first.run_id)
    run.write_result({**RESULT, "spec": first.model_dump(mode="json")})
    run.spec_file.unlink()
    suite.run(second.run_id).spec_file.unlink()
    assert [found.read_spec() for found in suite.runs()] == [first]
    run.write_result(RESULT)
    with pytest.raises(FileNotFoundError):
        run.read_spec()


def test_suites_are_found_below_the_home_folder(suite: SuiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.write_plan([], "")
    monkeypatch.setenv("HOME", str(suite.path.parents[1]))
    assert [found.path for found in suites_in(Path("~/runs"))] == [suite.path]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"cannot be written \(Not a directory\); choose another folder"):
        SuiteFolder(tmp_path / "file", "tiny").create()
    if os.geteuid() == 0:
        return  # root may write anywhere
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(EnvironmentProblem, match="Permission denied"):
        SuiteFolder(tmp_path / "closed", "tiny").create()
