"""`eqbench sync`: bring MLflow level with everything on disk, and leave no run RUNNING whose process is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from eqbench.errors import EnvironmentProblem, InputError, nearest
from eqbench.run_folder import SuiteFolder, suites_in
from eqbench.tracking import invocation as invocations
from eqbench.tracking.lifetime import was_started
from eqbench.tracking.tracker import Tracker
from eqbench.tracking.uri import resolve_uri, sqlite_file


@dataclass
class SyncReport:
    """What a sync did: runs sent, runs that MLflow already had, and why anything is still missing."""

    sent: int = 0
    already_level: int = 0
    behind: list[str] = field(default_factory=list)


def sync(storage: Path, suites: Iterable[str] | None = None, uri: str | None = None) -> SyncReport:
    """Send what MLflow misses of the given suites, or of all.

    Args:
        storage: the folder that holds the suites' folders.
        suites: names of suites.
        uri: where to; by default where the suite was last tracked, unless `MLFLOW_TRACKING_URI` says otherwise.

    Raises:
        InputError: a suite has never been run into `storage`.
        EnvironmentProblem: the tracking URI cannot be used.
    """
    report = SyncReport()
    for folder in _chosen(storage, suites):
        try:
            with folder.lock():
                _sync_suite(folder, uri or suite_uri(folder), report)
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
            ended += _reconcile_suite(folder, uri or suite_uri(folder))
    return ended


def suite_uri(folder: SuiteFolder) -> str:
    """Where a suite was last tracked, unless `MLFLOW_TRACKING_URI` says otherwise."""
    known = invocations.invocations_in(folder)
    return resolve_uri(known[-1].tracking_uri if known else None)


def latest_uri(storage: Path) -> str:
    """Where the suite that was run last was tracked, unless `MLFLOW_TRACKING_URI` says otherwise."""
    known = [run for folder in suites_in(storage) for run in invocations.invocations_in(folder)]
    latest = max(known, key=lambda run: run.started, default=None)
    return resolve_uri(latest.tracking_uri if latest else None)


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
    if tracker.list_runs() and tracker.level(everywhere=True):
        for run in folder.planned():
            if not was_started(run):
                continue
            if tracker.is_level(run):
                report.already_level += 1
            elif tracker.send(run, running=False):
                report.sent += 1
            elif not tracker.reachable:
                break
    report.behind += [f"{folder.suite}: {reason}" for reason in tracker.reasons]


def _reconcile_suite(folder: SuiteFolder, uri: str) -> list[str]:
    file = sqlite_file(uri)
    if (file and not file.exists()) or folder.locked or not _maybe_stale(folder, uri):
        return []
    with folder.lock():
        invocations.end_stale(folder)
        tracker = Tracker(uri, folder)
        found = tracker.stale()
        return [run.name for run in found] if found and tracker.end_stale() else []


def _maybe_stale(folder: SuiteFolder, uri: str) -> bool:
    tracker = Tracker(uri, folder)
    return any(known.status is None for known in invocations.invocations_in(folder)) or any(
        was_started(run) and not tracker.is_level(run) for run in folder.runs()
    )
