"""One suite through everything that can end it: SIGKILL, Ctrl-C, SIGTERM; then to its end, which nothing has changed.

The program runs as a user's does, as a process of its own, with its own local Ray and an MLflow store on SQLite. Its
first run finishes at once; the second stops in mid-epoch and is interrupted there, three times. Calls that need no Ray
are of the same entry point, in this process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import small_suites
import torch

from eqbench import cli, cluster
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.trial import train_and_record

pytestmark = pytest.mark.ray
EQBENCH = [sys.executable, "-m", "eqbench.cli"]
RUN = ["run", "small.yaml", "--storage", "runs"]


@dataclass
class Call:
    """One `eqbench run`, how it ended, and what was there afterwards."""

    code: int
    output: str
    errors: str
    survivors: list[str]
    results: dict[str, dict[str, Any] | None]
    attempts: dict[str, int]
    states: dict[str, str]
    tracked: dict[str, str]
    """Status of every MLflow run by name, of the newest with that name."""
    leftovers: bool
    seconds: float
    checkpoint: int


@dataclass
class Story:
    """The calls in their order, and what was seen while the second was at work."""

    folder: Path
    calls: list[Call] = field(default_factory=list)
    states_at_work: dict[str, str] = field(default_factory=dict)
    reachable: set[str] = field(default_factory=set)
    second_at_the_same_time: tuple[int, str, str] | None = None
    program: subprocess.Popen[str] | None = None

    @property
    def suite(self) -> SuiteFolder:
        return SuiteFolder(self.folder / "runs", "small")

    def run(self, label: str) -> RunFolder:
        [found] = [run for run in self.suite.runs() if run.read_spec().loss_label == label]
        return found

    def kill(self) -> list[psutil.Process]:
        """SIGKILL for the program and everything it started; all of that."""
        if self.program is None or self.program.poll() is not None:
            return []
        children = psutil.Process(self.program.pid).children(recursive=True)
        self.program.kill()
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return children

    # -- calls ---------------------------------------------------------------------------------------------------

    def start(self, wait_at: int | None) -> subprocess.Popen[str]:
        wait = self.folder / "wait"
        wait.unlink(missing_ok=True)
        for file in self.folder.glob("waiting-*"):
            file.unlink()
        if wait_at:
            wait.write_text(str(wait_at))
        self.program = subprocess.Popen(
            [*EQBENCH, *RUN],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.program

    def until_in_mid_epoch(self, program: subprocess.Popen[str]) -> None:
        def in_mid_epoch() -> bool:
            assert program.poll() is None, program.communicate()
            finished = self.suite.read_plan() and self.run("cross_entropy").finished
            return bool(finished) and any(self.folder.glob("waiting-*"))

        small_suites.until(in_mid_epoch, "one run finished, the other in mid-epoch")

    def interrupt(self, program: subprocess.Popen[str], number: signal.Signals) -> list[psutil.Process]:
        """A signal: SIGINT goes to the process group, as a terminal sends it. Everything that the program started."""
        children = psutil.Process(program.pid).children(recursive=True)
        (os.killpg if number == signal.SIGINT else os.kill)(program.pid, number)
        return children

    def end(self, program: subprocess.Popen[str], children: Sequence[psutil.Process] = ()) -> None:
        """Wait for the program to end; note what there is then, and which of `children` are still there."""
        started = time.monotonic()
        output, errors = program.communicate(timeout=small_suites.PATIENCE_SECONDS)
        seconds = time.monotonic() - started
        _, alive = psutil.wait_procs(children, timeout=30)
        survivors = []
        for process in alive:
            with contextlib.suppress(psutil.Error):
                survivors.append(" ".join(process.cmdline()))
        self.calls.append(self.observe(program.returncode, output, errors, survivors, seconds))

    def observe(self, code: int, output: str, errors: str, survivors: list[str], seconds: float) -> Call:
        runs = {run.read_spec().loss_label: run for run in self.suite.runs()}
        return Call(
            code,
            output,
            errors,
            survivors,
            results={label: run.read_result() for label, run in runs.items()},
            attempts={label: run.attempts for label, run in runs.items()},
            states=self.states(),
            tracked={run.info.run_name: run.info.status for run in tracked_runs(self.folder)},
            leftovers=(self.suite.path / ".ray").exists(),
            seconds=seconds,
            checkpoint=runs["Waits"].newest_checkpoint,
        )

    def states(self) -> dict[str, str]:
        _, shown, _ = eqbench(self.folder, "status", "small", "--storage", "runs", "--json")
        return {entry["name"].split(" · ")[1]: entry["state"] for entry in json.loads(shown)}


def environment() -> dict[str, str]:
    mine = {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
    return {**os.environ, **mine}


def eqbench(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code and what is printed, of a call that must not need Ray."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(folder)
        patch.setattr(cluster, "connected", None)
        patch.setattr(sys, "argv", ["eqbench", *arguments])
        patch.setattr(sys, "path", [*sys.path])
        for name, value in environment().items():
            patch.setenv(name, value)
        output = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        errors = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        ended = stack.enter_context(pytest.raises(SystemExit))
        cli.main()
    return int(ended.value.code or 0), output.getvalue(), errors.getvalue()


def reachable(pid: int) -> set[str]:
    """Processes, of one and all that it started, that listen on more than loopback."""
    found = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            ports = [each for each in process.net_connections(kind="tcp") if each.status == psutil.CONN_LISTEN]
            if any(each.laddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1") for each in ports):
                found.add(" ".join(process.cmdline())[:60].strip())
    return found


def tracked_runs(folder: Path) -> list[Any]:
    """Runs of the suite in the folder's MLflow store, oldest first."""
    from eqbench.tracking.store import connect

    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    story = Story(tmp_path_factory.mktemp("survival"))
    try:
        tell(story)
        yield story
    finally:
        story.kill()


