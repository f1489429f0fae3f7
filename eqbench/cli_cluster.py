"""The verbs about machines: `doctor`, and jobs on a cluster. What they need is imported when they run."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqbench.cli_options import (
    DEFAULT_STORAGE,
    EXIT_INTERRUPTED,
    JsonOption,
    MLflowOption,
    OverrideOption,
    StorageOption,
    VerboseOption,
    read_seeds,
)
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.terminal import console, print_json

if TYPE_CHECKING:
    from eqbench.submission.job_server import JobServer

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="The cluster's dashboard, e.g. http://127.0.0.1:8265; by default RAY_API_SERVER_ADDRESS.",
    ),
]
SharedStorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="PATH|URI",
        help="Folder or URI that all machines of the cluster share; by default what EQBENCH_STORAGE says there.",
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server; by default MLFLOW_TRACKING_URI, here or on the cluster. Before it trains, the job asks it "
        "from its own node, the only one that sends to it; `doctor --cluster` asks from every node.",
    ),
]
WorkingDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Send this folder, not just the suite: without what .rayignore names, links that lead out, dot files and "
        "data/; of the last two goes what the suite names.",
    ),
]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, or a suite's name: its newest job, of those that run first.")
]


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check every node of the cluster at RAY_ADDRESS, or at --address.")
    ] = False,
    address: AddressOption = None,
    storage: SharedStorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is installed, which GPUs, what would not run here or on a cluster, and the exact fix."""
    from eqbench import doctor as checks
    from eqbench.submission import places
    from eqbench.submission.address import address_of_environment

    if address and not cluster:
        raise InputError(f"doctor --address {address}: is for --cluster; add it")
    here = os.environ.get("RAY_ADDRESS", "")
    if cluster and (not here or here.startswith(("http://", "https://"))):
        address = address or address_of_environment()
    if address:
        raise typer.Exit(_doctor_as_job(address, places.check_storage(storage), as_json))
    place = storage or os.environ.get("EQBENCH_STORAGE") or str(DEFAULT_STORAGE)
    places.check_uri(place)
    if cluster:
        from eqbench.doctor.cluster import diagnose_cluster

        found = diagnose_cluster(place)
    else:
        found = checks.diagnose(place)
    if as_json:
        print(checks.as_json(found))
    else:
        checks.print_report(found, console())
    raise typer.Exit(checks.exit_code(found))


def submit(
    suite: Annotated[str, typer.Argument(help="Name of a suite or a sweep, or a YAML file.")],
    address: AddressOption = None,
    storage: SharedStorageOption = None,
    tracking_uri: ServerOption = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the job's log to its end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, pack and print; submit nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also if the suite is running there already.")] = False,
    name: Annotated[str | None, typer.Option(help="Of the job, instead of the suite's.")] = None,
    working_dir: WorkingDirOption = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="The sweep, where a suite has the same name.")] = False,
    only: Annotated[list[str], typer.Option(metavar="FIELD=LABEL", help="Only these runs, e.g. loss=efl.")] = [],
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="Instead of the suite's seeds.")] = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Settings to try in a sweep.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Of a sweep: go on with earlier trials, or fail.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Of a sweep: start failed trials again.")
    ] = False,
    override: OverrideOption = [],
    mlflow: MLflowOption = True,
    verbose: VerboseOption = False,
) -> None:
    """Run a suite or a sweep as a job of a Ray cluster: checks first, then `ray job submit`, its log, its exit code."""
    from eqbench.submission import submit as submitting
    from eqbench.submission.command import RunOptions
    from eqbench.submission.job_server import connected_server
    from eqbench.suite import names_sweep

    of_sweep = sweep or num_samples is not None or resume or retry_failed or names_sweep(suite)
    options = RunOptions(only, seeds, override, mlflow, verbose, num_samples, resume, retry_failed)
    what = submitting.Submission(
        suite, of_sweep, options, read_seeds(seeds), storage, tracking_uri, working_dir, name, force
    )
    server = connected_server(address)
    prepared = submitting.prepare(what, server)
    submitting.show(prepared, server, console())
    if dry_run:
        print("nothing was submitted")
        return
    job = submitting.send(what, prepared, server)
    print(f"job       {job}", flush=True)
    if no_wait:
        print(_hints(job, server.address))
        return
    raise typer.Exit(_follow_to_end(server, job))


