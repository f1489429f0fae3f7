"""What a job of a cluster makes sure of before it trains: that results arrive from every node, metrics from its own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from eqbench.doctor.report import Check
from eqbench.errors import EnvironmentProblem
from eqbench.tracking.uri import resolve_uri, sqlite_file

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""That Ray gives the entrypoint of a job, and nothing else."""
PATIENCE_SECONDS = 60.0
"""For an MLflow server that is started together with the cluster."""
SECONDS_BETWEEN_LOOKS = 2.0


def in_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the entrypoint of a job that was submitted to a cluster."""
    return JOB_VARIABLE in environment


def check_before_training(storage: str | Path, tracking_uri: str | None, mlflow: bool, verbose: bool = False) -> None:
    """Refuse what only shows on the cluster; outside of a job, nothing is checked.

    Args:
        tracking_uri: the suite's own.
        mlflow: whether anything is tracked.

    Raises:
        EnvironmentProblem: results would be lost, a node cannot write the storage or does not see what others write,
            or the MLflow server does not answer this machine, from which alone runs are sent there.
    """
    if not in_job():
        return
    from eqbench.storage.place import place_of

    mirrored = place_of(Path(storage))
    place = mirrored.uri if mirrored and mirrored.uri else str(storage)
    refuse_lost_places(place, tracking_uri if mlflow else None, mlflow)
    if mlflow and (server := _wait_for_server(tracking_uri)).status == "problem":
        raise EnvironmentProblem(
            f"MLflow: {server.found}; start it, or submit with --tracking-uri http://<host>:5000 or --no-mlflow"
        )
    from eqbench import cluster
    from eqbench.doctor import cluster as of_cluster

    with cluster.connected(verbose):
        nodes = of_cluster.living_nodes()
        grows = cluster.grows()
        if len(nodes) > 1 or grows:
            found = of_cluster.check_storage(place, nodes, grows)
            if found.status == "problem":
                raise EnvironmentProblem(f"storage: {found.found}; {found.fix}")


def refuse_lost_places(storage: str, tracking_uri: str | None, mlflow: bool) -> None:
    """A job's own folder is removed after it.

    Raises:
        EnvironmentProblem: results or metrics would be written there.
    """
    if "://" not in storage and not Path(storage).expanduser().is_absolute():
        raise EnvironmentProblem(
            f"--storage {storage}: is in the job's own folder, which goes with it; give a folder that all machines "
            "share or a URI with --storage, or set EQBENCH_STORAGE on the cluster"
        )
    file = sqlite_file(resolve_uri(tracking_uri)) if mlflow else None
    if file and file.is_relative_to(Path.cwd()):
        raise EnvironmentProblem(
            f"{file}: MLflow's store would be in the job's own folder, which goes with it; set "
            "MLFLOW_TRACKING_URI=http://<host>:5000 on the cluster, or submit with --tracking-uri or --no-mlflow"
        )


def _wait_for_server(tracking_uri: str | None) -> Check:
    """The first answer of the tracking store that is no problem, or the last one."""
    from eqbench.doctor import services

    deadline = time.monotonic() + PATIENCE_SECONDS
    while (check := services.tracking_store(tracking_uri)).status == "problem" and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return check
