"""One of several drivers, in a process of its own: all have a suite of the same name, each its own storage."""

from __future__ import annotations

import json
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from tracked_runs import begin, make_spec, record, write_files, write_result

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import Follower, Tracker


def storage_of(folder: Path, driver: int) -> Path:
    return folder / f"storage{driver}"


def runs_of(storage: Path, driver: int) -> list[RunFolder]:
    """A run that finishes, one that fails, one that is left in the middle."""
    suite = SuiteFolder(storage, "toy")
    return [suite.run(make_spec(3 * driver + number).run_id) for number in range(3)]


def end(run: RunFolder, **more: Any) -> None:
    """The rest of a run of which some events are recorded up to iteration 20."""
    record(run, 30, 40)
    write_files(run)
    write_result(run, **more)


def drive(folder: Path, driver: int, address: str, together: Barrier, patience: float) -> None:
    """Run a suite of three; what tracking says of it is in the storage, in said.json."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"  # a machine that is busy is no outage
    storage = storage_of(folder, driver)
    suite = SuiteFolder(storage, "toy")
    suite.create()
    suite.write_plan([make_spec(3 * driver + number) for number in range(3)], "name: toy\n")
    tracker = Tracker(address, suite)
    tracker.open(command="eqbench run toy")
    runs = runs_of(storage, driver)
    together.wait(patience)
    with Follower(tracker, interval=0.05) as follower:
        for run in runs:
            begin(run, 0)
            follower.follow(run)
        for run in runs:
            record(run, 10, 20)
        end(runs[0])
        follower.ended(runs[0])
        end(runs[1], status="failed", detail="out of memory")
        follower.ended(runs[1])
    level = tracker.close("FAILED")
    (storage / "said.json").write_text(json.dumps({"level": level, "reasons": tracker.reasons}))