def status(
    context: typer.Context,
    suite: Annotated[
        str | None, typer.Argument(help="Name of a suite, or a YAML file; with --address, a job or none for all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until all runs have ended.")] = False,
    address: AddressOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Where every run of a suite stands; with --address, eqbench's jobs on a cluster."""
    from eqbench.submission.address import address_of_environment

    if address or (suite is None and address_of_environment()):
        if watch:
            raise InputError("status --watch: is for the runs of a suite; for a job: eqbench logs JOB --follow")
        source = context.get_parameter_source("storage")
        if source and source.name == "COMMANDLINE":
            raise InputError("status --storage: is for the runs of a suite; of a cluster, all jobs are shown")
        _status_of_jobs(suite, address, as_json)
        return
    if suite is None:
        raise InputError("status: which suite? Name one, or --address http://<head>:8265 for the jobs of a cluster")
    from eqbench import status as standing
    from eqbench.leaderboard.find import find_suite_folder

    folder = find_suite_folder(storage, suite)
    if as_json:
        print_json(standing.describe(folder))
    elif watch:
        standing.watch(folder, console())
    else:
        console().print(standing.table(folder, standing.describe(folder)))


def logs(
    job: JobArgument,
    address: AddressOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="To the job's end; its exit code is passed on.")
    ] = False,
) -> None:
    """What a job has printed."""
    from eqbench.submission.job import find_job
    from eqbench.submission.job_server import connected_server

    server = connected_server(address)
    found = find_job(server.jobs(), job)
    if follow:
        raise typer.Exit(_follow_to_end(server, found.id))
    sys.stdout.write(server.log(found.id))


def cancel(job: JobArgument, address: AddressOption = None) -> None:
    """End a job and wait until it has ended; its runs are marked as killed, and submitting again continues them."""
    from eqbench.submission.following import wait_until_ended
    from eqbench.submission.job import find_job
    from eqbench.submission.job_server import connected_server

    server = connected_server(address)
    found = find_job(server.jobs(), job)
    if found.ended:
        raise InputError(f"job {found.id} has ended already: {found.status.lower()}")
    server.stop(found.id)
    print(f"job {found.id}: asked to end; its runs save what they have", flush=True)
    ended = wait_until_ended(server, found.id)
    print(f"job {found.id}: {ended.status.lower()}; submit the suite again to continue")


def _status_of_jobs(text: str | None, address: str | None, as_json: bool) -> None:
    from eqbench.submission.job import find_job
    from eqbench.submission.job_server import connected_server
    from eqbench.submission.job_table import job_table

    server = connected_server(address)
    jobs = [job for job in server.jobs() if job.suite]
    if text:
        name = Path(text).stem if text.endswith((".yaml", ".yml")) else text
        one = find_job(jobs, name)
        jobs = [job for job in jobs if job.suite == name] or [one]
    entries = [job.describe() for job in jobs]
    if as_json:
        print_json(entries)
    elif entries:
        console().print(job_table(server.address, entries))
    else:
        print(f"{server.address}: no job of eqbench")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _follow_to_end(server: JobServer, job_id: str, write: Callable[[str], object] = _show) -> int:
    """Write the job's log and say how it ended; the exit code, 130 where Ctrl-C leaves it running."""
    from eqbench.submission.following import follow

    try:
        job = follow(server, job_id, write)
    except KeyboardInterrupt:
        print(f"\neqbench: job {job_id} goes on\n{_hints(job_id, server.address)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    if job.exit_code:
        print(f"eqbench: job {job_id}: {job.detail}", file=sys.stderr)
    return job.exit_code


def _hints(job_id: str, address: str) -> str:
    job, there = shlex.quote(job_id), f"--address {shlex.quote(address)}"
    lines = {"follow": f"logs {job} --follow {there}", "see": f"status {there}", "end": f"cancel {job} {there}"}
    return "\n".join(f"{what:<9} eqbench {command}" for what, command in lines.items())


def _doctor_as_job(address: str, storage: str | None, as_json: bool) -> int:
    """Let the cluster look at itself; what it prints is passed on."""
    from eqbench.submission.command import Request, submission_id
    from eqbench.submission.job_server import connected_server

    server = connected_server(address)
    words = ["eqbench", "doctor", "--cluster", *(["--storage", storage] if storage else [])]
    asked = Request([*words, *(["--json"] if as_json else [])])
    job = server.submit(asked.as_json(submission_id("doctor")))
    if not as_json:
        return _follow_to_end(server, job)
    printed: list[str] = []
    code = _follow_to_end(server, job, printed.append)
    if code != EXIT_INTERRUPTED:
        print(_last_list("".join(printed), job))
    return code


def _last_list(log: str, job: str) -> str:
    """The last JSON list of objects in a log, into which others write too."""
    for start in reversed([match.start() for match in re.finditer(r"^\[", log, re.MULTILINE)]):
        try:
            found, end = json.JSONDecoder().raw_decode(log, start)
        except ValueError:
            continue
        if all(isinstance(each, dict) for each in found):
            return log[start:end]
    raise EnvironmentProblem(f"job {job}: has printed no findings: {log.strip()[-500:]}")
