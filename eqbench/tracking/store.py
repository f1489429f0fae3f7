"""MLflow as eqbench uses it: one experiment and its runs, each call writing only what MLflow does not have yet."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eqbench import file_lock
from eqbench.errors import EnvironmentProblem
from eqbench.tracking.schema import DataInput, Point
from eqbench.tracking.uri import sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MARK = "eqbench.suite"
"""The tag of an experiment that eqbench made: of which suite."""
PARAMS_PER_BATCH = 100
METRICS_PER_BATCH = 1000
PAGE = 1000
CREATION_SECONDS = 60.0
# Few and short: a driver that trains must not hang on a server that is down; what is not sent now is sent later.
REQUEST_LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
DATABASE_TRIES = 3
"""Of a database that is down, 0.1 s and 0.3 s apart; MLflow's own are 10, over 100 s."""
T = TypeVar("T")
QUIET = {"mlflow": logging.CRITICAL, "alembic": logging.ERROR, "urllib3.connectionpool": logging.ERROR}


def connect(uri: str) -> MlflowClient:
    """A client of the store at `uri`; a SQLite store is created when it does not exist.

    Raises:
        EnvironmentProblem: another process has been creating the store for more than a minute, or it cannot be opened.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.pop("MLFLOW_RUN_ID", None)
    for key, value in REQUEST_LIMITS.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for logger, level in QUIET.items():
        logging.getLogger(logger).setLevel(level)
    if not uri.startswith(("http", "databricks")):
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = DATABASE_TRIES
    file = sqlite_file(uri)
    with _creation_lock(file) if file else contextlib.nullcontext():
        try:
            return MlflowClient(tracking_uri=uri)
        except MlflowException:
            raise
        except Exception as error:  # SQLAlchemy's own, and that of a database's driver which is not installed
            raise EnvironmentProblem(str(error)) from error


@contextlib.contextmanager
def _creation_lock(database: Path) -> Iterator[None]:
    """One process at a time: MLflow's migrations of a new SQLite file are not safe against each other."""
    database.parent.mkdir(parents=True, exist_ok=True)
    path = database.with_name(f"{database.name}-lock")
    with file_lock.hold(path, patience=CREATION_SECONDS) as held:
        if held is None:
            raise EnvironmentProblem(f"{path}: held by another process for more than {CREATION_SECONDS:.0f} s")
        yield


class Experiment:
    """One experiment of a store: finds and creates runs by their `eqbench.run_id`."""

    def __init__(self, uri: str, name: str) -> None:
        self.name = name
        self.client = connect(uri)
        self.experiment_id = self._find_or_create(uri)

    def _find(self) -> str | None:
        experiment = self.client.get_experiment_by_name(self.name)
        if experiment is None:
            return None
        if experiment.lifecycle_stage == "deleted":
            raise EnvironmentProblem(
                f"experiment {self.name!r} was deleted in MLflow; restore it with "
                f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
            )
        return str(experiment.experiment_id)

    def _find_or_create(self, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment_id = self._find()
        if experiment_id is not None:
            return experiment_id
        file = sqlite_file(uri)
        location = (file.parent / "mlartifacts" / self.name).as_uri() if file else None
        try:
            return str(self.client.create_experiment(self.name, artifact_location=location, tags={MARK: self.name}))
        except MlflowException as error:
            experiment_id = self._find() if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
            if experiment_id is None:
                raise
            return experiment_id

    def find(self, run_id: str) -> TrackedRun | None:
        """The run with this `eqbench.run_id`, or None."""
        for run in self.search(f"tags.`eqbench.run_id` = '{run_id}'"):
            return run
        return None

    def search(self, where: str = "") -> Iterator[TrackedRun]:
        """Runs of this experiment that eqbench made, oldest first."""
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], where, max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
            )
            for run in page:
                if "eqbench.run_id" in run.data.tags:
                    yield TrackedRun(self.client, run)
            token = page.token
            if not token:
                return

    def create(self, name: str, tags: Mapping[str, str], started_ms: int) -> TrackedRun:
        """A new run, which is RUNNING."""
        origin = {"mlflow.user": _user(), "mlflow.source.name": "eqbench", "mlflow.source.type": "LOCAL"}
        run = self.client.create_run(self.experiment_id, start_time=started_ms, tags={**origin, **tags}, run_name=name)
        return TrackedRun(self.client, run)


class TrackedRun:
    """One MLflow run and what MLflow has of it."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self.mlflow_id = str(run.info.run_id)
        self.name = str(run.info.run_name)
        self.status = str(run.info.status)
        self.tags = dict(run.data.tags)
        self.params = dict(run.data.params)
        self.last_steps = {metric.key: int(metric.step) for metric in run.data.to_proto().metrics}
        inputs = run.inputs.dataset_inputs if run.inputs else []
        self.has_data = bool(inputs)

    @property
    def run_id(self) -> str:
        return self.tags["eqbench.run_id"]

    @property
    def kind(self) -> str:
        return self.tags.get("eqbench.kind", "")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set the tags that differ."""
        from mlflow.entities import RunTag

        changed = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        for batch in _batches(changed.items(), PARAMS_PER_BATCH):
            self._log(tags=[RunTag(key, value) for key, value in batch])
            self.tags.update(batch)

    def set_params(self, params: Mapping[str, str]) -> None:
        """Set the params that MLflow does not have; those it has cannot be changed."""
        from mlflow.entities import Param

        missing = [(key, value) for key, value in params.items() if key not in self.params]
        for batch in _batches(missing, PARAMS_PER_BATCH):
            self._log(params=[Param(key, value) for key, value in batch])
            self.params.update(batch)

    def add_points(self, points: Iterable[Point]) -> None:
        """Add values, which must be beyond `last_steps`."""
        from mlflow.entities import Metric

        for batch in _batches(points, METRICS_PER_BATCH):
            self._log(metrics=[Metric(point.key, point.value, point.time_ms, point.step) for point in batch])
            self.last_steps.update((point.key, point.step) for point in batch)

    def _log(self, **entities: list[Any]) -> None:
        self._client.log_batch(self.mlflow_id, **entities, synchronous=True)

    def set_data(self, data: DataInput) -> None:
        """Link the data set, once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if self.has_data:
            return
        dataset = Dataset(data.name, data.digest, "eqbench", data.source, profile=data.profile)
        self._client.log_inputs(self.mlflow_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        self.has_data = True

    def add_file(self, file: Path, folder: str) -> None:
        """Upload one file into `folder`, replacing an earlier one of that name."""
        self._client.log_artifact(self.mlflow_id, str(file), folder or None)

    def set_name(self, name: str) -> None:
        """Rename the run, if it has another name."""
        if self.name != name:
            self._client.update_run(self.mlflow_id, name=name)
            self.name = name

    def set_running(self) -> None:
        """Mark a run that had ended as going on again."""
        if self.status != "RUNNING":
            self._client.update_run(self.mlflow_id, status="RUNNING")
            self.status = "RUNNING"

    def set_ended(self, status: str, ended_ms: int) -> None:
        """Set the final status."""
        self._client.set_terminated(self.mlflow_id, status, end_time=ended_ms)
        self.status = status


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user id
        return str(os.getuid())
