"""The whole quickstart on a cluster of three nodes, sent there by `eqbench submit`, while one of the nodes is killed.

    python -m tests.benchmarks.lost_node             # about 10 minutes on 4 cores

The task `two_stage` trains with two workers, on two nodes; beside it there is room for a run of one worker. When the
third of its runs is in mid-training, the node of one of its workers is killed and does not come back. Prints the log,
without the evaluations, what became of the runs, and whether MLflow has the same. Exit code 1 where a run is missing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from eqbench import cluster
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.suite import load_suite
from tests.benchmarks import soak_outcome
from tests.benchmarks.report import Table, describe_conditions, progress
from tests.benchmarks.soak_cluster import WORKER, MLflowServer, Nodes

ROOT = Path(__file__).resolve().parents[2]
NODES = 3
TASK = "two_stage"
CHANGES = (f"tasks.{TASK}.resources.num_workers=2", "resources.checkpoint_minutes=0.1")
FINISHED_BEFORE = 2
PATIENCE_SECONDS = 3600
LEFT_OUT = re.compile(r"  iteration |^\s|\(raylet\)|^command |^Running entrypoint")
"""Evaluations, the long command, and the many lines that Ray writes of a node that is lost."""
SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "COLUMNS": "150",
}


def main() -> None:
    from tests.benchmarks.__main__ import INHERITED

    for name in INHERITED:
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="eqn-", dir="/tmp"))
    conditions = describe_conditions()
    os.environ.update(cluster.DRIVER_ENVIRONMENT | SETTINGS)
    os.environ |= {"TMPDIR": str(folder), "RAY_TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    os.environ["EQBENCH_DATA"] = str(folder / "data")
    os.chdir(folder)
    (folder / "ray").mkdir()
    try:
        log, table, problems = show(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(conditions, "```text\n" + "\n".join(log) + "\n```", table, *problems, sep="\n\n")
    sys.exit(bool(problems))


def show(folder: Path) -> tuple[list[str], Table, list[str]]:
    """The log, what became of the runs, and what is wrong."""
    specs = load_suite(ROOT / "suites" / "quickstart.yaml", overrides=CHANGES).expand()
    suite = SuiteFolder(folder / "runs", "quickstart")
    server = MLflowServer(folder / "mlflow")
    os.environ["MLFLOW_TRACKING_URI"] = server.address  # of all nodes, and no setting of who submits
    nodes = Nodes(folder, NODES)
    del os.environ["MLFLOW_TRACKING_URI"], os.environ["RAY_ADDRESS"]
    try:
        server.wait()
        started = time.monotonic()
        log, code = submit(folder, nodes, [spec for spec in specs if spec.task_label == TASK], suite)
        minutes = (time.monotonic() - started) / 60
        disagreements = soak_outcome.disagreements(specs, suite, server.address)
    finally:
        nodes.shutdown()
        server.kill()
    unfinished = soak_outcome.unfinished(specs, suite)
    attempts = Counter(soak_outcome.attempts(specs, suite))
    table = Table(
        f"The quickstart on {NODES} nodes, one of which is killed",
        f"A head without CPUs and {NODES} nodes of one CPU, all on this machine; MLflow server on SQLite; `{TASK}` "
        "with two workers, all else with one.",
        ("what", "measured"),
    )
    table.rows = [
        ("runs finished", f"{len(specs) - len(unfinished)} of {len(specs)}"),
        ("from the submission to the end", f"{minutes:.1f} min"),
        *((f"runs of {number} attempt{'s' * (number > 1)}", attempts[number]) for number in sorted(attempts)),
        ("exit code of the submission", code),
        ("MLflow agrees", "yes" if not disagreements else f"**no**, in {len(disagreements)}"),
    ]
    wrong_code = [f"exit code {code}"] if code else []
    return log, table, [*unfinished, *disagreements, *wrong_code]


def submit(folder: Path, nodes: Nodes, pairs: Sequence[RunSpec], suite: SuiteFolder) -> tuple[list[str], int]:
    """Submit the suite and kill a node on the way; the log without the evaluations, and the exit code."""
    command = [sys.executable, "-m", "eqbench.cli", "submit", str(ROOT / "suites" / "quickstart.yaml")]
    command += ["--address", nodes.dashboard, "--storage", str(folder / "runs")]
    command += [word for change in CHANGES for word in ("-o", change)]
    file = folder / "submit.log"
    with file.open("a") as log:  # both of us write to it
        program = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    killed = ""
    try:
        while program.poll() is None and time.monotonic() < deadline:
            if not killed and (run := in_the_middle(pairs, suite)) and (worker := first_worker(nodes, run)):
                nodes.kill(worker)
                killed = f"{time.strftime('%H:%M:%S')}  -- killed: the node of a worker of {run.run_id} --"
                with file.open("a") as log:
                    log.write(f"{killed}\n")
                progress(killed)
            time.sleep(0.2)
    finally:
        program.kill()
        code = program.wait()
    lines = file.read_text().replace(str(folder), "/shared").replace(f"{ROOT}/", "").splitlines()
    lines = [line.rstrip() for line in lines if line.strip() and not LEFT_OUT.search(line)]
    ends = [number for number, line in enumerate(lines, start=1) if f"of {len(suite.runs())})" in line]
    return lines[: max(ends, default=len(lines))], code  # without the leaderboard


def in_the_middle(pairs: Sequence[RunSpec], suite: SuiteFolder) -> RunFolder | None:
    """A run of two workers that is in the second half, once some others have finished."""
    runs = [suite.run(spec.run_id) for spec in pairs]
    if sum(run.finished for run in runs) < FINISHED_BEFORE:
        return None
    for run, spec in zip(runs, pairs, strict=True):
        if not run.finished and 2 * run.newest_checkpoint > spec.budget.iterations:
            return run
    return None


def first_worker(nodes: Nodes, run: RunFolder) -> int | None:
    """The process that holds the lock of a run."""
    for process in nodes.processes(WORKER):
        with contextlib.suppress(psutil.Error):
            if any(file.path.startswith(str(run.path)) for file in process.open_files()):
                return process.pid
    return None


if __name__ == "__main__":
    main()
