"""Tells the watchers of a suite what becomes of its trials."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ray import cloudpickle, tune

from eqbench.cause import cause
from eqbench.run_folder import RunFolder
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import RunSpec
from eqbench.trial import draw


class Watcher(Protocol):
    """Hears of every run as it starts, evaluates and ends. Called from the driver's main thread."""

    def started(self, run: RunFolder, spec: RunSpec) -> None: ...

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None: ...


class Announcer(tune.Callback):
    """A callback of Ray Tune that passes on what concerns runs.

    Args:
        specs: the run of each trial, by the path that is its `run` parameter.
        watchers: who is told.
    """

    hands_out_again = True
    """Whether a run that has lost its process before it was trained at all has not ended: it is handed out again."""

    def __init__(self, specs: Mapping[str, RunSpec], watchers: Sequence[Watcher]) -> None:
        self._specs = specs
        self._watchers = watchers
        self._endings: dict[str, dict[str, Any]] = {}
        self._attempts: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks; watchers belong to this process and are left out."""
        return {"_specs": {}, "_watchers": [], "_endings": {}, "_attempts": {}}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        run, _ = self._run_of(trial)
        self._attempts.setdefault(trial.config["run"], run.attempts)
        self._tell(trial, lambda watcher, run, spec: watcher.started(run, spec))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "ended" in result:
            self._endings[trial.config["run"]] = result
        elif "iteration" in result:
            self._tell(trial, lambda watcher, run, spec: watcher.reported(run, spec, result))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        path = trial.config["run"]
        ending = self._endings.get(path, {})
        self._end(trial, ending.get("failure", ""), json.loads(ending.get("result", "null")))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process was lost, again and again."""
        run, _ = self._run_of(trial)
        if run.attempts > self._attempts.get(trial.config["run"], -1) or not self.hands_out_again:
            self._end(trial, _why(trial), None)

    def _end(self, trial: Any, failure: str, result: dict[str, Any] | None) -> None:
        run, spec = self._run_of(trial)
        if result is None:
            result = unsuccessful_result(spec, run, "failed", failure or "it ended without a result")
            with contextlib.suppress(OSError):  # the watchers hear of it all the same
                run.write_result(result)
            if not run.plots.exists():  # its process was lost before it could draw them
                draw(run, spec)
        for watcher in self._watchers:
            watcher.ended(run, spec, result)

    def _tell(self, trial: Any, tell: Callable[[Watcher, RunFolder, RunSpec], None]) -> None:
        run, spec = self._run_of(trial)
        for watcher in self._watchers:
            tell(watcher, run, spec)

    def _run_of(self, trial: Any) -> tuple[RunFolder, RunSpec]:
        path = trial.config["run"]
        return RunFolder(Path(path)), self._specs[path]


def _why(trial: Any) -> str:
    """Why a trial has failed for good, by the file that Ray has just written here; it reaches the storage later."""
    with contextlib.suppress(Exception):  # none, or of a class that is not known here
        return cause(cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()))
    return "its process was lost, again and again"
