"""How long it takes from the start of `eqbench run` to the end of the first training step, and where it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.suite import load_suite
from tests.benchmarks.report import Series, Table, progress
from tests.benchmarks.runs import plan, train_without_ray

REPEATS = 3
OVERRIDES = ("train.epochs=1", "resources.record_every=1", "losses=[softmax_eql]")
SAID_AT_THE_END_OF_A_STAGE = ("to do", "at once", "started")
STAGES = (
    "Python, imports, the suite and its data checked",
    "Ray started",
    "Tune has started the trial",
    "the worker runs, its imports done",
    "model and data loaded",
    "first step",
)


def measure(scratch: Path) -> Iterator[Table]:
    """Several starts of the same one-run suite, each from nothing, in turn with starts without Ray."""
    starts, plain = [], []
    for repeat in range(REPEATS):
        progress(f"startup: {repeat + 1} of {REPEATS}")
        starts.append(_timeline(scratch / f"ray{repeat}"))
        plain.append(_start_without_ray(scratch / f"plain{repeat}"))
    table = Table(
        "From `eqbench run quickstart` to the first training step",
        "suites/quickstart.yaml with one run. The first step has ended when its event is written (`record_every: 1`); "
        f"the stages are read from the output and the run's files. Median and range of {REPEATS} starts.",
        ("stage", "seconds"),
    )
    for index, stage in enumerate(STAGES):
        table.rows.append((stage, Series([later[index + 1] - later[index] for later in starts], digits=2)))
    table.rows.append(("**all**", Series([times[-1] - times[0] for times in starts], digits=2)))
    table.rows.append(("for comparison: the loop in a process without Ray", Series(plain, digits=2)))
    yield table


def _timeline(folder: Path) -> list[float]:
    """Unix seconds of the process start and of the end of each stage."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "eqbench.cli", "run", "quickstart", "--seeds", "0", "--storage", str(folder)]
    for override in OVERRIDES:
        command += ["-o", override]
    said: dict[str, float] = {}
    output = ""
    start = time.time()
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            output += line
            for words in SAID_AT_THE_END_OF_A_STAGE:
                if words in line:
                    said.setdefault(words, time.time())
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{output}")
    (run,) = SuiteFolder(folder, "quickstart").runs()
    times = [
        start,
        *(said[words] for words in SAID_AT_THE_END_OF_A_STAGE),
        json.loads(run.state_file.read_text())["started"],
        (run.path / "dataset.json").stat().st_mtime,
        first_step(run),
    ]
    assert all(before <= after for before, after in pairwise(times)), times
    return times


def _start_without_ray(folder: Path) -> float:
    (run,) = plan(load_suite("quickstart", OVERRIDES), folder, seeds=[0])
    start = time.time()
    train_without_ray(run)
    return first_step(run) - start


def first_step(run: RunFolder) -> float:
    """Unix seconds of the end of a run's first training step."""
    return float(run.read_events()[0]["time_ms"]) / 1000
