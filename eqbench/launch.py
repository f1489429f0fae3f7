"""`eqbench run`: from a suite to its finished runs, with progress on the console and MLflow kept level."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eqbench import cluster, engine, origin
from eqbench.errors import EqbenchError
from eqbench.progress import progress_for
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import Origin, RunSpec
from eqbench.storage.driving import Driving, driving
from eqbench.storage.place import shown
from eqbench.storage.suite_mirror import fetch_suite, publish
from eqbench.suite import Suite
from eqbench.tracking import Follower, NullTracker, Tracker, resolve_uri, sync


@dataclass(frozen=True)
class Launch:
    """What is run, and where to."""

    suite: Suite
    specs: list[RunSpec]
    storage: Path
    mlflow: bool = True
    verbose: bool = False
    seeds: list[int] | None = None
    """Instead of the suite's."""
    only: Sequence[str] = ()
    """The filters that `specs` passed."""

    @property
    def plan(self) -> list[RunSpec]:
        """Every run of the suite, so that the leaderboard shows what a filter left out as such.

        Data of tasks that were left out need not be there; then the plan is what is run.
        """
        seeds = {spec.seed for spec in self.specs}
        try:
            return [spec for spec in self.suite.expand(seeds=self.seeds) if spec.seed in seeds]
        except EqbenchError:
            return self.specs

    @property
    def folder(self) -> SuiteFolder:
        return SuiteFolder(self.storage, self.suite.name)

    def write_plan(self) -> None:
        """Write down every run of the suite, and which of them the filters left out."""
        plan, chosen = self.plan, {spec.run_id for spec in self.specs}
        options = " ".join(f"--only {text}" for text in self.only)
        left_out = {spec.run_id: options for spec in plan if options and spec.run_id not in chosen}
        self.folder.write_plan(plan, self.suite.text, left_out)


class _Tracking:
    """Tells the follower which runs are in progress."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self._follower.follow(run)

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._follower.ended(run)


def launch(what: Launch, console: Console) -> engine.Summary:
    """Run what is not finished yet and return what became of all of it.

    Raises:
        EnvironmentProblem: the storage cannot be written, another process works on the suite, Ray cannot be
            reached, or a run asks for more than there is.
    """
    folder = what.folder
    folder.create()
    uri = resolve_uri(what.suite.mlflow.tracking_uri) if what.mlflow else ""
    with folder.lock(), driving(folder.path) as mirror:
        todo = engine.remaining(what.specs, folder)
        skipped = len(what.specs) - len(todo)
        console.print(f"{what.suite.name}: {len(what.specs)} runs, {skipped} finished already, {len(todo)} to do")
        origin.check_finished(todo, what.storage)
        if todo:
            with cluster.connected(what.verbose):
                at_once = engine.room_for_all(todo)
                console.print(f"{at_once} at once; results in {shown(folder.path)}", highlight=False, soft_wrap=True)
                what.write_plan()
                publish(folder.path, [folder.run(spec.run_id).path for spec in todo])
                tracker = Tracker(uri, folder) if what.mlflow else NullTracker()
                return _run(what.specs, todo, folder, tracker, mirror, console)
        what.write_plan()
    if what.mlflow:
        _say_if_behind(sync(what.storage, [folder.suite], uri).behind, console)
    return engine.summarize(what.specs, folder)


def _run(
    specs: Sequence[RunSpec],
    todo: Sequence[RunSpec],
    folder: SuiteFolder,
    tracker: Tracker | NullTracker,
    mirror: Driving,
    console: Console,
) -> engine.Summary:
    tracker.open(command=shlex.join(["eqbench", *sys.argv[1:]]), run_ids=[spec.run_id for spec in todo])
    status = "FAILED"
    try:
        with Follower(tracker) as follower, progress_for(console, len(todo)) as progress:
            summary = engine.execute(todo, folder, [mirror, progress, _Tracking(follower)], _say_on(console))
        status = "KILLED" if summary.interrupted else "FAILED" if summary.failed or summary.unfinished else "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    _say_if_behind([tracker.behind] if tracker.behind else [], console)
    if summary.interrupted:
        raise KeyboardInterrupt
    return engine.summarize(specs, folder, known=summary.status)


def _say_on(console: Console) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    return say


def _say_if_behind(reasons: Sequence[str], console: Console) -> None:
    for reason in reasons:
        console.print(f"MLflow is behind ({reason}); nothing is lost: run `eqbench sync` once it is back")


def dry_run(what: Launch, console: Console) -> None:
    """Print the runs, what would be skipped or continued, and what each needs; start nothing."""
    title = f"{what.suite.name}: {len(what.specs)} runs"
    fetch_suite(what.folder.path)
    todo = engine.remaining(what.specs, what.folder)
    waiting = origin.without_origin(todo, what.storage)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("run", "id", "would", "iterations", "samples", "workers"):
        table.add_column(heading, justify="right" if heading in ("iterations", "samples") else "left")
    for spec in what.specs:
        run = what.folder.run(spec.run_id)
        budget = spec.budget
        cost = f"{budget.iterations:,}", f"{budget.samples:,}"
        table.add_row(spec.name, spec.run_id, intent(run, spec, waiting), *cost, _workers(spec))
    console.print(table)
    iterations = sum(spec.budget.iterations - what.folder.run(spec.run_id).newest_checkpoint for spec in todo)
    console.print(f"{len(todo)} runs and {iterations:,} iterations to do; nothing was started")


def intent(run: RunFolder, spec: RunSpec, waiting: Mapping[str, Origin]) -> str:
    """What `eqbench run` would do with a run."""
    if run.finished:
        return "skip: finished"
    iteration = run.newest_checkpoint
    if spec.run_id in waiting:
        return f"be refused: {waiting[spec.run_id].name} has not finished"
    if iteration:
        return f"continue from iteration {iteration}"
    return f"start from {spec.origin.name}" if spec.origin else "start"


def _workers(spec: RunSpec) -> str:
    resources = spec.resources
    gpu = f" + {resources.gpus_per_worker:g} GPU" if resources.gpus_per_worker else ""
    fewer = f"{resources.min_workers} to " if resources.min_workers else ""
    return f"{fewer}{resources.num_workers} × {resources.cpus_per_worker:g} CPU{gpu}"
