"""The views of a suite in MLflow: kept in its experiment, with the addresses that open them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eqbench.errors import EqbenchError
from eqbench.run_folder import RunFolder, SuiteFolder, last_event
from eqbench.run_spec import digest
from eqbench.tracking import invocation as invocations
from eqbench.tracking import problem, view_state
from eqbench.tracking.store import connect
from eqbench.tracking.uri import sqlite_file
from eqbench.tracking.view_state import TaskRuns

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

    from eqbench.leaderboard.results import Record

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Or the page of the experiment opens among tools for language models."""
RATIO = "gradient/ratio_"


@dataclass(frozen=True)
class View:
    """One view: what it shows, and its address without that of the server."""

    title: str
    place: str


@dataclass(frozen=True)
class Views:
    """The views of a suite, or why there are none."""

    suite: str
    views: tuple[View, ...] = ()
    problem: str = ""

    def addresses(self, server: str) -> Iterator[tuple[str, str]]:
        """What each view shows, and where."""
        for view in self.views:
            yield view.title, f"{server.rstrip('/')}/{view.place}"


def publish(uri: str, folder: SuiteFolder) -> Views:
    """Bring the views in the store at `uri` level with the runs of a suite. Creates neither store nor experiment."""
    if (file := sqlite_file(uri)) and not file.exists():
        return Views(folder.suite, problem=f"{file}: there is no MLflow store yet")
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(folder.suite)
        if experiment is None or (experiment.lifecycle_stage == "active" and not _has_ours(client, experiment)):
            return Views(folder.suite, problem=f"{folder.suite} has not been tracked there; `eqbench sync` sends it")
        if experiment.lifecycle_stage == "deleted":
            return Views(folder.suite, problem=f"experiment {folder.suite!r} was deleted in MLflow")
        views = write(client, str(experiment.experiment_id), folder)
        views += _board(client, str(experiment.experiment_id))
    except EqbenchError as error:
        return Views(folder.suite, problem=str(error))
    except Exception as error:
        return Views(folder.suite, problem=problem.describe(error, uri))
    return Views(folder.suite, tuple(views))


def _has_ours(client: MlflowClient, experiment: Experiment) -> bool:
    """Whether eqbench has a run there: somebody else may have an experiment of the same name."""
    return bool(client.search_runs([experiment.experiment_id], "tags.`eqbench.run_id` != ''", max_results=1))


def write(client: MlflowClient, experiment_id: str, folder: SuiteFolder) -> list[View]:
    """Set the tags of the experiment that differ.

    Raises:
        InputError: the suite has no runs, or a result was written by an unknown version of the schema.
    """
    tasks = task_runs(folder)
    present = client.get_experiment(experiment_id).tags
    states = {view_state.ALL_RUNS: view_state.all_runs(tasks)}
    states |= {view_state.share_key(runs.task): view_state.comparison(runs) for runs in tasks}
    wanted = {f"{view_state.TAG}{key}": state for key, state in states.items()}
    if not KIND.keys() & present.keys():
        wanted |= KIND
    for key, value in wanted.items():
        if present.get(key) != value:
            client.set_experiment_tag(experiment_id, key, value)
    views = [View("all runs", view_state.place(experiment_id, view_state.ALL_RUNS, charts=False))]
    for runs in tasks:
        views.append(View(runs.task, view_state.place(experiment_id, view_state.share_key(runs.task), charts=True)))
    return views


def _board(client: MlflowClient, experiment_id: str) -> list[View]:
    """The last parent run that has ended: its description, metrics and artifacts are the leaderboard."""
    where = "tags.`eqbench.kind` = 'suite' AND attributes.status != 'RUNNING'"
    last = client.search_runs([experiment_id], where, max_results=1, order_by=["attributes.start_time DESC"])
    return [View("leaderboard", view_state.place_of_run(experiment_id, run.info.run_id)) for run in last]


def task_runs(folder: SuiteFolder) -> list[TaskRuns]:
    """The tasks of the last `eqbench run`, in its order; none of a sweep."""
    from eqbench.leaderboard import results

    if invocations.of_sweep(folder):
        return []
    by_task: dict[str, list[Record]] = {}
    for record in results.read([folder])[0]:
        if record.planned:
            by_task.setdefault(record.spec.task_label, []).append(record)
    return [_task_runs(folder, records) for records in by_task.values()]


def _task_runs(folder: SuiteFolder, records: list[Record]) -> TaskRuns:
    """Of a task none of whose runs has finished, the metrics are those seen so far."""
    spec = records[0].spec
    chosen = next((record for record in records if record.finished), None)
    candidates = [chosen] if chosen else records
    seen = next(filter(None, (_seen(folder.run(record.spec.run_id)) for record in candidates)), ())
    metrics = chosen.metrics if chosen else [key.removeprefix("val/") for key in seen if key.startswith("val/")]
    groups = [key.removeprefix(RATIO) for key in seen if key.startswith(RATIO)]
    return TaskRuns(spec.task_label, digest(spec.recipe), tuple(metrics), tuple(groups))


def _seen(run: RunFolder) -> tuple[str, ...]:
    return tuple((last_event(run) or {}).get("metrics", ()))
