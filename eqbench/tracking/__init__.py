"""The only writer of MLflow: brings it level with what the runs have written to disk.

    tracker = Tracker(resolve_uri(suite_uri), folder)
    tracker.open(command="eqbench run quickstart")
    with Follower(tracker) as follower:
        follower.follow(run)           # a run has started
        follower.ended(run)            # it is over
    tracker.close("FINISHED")

Nothing here raises or waits because MLflow is down: `tracker.behind` says so, and `sync` sends what is missing later.
"""

from eqbench.tracking.follower import Follower
from eqbench.tracking.null import NullTracker
from eqbench.tracking.sync import (
    Reconciliation,
    SyncReport,
    latest_suite,
    latest_uri,
    reconcile,
    reconciliation,
    suite_uri,
    sync,
)
from eqbench.tracking.tracker import Tracker
from eqbench.tracking.uri import public, resolve_uri, sqlite_file

__all__ = [
    "Follower",
    "NullTracker",
    "Reconciliation",
    "SyncReport",
    "Tracker",
    "latest_suite",
    "latest_uri",
    "public",
    "reconcile",
    "reconciliation",
    "resolve_uri",
    "sqlite_file",
    "suite_uri",
    "sync",
]
