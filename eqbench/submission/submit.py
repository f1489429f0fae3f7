"""`eqbench submit`: the checks, the package, the job, its log and its end."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.console import Console

from eqbench.errors import InputError
from eqbench.submission import places
from eqbench.submission.capacity import Capacity, capacity
from eqbench.submission.command import Request, RunOptions, request, submission_id
from eqbench.submission.job import Job
from eqbench.submission.job_server import JobServer
from eqbench.submission.needed_files import NeededFiles, is_hidden
from eqbench.submission.package import Package, folder_files, pack
from eqbench.submission.suite_check import Checked, check_suite, check_sweep


@dataclass(frozen=True)
class Submission:
    """What is submitted, and how."""

    suite: str
    sweep: bool
    options: RunOptions
    seeds: list[int] | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    working_dir: Path | None = None
    name: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Prepared:
    """A job that is ready to be sent, and what there is to say about it."""

    request: Request
    lines: list[tuple[str, str]]
    notes: list[str]


def prepare(what: Submission, server: JobServer) -> Prepared:
    """Check everything that can be checked from here and pack what the job needs.

    Raises:
        InputError: the suite, the storage or the MLflow server is not as a cluster needs it, the suite is running
            there already, or what is sent is too large.
        EnvironmentProblem: the cluster has no room for a run.
    """
    storage = places.check_storage(what.storage)
    nodes = capacity(server.nodes(), server.autoscaler_status())
    checked = _check(what)
    uri = None
    if what.options.mlflow:
        uri = places.check_tracking(what.tracking_uri, os.environ, checked.tracking_uri, nodes.alone)
    notes = nodes.check(checked.resources)
    if not what.force:
        _refuse_twice(server.jobs(), checked, server.address)
    package, file = _pack(checked, what)
    verb = "sweep" if checked.sweep else "run"
    asked = request(verb, file, checked.name, what.options, storage, uri, package)
    notes += [f"data of task {label} are not read here, the job does: {why}" for label, why in checked.absent.items()]
    return Prepared(asked, _lines(checked, server.address, nodes, storage, uri, what, package), notes)


def send(what: Submission, prepared: Prepared, server: JobServer) -> str:
    """Start the job; its id."""
    package = prepared.request.package
    if package:
        server.upload(package.name, package.file.read_bytes())
    name = what.name or prepared.request.metadata.get("eqbench.suite", "job")
    return server.submit(prepared.request.as_json(submission_id(name)))


def show(prepared: Prepared, server: JobServer, console: Console) -> None:
    """What would be, or is, submitted."""
    for heading, text in prepared.lines:
        console.print(f"{heading:<9} {text}", highlight=False, markup=False, soft_wrap=True)
    for note in prepared.notes:
        console.print(f"note      {note}", highlight=False, markup=False, soft_wrap=True)
    command = prepared.request.as_command(server.address)
    console.print(f"command   {command}", highlight=False, markup=False, soft_wrap=True)


def _check(what: Submission) -> Checked:
    options = what.options
    if what.sweep:
        if options.only or options.seeds is not None:
            given = "--only" if options.only else "--seeds"
            raise InputError(f"{given} is of suites; in a sweep, use e.g. -o sweep.loss=… or -o seeds=[0, 1]")
        samples = [] if options.num_samples is None else [f"sweep.trials={options.num_samples}"]
        return check_sweep(what.suite, [*options.overrides, *samples], what.working_dir)
    return check_suite(what.suite, options.overrides, options.only, what.seeds, what.working_dir)


def _refuse_twice(jobs: Sequence[Job], checked: Checked, address: str) -> None:
    twins = [job for job in jobs if not job.ended and job.suite == checked.name and job.kind == checked.kind]
    if twins:
        raise InputError(
            f"{checked.kind} {checked.name} is running on this cluster already, as job {twins[-1].id}; follow it with: "
            f"eqbench logs {twins[-1].id} --follow --address {address} (--force submits it all the same; two jobs "
            "must not share a storage)"
        )


def _pack(checked: Checked, what: Submission) -> tuple[Package, str]:
    """The package, and the place of the suite's file in it."""
    folder = what.working_dir
    needed = NeededFiles(folder or Path.cwd())
    file = needed.add_suite(checked.file, checked.sweep)
    needed.add_modules(checked.modules)
    of_folder = folder_files(folder.absolute()) if folder else {}
    named = needed.named | {each.partition("=")[2] for each in what.options.overrides}
    sources = {**needed.sources, **{place: each for place, each in of_folder.items() if _belongs(place, named)}}
    return pack(sources, checked.name), file


def _belongs(place: str, named: Collection[str]) -> bool:
    """Whether a file goes with a job: of `data`, where miniatures are made, and of dot files what the suite names."""
    path, paths = PurePosixPath(place), [PurePosixPath(each) for each in named if each]
    if is_hidden(path):
        paths = [each for each in paths if is_hidden(each)]
    elif not place.startswith("data/"):
        return True
    return any(path.is_relative_to(each) for each in paths)


def _lines(
    checked: Checked,
    address: str,
    nodes: Capacity,
    storage: str | None,
    uri: str | None,
    what: Submission,
    package: Package,
) -> list[tuple[str, str]]:
    tracking = uri or "as MLFLOW_TRACKING_URI says on the cluster" if what.options.mlflow else "none"
    room = nodes.room_for(checked.runs, checked.resources.values())
    return [
        (checked.kind, checked.describe()),
        ("cluster", f"{address}: {nodes.describe()}{'; ' * bool(room)}{room}"),
        ("storage", places.shown(storage) if storage else "as EQBENCH_STORAGE says on the cluster"),
        ("MLflow", checked.tracking_uri or tracking if uri is None and what.options.mlflow else tracking),
        ("package", f"{package.describe()}: {', '.join(_places(package))}"),
    ]


def _places(package: Package) -> list[str]:
    import zipfile

    with zipfile.ZipFile(package.file) as archive:
        names = archive.namelist()
    return names if len(names) <= 5 else [*names[:4], f"and {len(names) - 4} more"]
