"""Runs on Ray: one Tune trial per run, one Train worker group per trial.

The driver of a trial takes no CPU, so the workers of the runs in progress can use all of them. A run's failure is its
result, never the suite's. What is finished is skipped, everything else continues from its newest checkpoint.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench import cluster, environment
from eqbench.run_folder import SuiteFolder
from eqbench.run_spec import Resources, RunSpec
from eqbench.trial import run_trial, unsuccessful_result

if TYPE_CHECKING:
    from eqbench.announcer import Watcher

TRIAL_DRIVER_RESOURCES: dict[str, float] = {"CPU": 0, "memory": 256 * 2**20}
TRIAL_DRIVER_FAILURES = 2


@dataclass(frozen=True)
class Summary:
    """What became of the runs of one call, by run id."""

    finished: tuple[str, ...]
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]
    interrupted: bool


def remaining(specs: Sequence[RunSpec], folder: SuiteFolder) -> list[RunSpec]:
    """The runs that have not finished yet, in order."""
    return [spec for spec in specs if not folder.run(spec.run_id).finished]


def plan_concurrency(specs: Sequence[RunSpec]) -> dict[Resources, int]:
    """How many runs of each shape of resources fit the connected cluster at once.

    Raises:
        EnvironmentProblem: a run does not fit at all.
    """
    nodes = cluster.node_resources()
    return {spec.resources: cluster.concurrency(spec.resources, nodes) for spec in specs}


def execute(specs: Sequence[RunSpec], folder: SuiteFolder, watchers: Sequence[Watcher] = ()) -> Summary:
    """Train `specs` on the connected Ray; an interrupt (Ctrl-C, SIGTERM) ends it cleanly.

    Raises:
        EnvironmentProblem: a run asks for more than the cluster has.
    """
    shapes = plan_concurrency(specs)
    by_shape = [(shape, [spec for spec in specs if spec.resources == shape]) for shape in shapes]
    interrupted = False
    scratch = folder.path / ".ray" / f"{time.time_ns()}"
    try:
        with _interruptible():
            for shape, group in by_shape:
                _tune(group, folder, scratch, shapes[shape], watchers)
    except KeyboardInterrupt:
        interrupted = True
        _stop_everything()
        _mark_killed(specs, folder, watchers)
    shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):
        scratch.parent.rmdir()
    return summarize(specs, folder, interrupted)


def _tune(
    specs: Sequence[RunSpec], folder: SuiteFolder, scratch: Path, at_once: int, watchers: Sequence[Watcher]
) -> None:
    from ray import tune

    from eqbench.announcer import Announcer

    paths = [str(folder.run(spec.run_id).path) for spec in specs]
    tuner = tune.Tuner(
        tune.with_resources(run_trial, TRIAL_DRIVER_RESOURCES),
        param_space={
            "run": tune.grid_search(paths),
            "scratch": str(scratch),
            "code": environment.git_state(),
        },
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once, reuse_actors=True),
        run_config=tune.RunConfig(
            name=f"tune-{len(paths)}-{time.time_ns()}",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[Announcer(dict(zip(paths, specs, strict=True)), watchers)],
            failure_config=tune.FailureConfig(max_failures=TRIAL_DRIVER_FAILURES),
        ),
    )
    tuner.fit()


def summarize(specs: Sequence[RunSpec], folder: SuiteFolder, interrupted: bool = False) -> Summary:
    """What has become of `specs` so far, from their folders."""
    status = {}
    for spec in specs:
        result = folder.run(spec.run_id).read_result()
        status[spec.run_id] = result["status"] if result else "unfinished"
    return Summary(
        finished=tuple(run_id for run_id, state in status.items() if state == "finished"),
        failed=tuple(run_id for run_id, state in status.items() if state == "failed"),
        unfinished=tuple(run_id for run_id, state in status.items() if state not in ("finished", "failed")),
        interrupted=interrupted,
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt like Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_everything() -> None:
    """Disconnect from Ray, which ends this driver's trials and their workers, and a local Ray altogether."""
    import ray

    ray.shutdown()


def _mark_killed(specs: Sequence[RunSpec], folder: SuiteFolder, watchers: Sequence[Watcher]) -> None:
    """Runs that had started and not ended get the status `killed`; the next call continues them."""
    for spec in specs:
        run = folder.run(spec.run_id)
        if run.attempts and run.read_result() is None:
            with run.exclusively():
                run.write_result(unsuccessful_result(spec, run, "killed", "interrupted; run again to continue"))
            for watcher in watchers:
                watcher.ended(run, spec, unsuccessful_result(spec, run, "killed", "interrupted"))
