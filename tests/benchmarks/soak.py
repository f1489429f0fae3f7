"""The soak test: a suite on a cluster where something is killed every 20 seconds, and what became of its runs.

    make soak                                        # 30 minutes, 40 runs
    python -m tests.benchmarks.soak --minutes 6      # 8 runs

Killed with SIGKILL, at random: a worker, a trial's process, a whole node (another one joins), `eqbench run` itself
(started again at once), the MLflow server (back after some seconds). When the time is over, the rest of the suite goes
undisturbed to its end. Exit code 1 where a run is missing, differs from an undisturbed one in a single bit, or MLflow
disagrees.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.benchmarks.report import Table, describe_conditions, progress

ROOT = Path(__file__).resolve().parents[2]
MINUTES, RUNS = 30.0, 40
SECONDS_BETWEEN_KILLS = 20.0
SECONDS_OF_A_STEP = "0.08"
MINUTES_AFTERWARDS = 20.0
KINDS = ("worker", "trial", "node", "program", "MLflow")
INSTEAD = ("node", "MLflow")
EPOCHS = {"short": 4, "medium": 12, "long": 40, "pairs": 14}
SHARE = {"short": 0.3, "medium": 0.3, "long": 0.2, "pairs": 0.2}
STORAGE, SUITE = "runs", "soak"
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "EQBENCH_SOAK_SECONDS": SECONDS_OF_A_STEP,
}


@dataclass
class Soak:
    """What was done to the suite."""

    kills: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0
    disturbed: float = 0.0
    """Seconds until the last kill."""
    codes: list[int] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of kills; the number of runs follows")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed")
    parser.add_argument("--keep", action="store_true", help="leave the folder, as after a problem, and say where it is")
    options = parser.parse_args()

    from tests.benchmarks.__main__ import INHERITED

    for name in INHERITED:
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="eqs-", dir="/tmp"))
    conditions = describe_conditions()
    problems = ["it was interrupted"]
    try:
        prepare(folder, runs=max(4, round(RUNS * options.minutes / MINUTES)))
        problems, table = soak(folder, options.minutes * 60, Random(options.seed))
    finally:
        if options.keep or problems:
            progress(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(conditions, table, *problems, sep="\n\n")
    sys.exit(bool(problems))


def prepare(folder: Path, runs: int) -> None:
    """The suite and the surroundings of everything that is started from here."""
    from eqbench import cluster
    from tests import small_suites

    os.environ.update(cluster.DRIVER_ENVIRONMENT | SETTINGS)
    os.environ |= {"PYTHONPATH": f"{folder}:{ROOT}", "TMPDIR": str(folder), "RAY_TMPDIR": str(folder)}
    (folder / "ray").mkdir()
    steps = folder / "steps"
    steps.mkdir()
    os.environ["EQBENCH_SOAK_STEPS"] = str(steps)
    shutil.copy(Path(__file__).with_name("counted_steps.py"), folder)
    tasks = [small_suites.task(name=name, **shape(name, max(1, round(SHARE[name] * runs)))) for name in EPOCHS]
    small_suites.write(folder / f"{SUITE}.yaml", small_suites.suite(name=SUITE, tasks=tasks))
    os.chdir(folder)


def shape(name: str, runs: int) -> dict[str, Any]:
    """One task of the suite, so many runs: other weights for each seed, two workers for the pairs."""
    workers = {"num_workers": 2, "stuck_minutes": 2} if name == "pairs" else {}
    return {
        "model": {"name": "classifier", "backbone": "resnet8", "width": 4, "norm": "group"},
        "losses": ["counted_steps:Counted"],
        "seeds": list(range(runs)),
        "train": {"epochs": EPOCHS[name], "batch_size": 32, "deterministic": True, "evaluate_every_epochs": 4},
        "resources": {
            "cpus_per_worker": 1,
            "record_every": 10,
            "checkpoint_minutes": 0,
            "max_failures": 20,
            **workers,
        },
    }


def soak(folder: Path, seconds: float, random: Random) -> tuple[list[str], Table]:
    """Run the suite, disturbed for so long; what is wrong with its outcome, and the table."""
    from eqbench.run_folder import SuiteFolder
    from eqbench.suite import load_suite
    from tests.benchmarks import soak_outcome
    from tests.benchmarks.soak_cluster import scene

    specs = load_suite(folder / f"{SUITE}.yaml").expand()
    suite = SuiteFolder(folder / STORAGE, SUITE)
    command = ["run", f"{SUITE}.yaml", "--storage", STORAGE]
    with scene(folder, command) as (nodes, server, program):
        done = disturb(nodes, server, program, seconds, random, lambda: soak_outcome.unfinished(specs, suite))
        server.wait()
        synced = subprocess.run(
            [sys.executable, "-m", "eqbench.cli", "sync", "--storage", STORAGE],
            capture_output=True,
            text=True,
            check=False,
        )
        disagreements = [] if synced.returncode == 0 else [f"eqbench sync: {synced.stderr.strip()}"]
        disagreements += soak_outcome.disagreements(specs, suite, server.address)
    repeated = soak_outcome.steps(folder / "steps")
    progress("soak: the same runs undisturbed")
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    failures = soak_outcome.train_undisturbed(specs, undisturbed)
    problems = {
        "unfinished": soak_outcome.unfinished(specs, suite),
        "differs": soak_outcome.differing(specs, suite, undisturbed),
        "MLflow": disagreements,
        "undisturbed": [f"{run_id}: {failure}" for run_id, failure in failures.items()],
    }
    needed = sum(spec.budget.iterations * spec.resources.num_workers for spec in specs)
    lines = [f"{what}: {problem}" for what, found in problems.items() for problem in found]
    counts = {what: len(found) for what, found in problems.items()}
    return lines, tabulate(len(specs), done, soak_outcome.attempts(specs, suite), repeated / needed - 1, counts)


def disturb(
    nodes: Any, server: Any, program: Any, seconds: float, random: Random, missing: Callable[[], Sequence[str]]
) -> Soak:
    """Kill something every so often until every run has finished, or only wait for that when the time is over."""
    done = Soak()
    started = time.monotonic()
    due = started + SECONDS_BETWEEN_KILLS
    while missing():
        now = time.monotonic() - started
        if now > seconds + MINUTES_AFTERWARDS * 60:
            progress("soak: the suite does not come to its end")
            break
        if program.ended():
            progress(f"soak: eqbench run ended with exit code {program.codes[-1]}, {len(missing())} runs to do")
            if missing():
                program.start()
        elif now < seconds and time.monotonic() >= due:
            kind = kill(nodes, server, program, random)
            done.kills[kind] += 1
            done.disturbed = time.monotonic() - started
            due += SECONDS_BETWEEN_KILLS
            progress(f"soak: {now:.0f} s, killed: {kind}; {len(missing())} runs to do")
        time.sleep(0.2)
    done.wall = time.monotonic() - started
    deadline = time.monotonic() + 120
    while not program.ended() and time.monotonic() < deadline:
        time.sleep(0.2)
    done.codes = program.codes
    return done


def kill(nodes: Any, server: Any, program: Any, random: Random) -> str:
    """Kill one thing; which kind it was. Where no worker or trial is there at the moment, something else."""
    from tests.benchmarks.soak_cluster import TRIAL, WORKER

    kind = random.choice(KINDS)
    processes = {"worker": WORKER, "trial": TRIAL}
    if kind in processes:
        found = nodes.processes(processes[kind])
        if not found:
            kind = random.choice(INSTEAD)
        else:
            random.choice(found).kill()
    if kind == "node":
        nodes.replace(random)
    elif kind == "program":
        program.kill()
    elif kind == "MLflow":
        server.restart()
    return kind


def tabulate(runs: int, done: Soak, attempts: list[int], lost: float, problems: dict[str, int]) -> Table:
    table = Table(
        f"A suite of {runs} runs, with something killed every {SECONDS_BETWEEN_KILLS:.0f} s",
        "Handwritten digits, 44 to 440 iterations of at least 80 ms, every fifth run of two workers on two nodes; "
        "Ray Train on a head and two nodes of one CPU each, all on this machine; MLflow server on SQLite; checkpoint "
        "every 10 iterations. SIGKILL each time. *Repeated steps*: steps of all workers beyond those of undisturbed "
        "runs. *Equal*: metrics, records, gradient statistics, weights and optimizer state beside the same run without "
        "Ray. *MLflow*: after `eqbench sync`, each run there once, FINISHED, with the same values at the same steps; "
        "nothing RUNNING.",
        ("what", "measured"),
    )
    kills = ", ".join(f"{kind} {done.kills[kind]}" for kind in KINDS)
    odd = [code for code in done.codes if code not in (0, -9)]
    table.rows = [
        ("kills", f"{done.kills.total()}: {kills}"),
        ("wall time, of it with kills", f"{done.wall / 60:.1f} min, {done.disturbed / 60:.1f} min"),
        (
            "starts of the driver",
            f"{len(done.codes)}, of them ended by themselves before the end: {len(odd)} {odd or ''}",
        ),
        ("attempts of a run", f"mean {sum(attempts) / len(attempts):.1f}, most {max(attempts)}"),
        ("repeated steps", f"{lost:.1%}"),
        ("runs finished", f"{runs - problems['unfinished']} of {runs}"),
        ("equal bit for bit to undisturbed ones", f"{runs - problems['differs']} of {runs}"),
        ("MLflow agrees", "yes" if not problems["MLflow"] else f"**no**, in {problems['MLflow']}"),
    ]
    return table


if __name__ == "__main__":
    main()
