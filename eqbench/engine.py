"""Runs on Ray: one Tune trial per run, one Train worker group per trial.

The driver of a trial takes no CPU, so the workers of the runs in progress can use all of them. A run's failure is its
result, never the suite's. What is finished is skipped, everything else continues from its newest checkpoint. Runs that
start from the weights of others come after these.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench import cluster, environment
from eqbench.cause import cause
from eqbench.errors import EnvironmentProblem
from eqbench.interruption import interruptible
from eqbench.origin import waves
from eqbench.room import DRIVER_MEMORY, HEAD, most_at_once, most_drivers
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import RunSpec
from eqbench.storage import training
from eqbench.storage.place import below
from eqbench.trial import run_trial

if TYPE_CHECKING:
    from eqbench.announcer import Watcher

logger = logging.getLogger(__name__)

TRIAL_DRIVER_RESOURCES: dict[str, float] = {"CPU": 0, "memory": DRIVER_MEMORY, HEAD: 1e-4}
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
        EnvironmentProblem: one of them does not fit at all, and the cluster does not grow; or its head is too small.
    """
    nodes = cluster.node_resources()
    if most_drivers(nodes) < 1:
        raise EnvironmentProblem(
            f"the head of the cluster has less than {DRIVER_MEMORY / 2**20:g} MiB of memory by Ray's count, which the "
            "process of a run takes there; start it with `ray start --head --memory=BYTES`, or on a larger machine"
        )
    if cluster.grows():
        more = most_at_once([spec.resources for spec in specs], nodes) + cluster.RUNS_WHILE_GROWING
        return int(min(more, len(specs), most_drivers(nodes)))
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
                    _train(wave, folder, scratch, results, [results, *watchers], say)
        except KeyboardInterrupt:
            interrupted = True
            stop_everything()
            mark_killed(specs, folder, watchers)
    return summarize(specs, folder, interrupted, results.status)


def _train(
    specs: Sequence[RunSpec],
    folder: SuiteFolder,
    scratch: str,
    results: _Results,
    watchers: Sequence[Watcher],
    say: Callable[[str], None],
) -> None:
    """Train runs until each of them has ended; one whose process is lost again and again has failed."""
    losses = Counter[str]()
    while todo := [spec for spec in specs if spec.run_id not in results.status]:
        results.begun.clear()
        reason = "its process was lost, again and again"
        try:
            _tune(todo, folder, below(scratch, f"{time.time_ns()}"), watchers, say)
        except RuntimeError as error:
            reason = lost_process(error)
            say(f"{reason}; going on")
        lost = [spec for spec in todo if spec.run_id in results.begun and spec.run_id not in results.status]
        for spec in lost:
            losses[spec.run_id] += 1
            if losses[spec.run_id] > TRIAL_DRIVER_FAILURES:
                _end(spec, folder.run(spec.run_id), "failed", reason, watchers)
        if not results.begun:
            return


def lost_process(error: RuntimeError) -> str:
    """Why Ray Tune gave up, where it was for the loss of a process that it does not expect: out of memory.

    Raises:
        RuntimeError: the same, for any other reason.
    """
    from ray.exceptions import RayError

    if not isinstance(error.__cause__, RayError):
        raise error
    return f"Ray has ended a trial's process: {cause(error.__cause__)}"


def _tune(
    specs: Sequence[RunSpec],
    folder: SuiteFolder,
    scratch: str,
    watchers: Sequence[Watcher],
    say: Callable[[str], None],
) -> None:
    from ray import tune

    from eqbench.announcer import Announcer
    from eqbench.run_queue import RunQueue, SaysWhatWaits

    paths = {str(folder.run(spec.run_id).path): spec for spec in specs}
    queue = RunQueue(paths, cluster.grows(), say)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, TRIAL_DRIVER_RESOURCES),
        param_space={
            "scratch": scratch,
            **training.for_workers(folder.path),
            "folder": str(Path.cwd()),
            "code": environment.git_state(),
        },
        tune_config=tune.TuneConfig(
            search_alg=queue,
            num_samples=len(paths),
            max_concurrent_trials=len(paths),  # the queue knows better; without it, Tune starts one after the other
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{len(paths)}-{time.time_ns()}",
            storage_path=scratch,
            verbose=0,
            callbacks=[Announcer(paths, watchers), SaysWhatWaits(queue)],
            failure_config=tune.FailureConfig(max_failures=TRIAL_DRIVER_FAILURES),
        ),
    )
    tuner.fit()


class _Results:
    """Remembers which runs have begun, and how each ended."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.status: dict[str, str] = {}

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self.begun.add(spec.run_id)

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
        _end(spec, run, "killed", "interrupted; run again to continue", watchers)


def _end(spec: RunSpec, run: RunFolder, status: str, detail: str, watchers: Sequence[Watcher]) -> None:
    result = unsuccessful_result(spec, run, status, detail)
    with contextlib.suppress(OSError, EnvironmentProblem), run.exclusively():
        run.write_result(result)
    for watcher in watchers:
        watcher.ended(run, spec, result)
