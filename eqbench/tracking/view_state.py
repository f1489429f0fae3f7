"""Views of MLflow's page of an experiment: which runs, columns and charts it opens with.

The page keeps a view that is shared as JSON in a tag of the experiment, `mlflow.sharedViewState.<key>`, and opens it
at `#/experiments/<id>/runs?viewStateShareKey=<key>`. The fields are those that the page of MLflow 3.17 writes itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from eqbench.tracking.schema import name

TAG = "mlflow.sharedViewState."
ALL_RUNS = "eqbench"
SECTIONS = {"val": True, "gradient": True, "train": True, "cost": True, "System metrics": False}
"""By which the page sorts metrics (what is before the slash), and whether they are open."""
COSTS = ("cost/seconds_per_step", "cost/peak_memory_mb", "cost/train_seconds")
MOST_RUNS = 100
BY_LOSS = {"mode": "tag", "groupByData": "eqbench.loss"}


@dataclass(frozen=True)
class TaskRuns:
    """The runs of one column of the leaderboard. `metrics`: main one first; `groups`: from frequent to rare classes."""

    task: str
    recipe: str
    metrics: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def group_metrics(self) -> tuple[str, ...]:
        """The main metric by class group as far as there is one.

        >>> TaskRuns("lvis", "", ("ap", "ap_f", "ap_r"), ("f", "c", "r")).group_metrics
        ('ap_f', 'ap_r')
        >>> TaskRuns("digits", "", ("top1", "many", "few"), ("many", "few")).group_metrics
        ('many', 'few')
        """
        candidates = [(f"{main}_{group}", group) for main in self.metrics[:1] for group in self.groups]
        found = (next((name for name in names if name in self.metrics), None) for names in candidates)
        return tuple(name for name in found if name)

    @property
    def shown(self) -> tuple[str, ...]:
        """The main metric and its parts, as MLflow's keys."""
        return tuple(name(f"val/{metric}") for metric in (*self.metrics[:1], *self.group_metrics))


def share_key(task: str) -> str:
    """The part of the tag's key that stands for the view of a task.

    >>> share_key("two_stage")
    'eqbench-two_stage'
    """
    plain = re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", task)
    return f"eqbench-{task if plain else hashlib.sha256(task.encode()).hexdigest()[:12]}"


def place(experiment_id: str, key: str, *, charts: bool) -> str:
    """Where a view is on a server: its table, or its charts.

    >>> place("1", "k", charts=True)
    '#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=k&compareRunsMode=CHART'
    """
    parameters = {"workflowType": "machine_learning", "viewStateShareKey": key}
    if charts:
        parameters["compareRunsMode"] = "CHART"
    return f"#/experiments/{quote(experiment_id)}/runs?{urlencode(parameters)}"


def place_of_run(experiment_id: str, mlflow_run_id: str) -> str:
    """Where one run is on a server."""
    return f"#/experiments/{quote(experiment_id)}/runs/{quote(mlflow_run_id)}"


def all_runs(tasks: Sequence[TaskRuns]) -> str:
    """Every run by its name: task, loss, seed, main metrics, cost, and why one has no result.

    In the order of their start the page would hide the runs below their parent.
    """
    shown = dict.fromkeys(key for task in tasks for key in (*task.shown[:1], *task.shown[-1:]))
    columns = [_tag("task"), _tag("loss"), _tag("seed"), *map(_metric, shown), *map(_metric, COSTS[:2])]
    return json.dumps(
        {
            "searchFilter": "tags.`eqbench.kind` = 'run'",
            "orderByKey": "attributes.run_name",
            "orderByAsc": True,
            "selectedColumns": [*columns, _tag("status_detail")],
        }
    )


def comparison(runs: TaskRuns) -> str:
    """The losses of one task side by side, each the mean of its seeds, without runs that failed or were killed."""
    condition = [
        "tags.`eqbench.kind` = 'run'",
        f"tags.`eqbench.task` = '{runs.task}'",
        f"tags.`eqbench.recipe` = '{runs.recipe}'",
        "attributes.status != 'FAILED'",
        "attributes.status != 'KILLED'",
    ]
    order = _metric(runs.shown[0]) if runs.shown else "attributes.run_name"
    columns = [_tag("loss"), _tag("seed"), *map(_metric, runs.shown), *map(_metric, COSTS[:2])]
    return json.dumps(
        {
            "searchFilter": " AND ".join(condition),
            "orderByKey": order,
            "orderByAsc": False,
            "selectedColumns": columns,
            "groupBy": {"aggregateFunction": "average", "groupByKeys": [BY_LOSS]},
            "runsHiddenMode": "SHOW_ALL",
            "hideEmptyCharts": True,
            "isAccordionReordered": True,
            "compareRunSections": [_section(title, is_open) for title, is_open in SECTIONS.items()],
            "compareRunCharts": _charts(runs),
        }
    )


def _tag(key: str) -> str:
    return f"tags.`eqbench.{key}`"


def _metric(key: str) -> str:
    return f"metrics.`{key}`"


def _section(title: str, is_open: bool) -> dict[str, Any]:
    kept = {"isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": f"eqbench-{title}", "name": title, "display": is_open, **kept}


def _charts(runs: TaskRuns) -> list[dict[str, Any]]:
    """Results, frequent against rare classes, their course, gradient ratios, cost."""
    parts = runs.shown[1:]
    charts = [_bar(key) for key in runs.shown]
    if len(parts) > 1:
        charts.append(_scatter(parts[0], parts[-1]))
    charts += [_line(key) for key in (*runs.shown[:1], *parts[-1:])]
    charts += [_line(name(f"gradient/ratio_{group}"), "log") for group in runs.groups]
    return [*charts, _line("train/loss"), *map(_bar, COSTS)]


def _card(kind: str, key: str) -> dict[str, Any]:
    return {
        "uuid": f"eqbench-{kind}-{key}",
        "type": kind,
        "displayName": key.rpartition("/")[2],
        "metricSectionId": f"eqbench-{key.partition('/')[0]}",
        "runsCountToCompare": MOST_RUNS,
        "deleted": False,
        "isGenerated": False,
    }


def _bar(key: str) -> dict[str, Any]:
    return {**_card("BAR", key), "metricKey": key}


def _scatter(x: str, y: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {**_card("SCATTER", y), **axes}


def _line(key: str, scale: str = "linear") -> dict[str, Any]:
    return {
        **_card("LINE", key),
        "metricKey": key,
        "selectedMetricKeys": [key],
        "scaleType": scale,
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "lineSmoothness": 0,
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
