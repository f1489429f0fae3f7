"""`eqbench sweep`: from a sweep to its trials, on Ray Tune, with MLflow kept level.

A run of one worker is trained in the process of its trial, which then takes the next one: a new process, with the
packages that it imports, would take longer than a short run. A run of several workers has a worker group of Ray Train.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from eqbench import cluster, engine, environment
from eqbench.errors import InputError
from eqbench.interruption import interruptible
from eqbench.progress import progress_for
from eqbench.run_folder import RunFolder, write_atomically
from eqbench.run_spec import Resources, RunSpec
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import Results
from eqbench.tracking import Follower, NullTracker, Tracker, resolve_uri, sync
from eqbench.trial import run_alone, run_trial

if TYPE_CHECKING:
    from eqbench.announcer import Watcher
    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.population_scheduler import PopulationScheduler
    from eqbench.sweep.proposer import Proposer
    from eqbench.sweep.schedulers import Stopping


@dataclass(frozen=True)
class Search:
    """What is searched, and where to."""

    sweep: Sweep
    storage: Path
    mlflow: bool = True
    verbose: bool = False
    resume: bool = False
    """Only go on with what is there."""
    retry_failed: bool = False

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.storage, self.sweep.name)

    @property
    def resources(self) -> Resources:
        """Of every run: they are no part of a space."""
        return self.sweep.default_specs()[0].resources


@dataclass(frozen=True)
class Outcome:
    """How `eqbench sweep` ended. `note`: why fewer settings were tried than asked for."""

    results: Results
    interrupted: bool
    note: str = ""


def launch(what: Search, console: Console) -> Outcome:
    """Try what has not been tried yet and return everything that was found.

    Raises:
        InputError: there is nothing to resume.
        EnvironmentProblem: the storage cannot be written, another process works on the sweep, Ray cannot be
            reached, or a run asks for more than there is.
    """
    folder, sweep = what.folder, what.sweep
    earlier = folder.entries(sweep.digest)
    if what.resume and not earlier:
        others = "its space or recipe was another" if folder.entries() else "nothing was run there"
        raise InputError(f"--resume: {folder.path} has no trial of this sweep to go on from ({others})")
    folder.create()
    uri = resolve_uri(sweep.mlflow.tracking_uri) if what.mlflow else ""
    with folder.lock():
        folder.write_sweep(_description(sweep))
        write_atomically(folder.suite_file, sweep.text)
        _say_what_was_there(what, console)
        with cluster.connected(what.verbose):
            at_once = cluster.concurrency(what.resources, cluster.node_resources())
            console.print(f"{at_once} at once; results in {folder.path}", highlight=False, soft_wrap=True)
            tracker = Tracker(uri, folder) if what.mlflow else NullTracker()
            outcome = _search(what, tracker, at_once, console)
    if what.mlflow and not outcome.interrupted:
        for reason in sync(what.storage, [folder.suite], uri).behind:
            console.print(f"MLflow is behind ({reason}); nothing is lost: run `eqbench sync` once it is back")
    return outcome


def _description(sweep: Sweep) -> dict[str, Any]:
    from eqbench.sweep.schema import section_as_data

    default = sweep.default_specs()
    return {
        "name": sweep.name,
        "digest": sweep.digest,
        "task": default[0].task_label,
        "loss": sweep.swept,
        "section": section_as_data(sweep.section),
        "epochs": sweep.epochs,
        "seeds": [spec.seed for spec in default],
    }


def _say_what_was_there(what: Search, console: Console) -> None:
    folder, sweep = what.folder, what.sweep
    trials = [folder.trial(entry) for entry in folder.entries(sweep.digest)]
    ended = sum(trial.status in ("finished", "stopped", "failed") for trial in trials)
    asked = sweep.section.trials
    console.print(f"{sweep.name}: {sweep.section.objective.describe()}", highlight=False)
    console.print(
        f"{asked if asked is not None else 'all'} settings, {len(trials)} trials begun, {ended} of them ended"
    )
    others = len(folder.entries()) - len(trials)
    if others:
        console.print(f"{others} trials of another space or recipe are kept apart")


def _search(what: Search, tracker: Tracker | NullTracker, at_once: int, console: Console) -> Outcome:
    from eqbench.sweep import conclusion

    folder = what.folder
    tracker.open(command=shlex.join(["eqbench", *sys.argv[1:]]), run_ids=_runs_so_far(what))
    status, interrupted, note = "FAILED", False, ""
    try:
        with Follower(tracker) as follower, progress_for(console, _most_runs(what)) as progress:
            note, interrupted = _execute(what, at_once, [progress, _Tracking(follower, tracker, folder)])
        results = folder.results()
        failed = any(trial.status == "failed" for trial in results.trials)
        status = "KILLED" if interrupted else "FAILED" if failed else "FINISHED"
        conclusion.write(results, what.sweep, folder)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    return Outcome(results, interrupted, note)


def _runs_so_far(what: Search) -> list[str]:
    """Of the trials that are there, and of those that every sweep begins with."""
    sweep = what.sweep
    specs = [*sweep.baseline_specs(), *sweep.default_specs()]
    ids = [run_id for entry in what.folder.entries(sweep.digest) for run_id in entry.run_ids]
    return list(dict.fromkeys([*(spec.run_id for spec in specs), *ids]))


def _most_runs(what: Search) -> int:
    sweep = what.sweep
    seeds = len(sweep.default_specs())
    settings = sweep.section.trials
    if settings is None:
        settings = sweep.section.space.size or 0
    return len(sweep.baseline_specs()) + seeds + settings * seeds


class _Tracking:
    """Tells MLflow of runs as they are handed out."""

    def __init__(self, follower: Follower, tracker: Tracker | NullTracker, folder: SweepFolder) -> None:
        self._follower = follower
        self._tracker = tracker
        self._folder = folder

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self._tracker.adopt([spec.run_id])
        self._follower.follow(run)

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._follower.ended(run)


def _execute(what: Search, at_once: int, watchers: Sequence[Watcher]) -> tuple[str, bool]:
    """Search until the end or an interrupt; why it ended before its time, and whether it was interrupted."""
    from eqbench.sweep import population, schedulers, search
    from eqbench.sweep.population_scheduler import PopulationScheduler
    from eqbench.sweep.proposer import Proposer

    folder, section = what.folder, what.sweep.section
    scratch = folder.path / ".ray"
    shutil.rmtree(scratch, ignore_errors=True)  # of a call that was killed
    config: dict[str, Any] = {"scratch": str(scratch), "folder": str(Path.cwd()), "code": environment.git_state()}
    scheduler: Stopping | PopulationScheduler
    if section.scheduler.name == population.NAME:
        scheduler = PopulationScheduler(what.sweep, folder)
        config["every_epochs"] = scheduler.every_epochs
    else:
        scheduler = schedulers.build(section.scheduler, section.objective.goals[0], what.sweep.epochs)
    found = search.build(section.search, section.space, section.objective, at_once)
    proposer = Proposer(what.sweep, folder, found, scheduler, config, what.retry_failed)
    try:
        with interruptible():
            _tune(what, proposer, scheduler, scratch, at_once, [proposer, *watchers])
        return proposer.note, False
    except KeyboardInterrupt:
        engine.stop_everything()
        engine.mark_killed(list(proposer.specs.values()), folder, watchers)
        return "", True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _tune(
    what: Search, proposer: Proposer, scheduler: Any, scratch: Path, at_once: int, watchers: Sequence[Watcher]
) -> None:
    from ray import tune

    from eqbench.sweep.announcer import SweepAnnouncer
    from eqbench.sweep.population_scheduler import PopulationScheduler

    resources = what.resources
    alone = resources.num_workers == 1
    if alone:
        trainable = tune.with_resources(run_alone, _per_trial(resources))
    else:
        trainable = tune.with_resources(run_trial, engine.TRIAL_DRIVER_RESOURCES)
    announcer = SweepAnnouncer(proposer.specs, watchers, scheduler=what.sweep.section.scheduler.name)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=None if isinstance(scheduler, PopulationScheduler) else at_once,
            reuse_actors=alone,
        ),
        run_config=tune.RunConfig(
            name=f"sweep-{time.time_ns()}",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[announcer],
            failure_config=tune.FailureConfig(
                max_failures=resources.max_failures if alone else engine.TRIAL_DRIVER_FAILURES
            ),
        ),
    )
    tuner.fit()


def _per_trial(resources: Resources) -> dict[str, float]:
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker, **gpus}
