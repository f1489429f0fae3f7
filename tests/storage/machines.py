"""Machines with one URI, each with a working folder and a name of its own, played by this process in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mirrored_runs import Machine

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.storage import lease, suite_mirror, training
from eqbench.storage.place import Place, place

PATIENCE_SECONDS = 30


class Machines:
    """Machines with one URI, by name."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._patch = patch
        self.there = root / "there"

    def __call__(self, name: str) -> Place:
        """From now on this process is on that machine."""
        self._patch.setenv("EQBENCH_CACHE", str(self._root / name))
        self._patch.setattr(lease.socket, "gethostname", lambda: name)
        return place(f"file://{self.there}")


def planned(here: Place) -> tuple[SuiteFolder, dict[str, Any]]:
    """A suite with one run, written as a driver writes it; the configuration of its trial."""
    folder = SuiteFolder(here.local, "suite")
    folder.create()
    run = folder.run("run")
    run.path.mkdir(exist_ok=True)
    run.spec_file.write_text("name: run\n")
    folder.suite_file.write_text("name: suite\n")
    folder.plan_file.write_text('{"suite": "suite", "run_ids": ["run"]}')
    suite_mirror.publish(folder.path, [run.path])
    return folder, {"run": str(run.path), **training.for_workers(folder.path)}


def machine_of(run: RunFolder) -> Machine:
    """As a worker works on it."""
    mirror = suite_mirror.mirror_of(run.path)
    assert mirror is not None
    return Machine(run.path.parents[1], mirror.remote)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