def tell(story: Story) -> None:
    waits = {"name": "faulty_losses:Waits", "folder": str(story.folder)}
    small_suites.write(story.folder / "small.yaml", small_suites.suite(losses=["cross_entropy", waits]))

    program = story.start(wait_at=8)
    story.until_in_mid_epoch(program)
    story.end(program, story.kill())

    program = story.start(wait_at=2)
    story.until_in_mid_epoch(program)
    story.states_at_work = story.states()
    story.reachable = reachable(program.pid)
    story.second_at_the_same_time = eqbench(story.folder, *RUN)
    story.end(program, story.interrupt(program, signal.SIGINT))

    program = story.start(wait_at=5)
    story.until_in_mid_epoch(program)
    story.end(program, story.interrupt(program, signal.SIGTERM))

    story.end(story.start(wait_at=None))
    started = time.monotonic()
    code, output, errors = eqbench(story.folder, *RUN)
    story.calls.append(story.observe(code, output, errors, [], time.monotonic() - started))


KILLED, CTRL_C, TERMINATED, LAST, AGAIN = range(5)


def test_nothing_is_left_of_a_killed_program_but_what_it_measured(story: Story) -> None:
    killed = story.calls[KILLED]
    assert killed.code == -signal.SIGKILL
    assert killed.survivors == []
    assert killed.states == {"cross_entropy": "finished", "Waits": "interrupted"}
    assert killed.checkpoint == 6


@pytest.mark.parametrize("call", [CTRL_C, TERMINATED])
def test_an_interrupt_ends_everything_and_says_how_to_go_on(story: Story, call: int) -> None:
    ended = story.calls[call]
    assert ended.code == 130, ended.errors
    assert ended.errors.strip().splitlines() == [
        f"eqbench: interrupted; nothing is lost, continue with: eqbench {' '.join(RUN)}"
    ]
    assert "Traceback" not in ended.output
    assert ended.survivors == []
    assert not ended.leftovers
    assert ended.states == {"cross_entropy": "finished", "Waits": "killed"}
    assert (ended.results["Waits"] or {})["status_detail"] == "interrupted; run again to continue"
    assert ended.tracked["digits · Waits · s0"] == "KILLED"
    assert Counter(ended.tracked.values()).keys() == {"FINISHED", "KILLED"}
    assert ended.seconds < 60


