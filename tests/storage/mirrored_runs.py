"""Runs that seem to be trained: files as training writes them, on several machines with one mirror."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import random
from typing import Any

from pyarrow import fs

from eqbench.run_folder import RunFolder, write_atomically
from eqbench.storage.remote import Remote, RemoteProblem
from eqbench.storage.run_mirror import RunMirror

EVERY = 2
"""Iterations between two checkpoints."""


class Crash(BaseException):
    """The machine is gone."""


class CrashingRemote(Remote):
    """Ends the process after so many changes."""

    changes_left = 10**9
    refuses = False

    def _tried(self, what: str, path: str, act: Any) -> Any:
        if what in ("write", "delete"):
            if self.refuses:
                raise RemoteProblem(f"cannot {what} {path}: it refuses")
            if not self.changes_left:
                raise Crash
            self.changes_left -= 1
        return super()._tried(what, path, act)


def remote(folder: Path) -> CrashingRemote:
    """A mirror in a folder of this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    return CrashingRemote(fs.LocalFileSystem(), str(folder), f"file://{folder}")


class Machine:
    """A run's folder on one machine, and what training does to it."""

    def __init__(self, folder: Path, there: Remote) -> None:
        self.run = RunFolder(folder / "suite" / "run")
        self.run.path.mkdir(parents=True, exist_ok=True)
        self.mirror = RunMirror(self.run.path, there, "suite/run")

    def start(self) -> int:
        """Go on from what the mirror has; the iteration."""
        self.mirror = RunMirror(self.run.path, self.mirror.remote, "suite/run")
        self.mirror.fetch()
        self.mirror.fetch_checkpoint()
        self.run.start_attempt()
        checkpoints = [int(path.name) for path in self.run.checkpoints.glob("[0-9]*")]
        iteration = max(checkpoints, default=0)
        self.run.rewind_to(iteration)
        return iteration

    def step(self, iteration: int) -> None:
        """Train one iteration, with a record, and every few of them a checkpoint."""
        gradients = self.run.gradients / f"{iteration:09d}.parquet"
        gradients.parent.mkdir(exist_ok=True)
        write_atomically(gradients, str(iteration) * 3)
        self.run.append_event(iteration, iteration, {"train/loss": random()})
        if iteration % EVERY == 0:
            self.save(iteration)

    def save(self, iteration: int) -> None:
        """A checkpoint in place, and the one before the last removed."""
        folder = self.run.checkpoints / f"{iteration:09d}"
        folder.mkdir(parents=True, exist_ok=True)
        content = weights(self.run, iteration)
        (folder / "state.pt").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        manifest = {"version": 1, "iteration": iteration, "files": {"state.pt": {"sha256": digest}}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        for old in sorted(self.run.checkpoints.glob("[0-9]*"))[:-2]:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()

    def finish(self) -> None:
        self.run.write_result({"status": "finished", "status_detail": "", "metrics": {"top1": 1.0}, "cost": {}})


def weights(run: RunFolder, iteration: int) -> bytes:
    """What follows from the records up to `iteration`."""
    return json.dumps([event for event in run.read_events() if event["iteration"] <= iteration]).encode()


def assert_whole(run: RunFolder, iteration: int) -> None:
    """That nothing of the first `iteration` iterations is missing, all of it once, and what was saved is its result."""
    for state in run.checkpoints.glob(f"{iteration:09d}/state.pt"):
        assert state.read_bytes() == weights(run, iteration)
    assert [event["iteration"] for event in run.read_events() if event["iteration"] <= iteration] == [
        *range(1, iteration + 1)
    ]
    parts = {int(part.stem) for part in run.gradients.glob("*.parquet")}
    assert set(range(1, iteration + 1)) <= parts
