"""`eqbench sweep --dry-run`: which trials there would be, what each needs, what all of it can cost at most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eqbench import cluster
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.run_spec import Resources, RunSpec
from eqbench.storage import fetch_suite
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import BASELINE, DEFAULT
from eqbench.sweep.standings import setting_text, short_names

if TYPE_CHECKING:
    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.driver import Search
    from eqbench.sweep.space import Value

KNOWN_BEFOREHAND = ("random", "grid")
MOST_REPETITIONS = 100
"""Proposals in a row that were made before, after which a search has no more: as in the sweep itself."""


@dataclass(frozen=True)
class _Planned:
    """A trial that is known before anything starts; `failure`: why it cannot be built."""

    name: str
    values: dict[str, Value]
    specs: list[RunSpec]
    failure: str = ""


def dry_run(what: Search, console: Console) -> None:
    """Print the trials; start nothing."""
    sweep, folder = what.sweep, what.folder
    fetch_suite(folder.path)
    planned = list(_planned(sweep, folder))
    names = short_names(sweep.section.space)
    title = f"{sweep.name}: {sweep.section.objective.describe()}"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("trial", "setting", "run", "would"):
        table.add_column(heading)
    table.add_column("iterations", justify="right")
    for trial in planned:
        setting = Text(setting_text(trial.values, names) or (trial.specs[0].loss_label if trial.specs else ""))
        if trial.failure:
            table.add_row(trial.name, setting, "", Text(f"fail: {trial.failure}"), "")
        for spec in trial.specs:
            cells = spec.run_id, _intent(folder, spec), f"{spec.budget.iterations:,}"
            table.add_row(trial.name, setting, *cells)
    console.print(table)
    _print_cost(what, planned, console)


def _planned(sweep: Sweep, folder: SweepFolder) -> Iterator[_Planned]:
    planned = [_Planned("default", sweep.default_values(), sweep.default_specs())]
    if baseline := sweep.baseline_specs():
        planned.insert(0, _Planned("baseline", {}, baseline))
    known = {entry.number: entry for entry in folder.entries(sweep.digest)}
    planned += [
        _build(sweep, number, entry.values) for number, entry in known.items() if number not in (BASELINE, DEFAULT)
    ]
    yield from planned
    if sweep.section.search.name in KNOWN_BEFOREHAND:
        yield from _drawn(sweep, set(known), {spec.run_id for trial in planned for spec in trial.specs})


def _drawn(sweep: Sweep, known: set[int], tried: set[str]) -> Iterator[_Planned]:
    """Settings that are still proposed; none whose runs are those of a trial before, e.g. of the default."""
    from eqbench.sweep import search

    proposals = search.build(sweep.section.search, sweep.section.space, sweep.section.objective, 1)
    limit = sweep.section.trials
    number = max((each + 1 for each in known), default=0) if max(known, default=-1) >= 0 else 0
    count = sum(each >= 0 for each in known)
    repetitions = 0
    while (limit is None or count < limit) and repetitions < MOST_REPETITIONS:
        values = proposals.ask(number)
        if values is None:
            return
        trial = _build(sweep, number, values)
        number += 1
        run_ids = {spec.run_id for spec in trial.specs}
        if run_ids and run_ids <= tried:
            repetitions += 1
            continue
        repetitions = 0
        tried |= run_ids
        count += 1
        yield trial


def _build(sweep: Sweep, number: int, values: dict[str, Value]) -> _Planned:
    try:
        return _Planned(f"trial {number}", values, sweep.specs(values, number))
    except InputError as error:
        return _Planned(f"trial {number}", values, [], str(error))


def _intent(folder: SweepFolder, spec: RunSpec) -> str:
    run = folder.run(spec.run_id)
    result = run.read_result()
    if result and result["status"] != "killed":
        return f"skip: {result['status']}"
    return f"continue from iteration {run.newest_checkpoint}" if run.newest_checkpoint else "start"


def _print_cost(what: Search, planned: list[_Planned], console: Console) -> None:
    sweep = what.sweep
    seeds = len(sweep.default_specs())
    proposed = sum(trial.name.startswith("trial") for trial in planned)
    further = 0 if sweep.section.search.name in KNOWN_BEFOREHAND else _most_settings(sweep) - proposed
    if further > 0:
        console.print(f"and {further} more settings that {sweep.section.search.name} proposes as results come in")
    todo = [spec for trial in planned for spec in trial.specs if not _intent(what.folder, spec).startswith("skip")]
    budget = sweep.default_specs()[0].budget
    further = max(0, further)
    iterations = further * seeds * budget.iterations + sum(
        spec.budget.iterations - what.folder.run(spec.run_id).newest_checkpoint for spec in todo
    )
    runs = len(todo) + further * seeds
    console.print(f"each run: {_workers(what.resources)}; at once: {_at_once(what.resources)}", highlight=False)
    scheduler = sweep.section.scheduler.name
    saving = "" if scheduler in ("none", "pbt") else f", if {scheduler} stops none"
    console.print(f"at most {runs} runs and {iterations:,} iterations to do{saving}{_time(what, iterations)}")
    console.print("nothing was started")


def _most_settings(sweep: Sweep) -> int:
    """That a search which learns from results proposes: a setting is tried once, and the default is a trial already."""
    space = sweep.section.space
    size = None if space.size is None else space.size - space.contains(sweep.default_values())
    return min(number for number in (sweep.section.trials, size) if number is not None)


def _time(what: Search, iterations: int) -> str:
    """From the finished runs of this sweep, if there are any."""
    seconds = [
        float(cost)
        for run in what.folder.runs()
        if (result := run.read_result()) and (cost := result["cost"].get("seconds_per_step"))
    ]
    if not seconds:
        return ""
    return f": {iterations * sum(seconds) / len(seconds) / 3600:.2g} hours of training, as fast as its runs so far"


def _workers(resources: Resources) -> str:
    gpu = f" + {resources.gpus_per_worker:g} GPU" if resources.gpus_per_worker else ""
    return f"{resources.num_workers} worker(s) of {resources.cpus_per_worker:g} CPU{gpu}"


def _at_once(resources: Resources) -> str:
    if address := os.environ.get("RAY_ADDRESS"):
        return f"as many as the cluster at {address} has room for"
    import torch

    here = {"CPU": float(cluster.local_cpus()), "GPU": float(torch.cuda.device_count())}
    try:
        return f"{cluster.concurrency(resources, [here])} on this machine"
    except EnvironmentProblem as error:
        return f"none on this machine ({error})"