def test_interrupts_were_in_mid_epoch(story: Story) -> None:
    assert [call.checkpoint for call in story.calls] == [6, 6, 9, 22, 22]


def test_status_while_at_work(story: Story) -> None:
    assert story.states_at_work == {"cross_entropy": "finished", "Waits": "running"}


def test_a_local_ray_listens_on_loopback(story: Story) -> None:
    """Whoever reaches a port of Ray can run code; the store by which torch's workers find each other is none of it."""
    assert [name for name in story.reachable if not name.startswith("ray::RayTrainWorker")] == []


def test_a_second_program_on_the_same_suite_is_refused(story: Story) -> None:
    second = story.second_at_the_same_time
    assert second is not None
    code, _, errors = second
    assert code == 3
    assert errors.startswith(f"eqbench: {story.suite.path}: another eqbench process (pid ")
    assert errors.count("\n") == 1


def test_what_had_finished_was_not_trained_again(story: Story) -> None:
    assert [call.attempts["cross_entropy"] for call in story.calls] == [1] * 5
    first = story.calls[KILLED].results["cross_entropy"]
    assert first is not None
    assert all(call.results["cross_entropy"] == first for call in story.calls)


def test_the_interrupted_run_equals_one_that_never_was(story: Story, tmp_path: Path) -> None:
    last = story.calls[LAST]
    assert (last.code, last.attempts["Waits"]) == (0, 4), last.errors
    run = story.run("Waits")
    alone = RunFolder(tmp_path / run.run_id)
    alone.write_spec(run.read_spec())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(story.folder)
        assert train_and_record(alone, torch.device("cpu"), code={}) is None
    small_suites.assert_equal_bit_for_bit(run, alone)


def test_mlflow_has_each_step_once_and_nothing_is_running(story: Story) -> None:
    from eqbench.tracking.store import connect

    runs = tracked_runs(story.folder)
    children = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert Counter(run.info.status for run in runs) == {"FINISHED": 3, "KILLED": 3}
    assert {name: run.info.status for name, run in children.items()} == {
        "digits · cross_entropy · s0": "FINISHED",
        "digits · Waits · s0": "FINISHED",
    }
    client = connect(f"sqlite:///{story.folder / 'mlflow.db'}")
    for run in children.values():
        for key, steps in {"train/loss": [3, 6, 9, 11, 12, 15, 18, 21, 22], "val/top1": [11, 22]}.items():
            history = client.get_metric_history(run.info.run_id, key)
            assert sorted(metric.step for metric in history) == steps, (run.info.run_name, key)


def test_the_end_of_a_run_in_a_log(story: Story) -> None:
    last = story.calls[LAST]
    lines = last.output.splitlines()
    assert lines[0] == "small: 2 runs, 1 finished already, 1 to do"
    assert lines[1] == f"1 at once; results in {story.suite.path}"
    assert any("started again  digits · Waits · s0" in line for line in lines)
    assert any("iteration 22/22  digits · Waits · s0  train/loss " in line for line in lines)
    assert any("finished  digits · Waits · s0  top1 " in line and line.endswith("(1 of 1)") for line in lines)
    assert "cross_entropy  1" in last.output
    assert lines[-3:] == [
        f"results       {story.suite.path}",
        "look further  eqbench ui",
        "              eqbench leaderboard small --format markdown",
    ]
    assert last.errors == ""
    assert "\x1b" not in last.output
    assert not last.leftovers


def test_nothing_to_do_needs_no_ray(story: Story) -> None:
    again = story.calls[AGAIN]
    assert (again.code, again.errors) == (0, "")
    assert again.output.startswith("small: 2 runs, 2 finished already, 0 to do\n")
    assert "at once" not in again.output
    assert again.results == story.calls[LAST].results
