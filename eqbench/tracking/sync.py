"""`eqbench sync` and `eqbench mlflow reconcile`: MLflow level with the disk, no run RUNNING whose process is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from eqbench.errors import EnvironmentProblem, InputError, nearest
from eqbench.run_folder import SuiteFolder, suites_in
from eqbench.storage import fetch_suite, suite_mirror
from eqbench.tracking import invocation as invocations
from eqbench.tracking.lifetime import was_started
from eqbench.tracking.tracker import Tracker
from eqbench.tracking.uri import given_uri, resolve_uri, sqlite_file


@dataclass
class SyncReport:
    """What a sync did: runs sent, runs that MLflow already had, and why anything is still missing."""

    sent: int = 0
    already_level: int = 0
    behind: list[str] = field(default_factory=list)


@dataclass
class Reconciliation:
    """What was ended in MLflow, what is RUNNING there and was left alone, both by suite; what went wrong."""

    ended: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)


def sync(storage: Path, suites: Iterable[str] | None = None, uri: str | None = None) -> SyncReport:
    """Send what MLflow misses of the given suites, or of all.

    Args:
        storage: the folder that holds the suites' folders.
        suites: names of suites.
        uri: where to; by default where the suite was last tracked, unless `MLFLOW_TRACKING_URI` says otherwise.

    Raises:
        InputError: a suite has never been run into `storage`, or `uri` is none of a store.
    """
    report = SyncReport()
    uri = given_uri(uri) if uri else None
    for folder in _chosen(storage, suites):
        try:
            fetch_suite(folder.path)
            with folder.lock():
                _sync_suite(folder, uri or suite_uri(folder), report)
                suite_mirror.publish(folder.path, suite_mirror.runs_in(folder.path))
        except EnvironmentProblem as error:
            report.behind.append(str(error))
    return report


def reconcile(uri: str | None, storage: Path) -> list[str]:
    """End in MLflow the runs that are RUNNING there though no process works on their suite; their names.

    Asks MLflow only when something on disk is not known to be level, and never creates a store. Without `uri`, each
    suite's own store is asked.
    """
    ended: list[str] = []
    for folder in suites_in(storage):
        with contextlib.suppress(EnvironmentProblem):
            known = uri or suite_uri(folder)
            if not folder.locked and not _missing_store(known) and _maybe_stale(folder, known):
                ended += _reconcile_suite(folder, known)
    return ended


def reconciliation(storage: Path, suites: Iterable[str] | None = None, uri: str | None = None) -> Reconciliation:
    """`reconcile`, of the given suites or of all, which asks MLflow always and says what became of each.

    Raises:
        InputError: a suite has never been run into `storage`, or `uri` is none of a store.
        EnvironmentProblem: there is no store at `uri`.
    """
    report = Reconciliation()
    uri = given_uri(uri) if uri else None
    if uri and (missing := _missing_store(uri)):
        raise EnvironmentProblem(missing)
    for folder in _chosen(storage, suites):
        if folder.locked:
            report.left[folder.suite] = "a process works on it"
            continue
        try:
            known = uri or suite_uri(folder)
            if missing := _missing_store(known):
                report.left[folder.suite] = missing
            elif ended := _reconcile_suite(folder, known, report):
                report.ended[folder.suite] = ended
        except EnvironmentProblem as error:
            report.behind.append(f"{folder.suite}: {error}")
    return report


def suite_uri(folder: SuiteFolder) -> str:
    """Where a suite was last tracked, unless `MLFLOW_TRACKING_URI` says otherwise."""
    known = invocations.invocations_in(folder)
    return resolve_uri(known[-1].tracking_uri if known else None)


def latest_uri(storage: Path) -> str:
    """Where the suite that was run last was tracked, unless `MLFLOW_TRACKING_URI` says otherwise."""
    folder = latest_suite(storage)
    return suite_uri(folder) if folder else resolve_uri(None)


def latest_suite(storage: Path) -> SuiteFolder | None:
    """The suite that was run last, or None."""
    suites = suites_in(storage)
    for folder in suites:
        fetch_suite(folder.path)
    started = {folder: run.started for folder in suites for run in invocations.invocations_in(folder)[-1:]}
    return max(started, key=lambda folder: started[folder], default=None)


def _chosen(storage: Path, suites: Iterable[str] | None) -> list[SuiteFolder]:
    known = {folder.suite: folder for folder in suites_in(storage)}
    if suites is None:
        return list(known.values())
    for suite in (names := list(suites)):
        if suite not in known:
            raise InputError(
                f"suite {suite!r} has not been run into {storage}; "
                f"there are: {', '.join(known) or 'none'}{nearest(suite, known)}"
            )
    return [known[suite] for suite in names]


def _sync_suite(folder: SuiteFolder, uri: str, report: SyncReport) -> None:
    invocations.end_stale(folder)
    tracker = Tracker(uri, folder)
    before = report.sent
    if tracker.list_runs() and tracker.level(everywhere=True):
        for run in folder.runs():
            if not was_started(run):
                continue
            if tracker.is_level(run):
                report.already_level += 1
            elif tracker.send(run, running=False):
                report.sent += 1
            elif not tracker.reachable:
                break
        tracker.end_stale()
        if report.sent > before:
            tracker.write_views()
    report.behind += [f"{folder.suite}: {reason}" for reason in tracker.reasons]


def _reconcile_suite(folder: SuiteFolder, uri: str, report: Reconciliation | None = None) -> list[str]:
    """The names of the runs that were ended."""
    with folder.lock():
        invocations.end_stale(folder)
        tracker = Tracker(uri, folder)
        found = tracker.stale()
        ended = [run.name for run in found] if found and tracker.end_stale() else []
        if report is not None:
            report.behind += [f"{folder.suite}: {reason}" for reason in tracker.reasons]
            if others := [] if tracker.behind else tracker.running():
                names = ", ".join(run.name for run in others)
                report.left[folder.suite] = f"{len(others)} RUNNING of which there is no folder here: {names}"
        return ended


def _missing_store(uri: str) -> str:
    """That there is none, if it is a file that does not exist."""
    file = sqlite_file(uri)
    return f"{file}: there is no MLflow store" if file and not file.exists() else ""


def _maybe_stale(folder: SuiteFolder, uri: str) -> bool:
    tracker = Tracker(uri, folder)
    return any(known.status is None for known in invocations.invocations_in(folder)) or any(
        was_started(run) and not tracker.is_level(run) for run in folder.runs()
    )
