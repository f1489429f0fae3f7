"""Runs on Ray: one Tune trial per run, one Train worker group per trial.

The driver of a trial takes no CPU, so the workers of the runs in progress can use all of them. A run's failure is its
result, never the suite's. What is finished is skipped, everything else continues from its newest checkpoint. Runs that
start from the weights of others come after these.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench import cluster, environment
from eqbench.errors import EnvironmentProblem
from eqbench.interruption import interruptible
from eqbench.origin import waves
from eqbench.room import most_at_once
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import RunSpec
from eqbench.storage import training
from eqbench.storage.place import below
from eqbench.trial import run_trial

if TYPE_CHECKING:
    from eqbench.announcer import Watcher

logger = logging.getLogger(__name__)

TRIAL_DRIVER_RESOURCES: dict[str, float] = {"CPU": 0, "memory": 256 * 2**20, "node:__internal_head__": 1e-4}
"""On the head, which stays when a machine with workers goes."""
TRIAL_DRIVER_FAILURES = 2


@dataclass(frozen=True)
class Summary:
    """What became of the runs of one call, by run id."""

    finished: tuple[str, ...]
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]
    interrupted: bool

    @property
    def status(self) -> dict[str, str]:
        """`finished`, `failed` or `unfinished`, by run id."""
        return {run_id: name for name in ("finished", "failed", "unfinished") for run_id in getattr(self, name)}


def remaining(specs: Sequence[RunSpec], folder: SuiteFolder) -> list[RunSpec]:
    """The runs that have not finished yet, in order."""
    return [spec for spec in specs if not folder.run(spec.run_id).finished]


def room_for_all(specs: Sequence[RunSpec]) -> int:
    """How many of these runs may be in progress at once on the connected cluster.

    Raises:
        EnvironmentProblem: one of them does not fit at all, and the cluster does not grow.
    """
    nodes = cluster.node_resources()
    if cluster.grows():
        return max(most_at_once([spec.resources for spec in specs], nodes), min(len(specs), cluster.RUNS_WHILE_GROWING))
    for resources in {spec.resources: None for spec in specs}:
        cluster.concurrency(resources, nodes)
    return most_at_once([spec.resources for spec in specs], nodes)


def execute(
    specs: Sequence[RunSpec],
    folder: SuiteFolder,
    watchers: Sequence[Watcher] = (),
    say: Callable[[str], None] = logger.warning,
) -> Summary:
    """Train `specs` on the connected Ray; an interrupt (Ctrl-C, SIGTERM) ends it cleanly.

    Args:
        watchers: hear of every run.
        say: hears, in a sentence, that runs have been waiting for nodes.

    Raises:
        EnvironmentProblem: a run asks for more than the cluster has.
    """
    room_for_all(specs)
    interrupted = False
    results = _Results()
    with training.scratch(folder.path) as scratch:
        try:
            with interruptible():
                for wave in waves(specs):
                    _tune(wave, folder, below(scratch, f"{time.time_ns()}"), [results, *watchers], say)
        except KeyboardInterrupt:
            interrupted = True
            stop_everything()
            mark_killed(specs, folder, watchers)
    return summarize(specs, folder, interrupted, results.status)


def _tune(
    specs: Sequence[RunSpec],
    folder: SuiteFolder,
    scratch: str,
    watchers: Sequence[Watcher],
    say: Callable[[str], None],
) -> None:
    from ray import tune

    from eqbench.announcer import Announcer
    from eqbench.run_queue import RunQueue

    paths = {str(folder.run(spec.run_id).path): spec for spec in specs}
    tuner = tune.Tuner(
        tune.with_resources(run_trial, TRIAL_DRIVER_RESOURCES),
        param_space={
            "scratch": scratch,
            **training.for_workers(folder.path),
            "folder": str(Path.cwd()),
            "code": environment.git_state(),
        },
        tune_config=tune.TuneConfig(
            search_alg=RunQueue(paths, cluster.grows(), say),
            num_samples=len(paths),
            max_concurrent_trials=len(paths),  # the queue knows better; without it, Tune starts one after the other
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{len(paths)}-{time.time_ns()}",
            storage_path=scratch,
            verbose=0,
            callbacks=[Announcer(paths, watchers)],
            failure_config=tune.FailureConfig(max_failures=TRIAL_DRIVER_FAILURES),
        ),
    )
    tuner.fit()


class _Results:
    """Remembers how each run ended."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}

    def started(self, run: RunFolder, spec: RunSpec) -> None: ...

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self.status[spec.run_id] = result["status"]


def summarize(
    specs: Sequence[RunSpec], folder: SuiteFolder, interrupted: bool = False, known: Mapping[str, str] | None = None
) -> Summary:
    """What has become of `specs` so far: as `known`, else from their folders."""
    status = dict(known or {})
    for spec in specs:
        if spec.run_id not in status:
            result = folder.run(spec.run_id).read_result()
            status[spec.run_id] = result["status"] if result else "unfinished"
    return Summary(
        finished=tuple(run_id for run_id, state in status.items() if state == "finished"),
        failed=tuple(run_id for run_id, state in status.items() if state == "failed"),
        unfinished=tuple(run_id for run_id, state in status.items() if state not in ("finished", "failed")),
        interrupted=interrupted,
    )


def stop_everything() -> None:
    """Disconnect from Ray, which ends this driver's trials and their workers, and a local Ray altogether."""
    import ray

    ray.shutdown()


def mark_killed(specs: Sequence[RunSpec], folder: SuiteFolder, watchers: Sequence[Watcher]) -> None:
    """Runs that had started and not ended get the status `killed`; the next call continues them."""
    for spec in specs:
        run = folder.run(spec.run_id)
        if not run.attempts or run.read_result() is not None:
            continue
        result = unsuccessful_result(spec, run, "killed", "interrupted; run again to continue")
        with contextlib.suppress(OSError, EnvironmentProblem), run.exclusively():
            run.write_result(result)
        for watcher in watchers:
            watcher.ended(run, spec, result)
