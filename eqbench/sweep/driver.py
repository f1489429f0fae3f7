"""`eqbench sweep`: from a sweep to its trials, on Ray Tune, with MLflow kept level.

A run of one worker is trained in the process of its trial, which then takes the next one: a new process, with the
packages that it imports, would take longer than a short run. A run of several workers has a worker group of Ray Train.
"""

from __future__ import annotations

import shlex
import sys
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
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import Resources, RunSpec
from eqbench.storage import training
from eqbench.storage.driving import Driving, driving
from eqbench.storage.place import place_of, shown
from eqbench.storage.suite_mirror import fetch_suite
from eqbench.sweep import conclusion, tuning
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import Results
from eqbench.tracking import Follower, NullTracker, Tracker, resolve_uri, sync

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
    lost: str = ""
    """Why Ray Tune gave up in the middle; what it trained goes on from its checkpoints."""


def launch(what: Search, console: Console) -> Outcome:
    """Try what has not been tried yet and return everything that was found.

    Raises:
        InputError: there is nothing to resume.
        EnvironmentProblem: the storage cannot be written, another process works on the sweep, Ray cannot be
            reached, or a run asks for more than there is.
    """
    folder, sweep = what.folder, what.sweep
    refuse_population(what)
    fetch_suite(folder.path)
    earlier = folder.entries(sweep.digest)
    if what.resume and not earlier:
        others = "its space or recipe was another" if folder.entries() else "nothing was run there"
        raise InputError(f"--resume: {folder.path} has no trial of this sweep to go on from ({others})")
    folder.create()
    uri = resolve_uri(sweep.mlflow.tracking_uri) if what.mlflow else ""
    with folder.lock(), driving(folder.path) as mirror, training.scratch(folder.path) as scratch:
        _say_what_was_there(what, console)
        outcome = None
        while (plan := _plan(what, scratch)).proposer.queued:
            with cluster.connected(what.verbose):
                at_once = cluster.room_for(what.resources, cluster.RUNS_WHILE_GROWING)
                console.print(f"{at_once} at once; results in {shown(folder.path)}", highlight=False, soft_wrap=True)
                _remember(what)
                tracker = Tracker(uri, folder) if what.mlflow else NullTracker()
                outcome = _search(what, plan, tracker, at_once, mirror, console)
            if not outcome.lost:
                break
            console.print(f"{outcome.lost}; going on", highlight=False, soft_wrap=True)
            _give_up_on_worn_out(what, plan, outcome.lost)
        if outcome is None or outcome.lost:
            _remember(what)
            outcome = Outcome(folder.results(), interrupted=False, note=plan.proposer.note)
            conclusion.write(outcome.results, sweep, folder)
    if what.mlflow and not outcome.interrupted:
        for reason in sync(what.storage, [folder.suite], uri).behind:
            console.print(f"MLflow is behind ({reason}); nothing is lost: run `eqbench sync` once it is back")
    return outcome


def refuse_population(what: Search) -> None:
    """Members go on from each other's checkpoints all the time, which a folder on each machine is too slow for.

    Raises:
        InputError: the scheduler is pbt, and the storage is a URI.
    """
    if what.sweep.section.scheduler.name == "pbt" and (place := place_of(what.storage)):
        raise InputError(
            f"--storage {place.shown}: a sweep with the scheduler pbt needs a folder that all machines share; expected "
            "e.g. --storage /shared/runs, or another scheduler"
        )


def _give_up_on_worn_out(what: Search, plan: _Plan, reason: str) -> None:
    """Runs that were in progress and have lost their process more often than they may have failed."""
    for spec in plan.proposer.specs.values():
        run = what.folder.run(spec.run_id)
        if run.attempts > spec.resources.max_failures and run.read_result() is None:
            run.write_result(unsuccessful_result(spec, run, "failed", reason))


def _remember(what: Search) -> None:
    """Which sweep the folder's results are of, from now on."""
    what.folder.write_sweep(what.sweep.description())
    write_atomically(what.folder.suite_file, what.sweep.text)


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


def _search(
    what: Search, plan: _Plan, tracker: Tracker | NullTracker, at_once: int, mirror: Driving, console: Console
) -> Outcome:
    folder = what.folder
    tracker.open(command=shlex.join(["eqbench", *sys.argv[1:]]), run_ids=plan.proposer.queued)
    status, interrupted, lost = "FAILED", False, ""
    try:
        with Follower(tracker) as follower, progress_for(console, _most_runs(what)) as progress:
            try:
                interrupted = _execute(what, plan, at_once, mirror, [progress, _Tracking(follower, tracker)])
            except RuntimeError as error:
                lost = engine.lost_process(error)
        results = folder.results()
        failed = any(trial.status == "failed" for trial in results.trials)
        status = "KILLED" if interrupted else "FAILED" if failed or lost else "FINISHED"
        conclusion.write(results, what.sweep, folder)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    return Outcome(results, interrupted, "" if interrupted else plan.proposer.note, lost)


def _most_runs(what: Search) -> int:
    sweep = what.sweep
    seeds = len(sweep.default_specs())
    settings = sweep.section.trials
    if settings is None:
        settings = sweep.section.space.size or 0
    return len(sweep.baseline_specs()) + seeds + settings * seeds


class _Tracking:
    """Tells MLflow of runs as they are handed out."""

    def __init__(self, follower: Follower, tracker: Tracker | NullTracker) -> None:
        self._follower = follower
        self._tracker = tracker

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self._tracker.adopt([spec.run_id])
        self._follower.follow(run)

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._follower.ended(run)


@dataclass(frozen=True)
class _Plan:
    """What proposes, what stops, and where Ray may write."""

    proposer: Proposer
    scheduler: Stopping | PopulationScheduler
    scratch: str


def _plan(what: Search, scratch: str) -> _Plan:
    """Read what was tried so far; nothing is started."""
    cluster.prepare_environment()
    from eqbench.sweep import population, schedulers, search
    from eqbench.sweep.population_scheduler import PopulationScheduler
    from eqbench.sweep.proposer import Proposer

    folder, section = what.folder, what.sweep.section
    config: dict[str, Any] = {
        "scratch": scratch,
        **training.for_workers(folder.path),
        "folder": str(Path.cwd()),
        "code": environment.git_state(),
    }
    scheduler: Stopping | PopulationScheduler
    if section.scheduler.name == population.NAME:
        scheduler = PopulationScheduler(what.sweep, folder)
        config["every_epochs"] = scheduler.every_epochs
    else:
        scheduler = schedulers.build(section.scheduler, section.objective.goals[0], what.sweep.epochs)
    found = search.build(section.search, section.space, section.objective, concurrent=2)
    return _Plan(Proposer(what.sweep, folder, found, scheduler, config, what.retry_failed), scheduler, scratch)


def _execute(what: Search, plan: _Plan, at_once: int, mirror: Driving, watchers: Sequence[Watcher]) -> bool:
    """Search until the end or an interrupt; whether it was interrupted."""
    proposer = plan.proposer
    try:
        with interruptible():
            tuning.tune_runs(what, proposer, plan.scheduler, plan.scratch, at_once, [mirror, proposer, *watchers])
        return False
    except KeyboardInterrupt:
        engine.stop_everything()
        engine.mark_killed(list(proposer.specs.values()), what.folder, [mirror, *watchers])
        return True
