"""The views of a suite in MLflow: what they show, and that the store keeps them beside what others have there."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console
from tracked_runs import Seen, begin, complete, make_spec, record, write_result

from eqbench import ui
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import digest
from eqbench.tracking import Tracker, view_state, views
from eqbench.tracking.view_state import TaskRuns

DIGITS = TaskRuns("digits", "abc", ("top1", "many", "medium", "few", "worst"), ("many", "medium", "few"))


def charts(state: str) -> list[tuple[str, str]]:
    """Kind and metric of every chart."""
    return [(card["type"], card.get("metricKey", "")) for card in json.loads(state)["compareRunCharts"]]


def test_the_charts_of_a_task() -> None:
    state = json.loads(view_state.comparison(DIGITS))
    assert charts(view_state.comparison(DIGITS)) == [
        ("BAR", "val/top1"),
        ("BAR", "val/many"),
        ("BAR", "val/medium"),
        ("BAR", "val/few"),
        ("SCATTER", ""),
        ("LINE", "val/top1"),
        ("LINE", "val/few"),
        ("LINE", "gradient/ratio_many"),
        ("LINE", "gradient/ratio_medium"),
        ("LINE", "gradient/ratio_few"),
        ("LINE", "train/loss"),
        ("BAR", "cost/seconds_per_step"),
        ("BAR", "cost/peak_memory_mb"),
        ("BAR", "cost/train_seconds"),
    ]
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {card["metricSectionId"] for card in state["compareRunCharts"]} <= sections
    assert len({card["uuid"] for card in state["compareRunCharts"]}) == 14
    scatter = state["compareRunCharts"][4]
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == ("val/many", "val/few")
    assert "tags.`eqbench.recipe` = 'abc'" in state["searchFilter"]


def test_group_metrics_by_either_name() -> None:
    assert TaskRuns("lvis", "", ("ap", "ap50", "ap_f", "ap_c", "ap_r"), ("f", "c", "r")).shown == (
        "val/ap",
        "val/ap_f",
        "val/ap_c",
        "val/ap_r",
    )
    assert TaskRuns("plain", "", ("top1",), ("many",)).shown == ("val/top1",)
    assert charts(view_state.comparison(TaskRuns("new", "")))[0] == ("LINE", "train/loss")


def test_the_table_of_all_runs_has_the_metrics_of_every_task() -> None:
    lvis = TaskRuns("lvis", "", ("ap", "ap_f", "ap_r"), ("f", "r"))
    columns = json.loads(view_state.all_runs([DIGITS, lvis]))["selectedColumns"]
    metrics = [column for column in columns if column.startswith("metrics.`val/")]
    assert metrics == ["metrics.`val/top1`", "metrics.`val/few`", "metrics.`val/ap`", "metrics.`val/ap_r`"]
    assert columns[-1] == "tags.`eqbench.status_detail`"


def test_a_key_for_every_task() -> None:
    assert view_state.share_key("cosine (tau=1)") != view_state.share_key("cosine (tau=2)")
    place = view_state.place("1", "a b&c", charts=False)
    assert place == "#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=a+b%26c"


def tags(seen: Seen) -> dict[str, Any]:
    experiment = seen.client.get_experiment_by_name("toy")
    assert experiment is not None
    return dict(experiment.tags)


def search(seen: Seen, state: dict[str, Any]) -> list[Run]:
    """What the page asks the store for."""
    experiment = seen.client.get_experiment_by_name("toy")
    assert experiment is not None
    order = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    return list(seen.client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=order))


def test_a_suite_that_has_ended_has_its_views(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    complete(run)
    assert tracker.send(run, running=False)
    assert tracker.close("FINISHED"), tracker.behind
    kept = tags(seen)
    assert kept["mlflow.experimentKind"] == "custom_model_development"
    state = json.loads(kept["mlflow.sharedViewState.eqbench-digits"])
    assert state["orderByKey"] == "metrics.`val/top1`"
    assert [each.data.tags["eqbench.recipe"] for each in search(seen, state)] == [digest(make_spec(0).recipe)]

    shown = views.publish(uri, suite)
    assert [view.title for view in shown.views] == ["all runs", "digits", "leaderboard"]
    addresses = dict(shown.addresses("http://x/"))
    assert addresses["digits"].endswith("eqbench-digits&compareRunsMode=CHART")
    (parent,) = seen.runs("suite")
    assert addresses["leaderboard"] == f"http://x/#/experiments/1/runs/{parent.info.run_id}"
    assert tags(seen) == kept


def test_the_filter_finds_what_the_leaderboard_averages(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    tracker = Tracker(uri, suite)
    tracker.open()
    complete(run)
    failed = suite.run(make_spec(1).run_id)
    begin(failed, 0, 20)
    write_result(failed, "failed", "loss is not finite")
    other = make_spec(2).model_copy(update={"protocol": "accuracy:best"})
    suite.write_plan([make_spec(0), make_spec(1), other], "name: toy\n")
    complete(suite.run(other.run_id))
    for each in (run, failed, suite.run(other.run_id)):
        assert tracker.send(each, running=False)
    assert tracker.close("FAILED")
    state = json.loads(tags(seen)["mlflow.sharedViewState.eqbench-digits"])
    assert [each.data.tags["eqbench.run_id"] for each in search(seen, state)] == [run.run_id]


def test_before_the_first_run_has_finished_the_metrics_are_those_seen_so_far(
    suite: SuiteFolder, run: RunFolder
) -> None:
    assert [runs.metrics for runs in views.task_runs(suite)] == [()]
    begin(run, 0)
    record(run, 20, **{"val/few": 1.0})
    (runs,) = views.task_runs(suite)
    assert (set(runs.metrics), runs.groups) == ({"few", "top1"}, ("few",))


def test_an_experiment_of_somebody_else_keeps_what_it_has(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    """Of the suite's name, with its own kind, tag and run."""
    theirs = {"mlflow.experimentKind": "genai_development", "mlflow.note.content": "ours"}
    experiment_id = seen.client.create_experiment("toy", tags=theirs)
    foreign = seen.client.create_run(experiment_id, run_name="theirs")
    tracker = Tracker(uri, suite)
    tracker.open()
    complete(run)
    assert tracker.send(run, running=False)
    assert tracker.close("FINISHED")
    assert theirs.items() <= tags(seen).items()
    untouched = seen.client.get_run(foreign.info.run_id)
    assert (untouched.info.status, untouched.data.tags) == ("RUNNING", foreign.data.tags)
    state = json.loads(tags(seen)["mlflow.sharedViewState.eqbench"])
    assert [each.data.tags["eqbench.run_id"] for each in search(seen, state)] == [run.run_id]


def test_an_experiment_without_our_runs_is_left_as_it_is(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder
) -> None:
    complete(run)
    experiment_id = seen.client.create_experiment("toy", tags={"mlflow.note.content": "ours"})
    seen.client.create_run(experiment_id, run_name="theirs")
    before = tags(seen)
    shown = views.publish(uri, suite)
    assert (shown.problem, shown.views) == ("toy has not been tracked there; `eqbench sync` sends it", ())
    assert tags(seen) == before
    assert Tracker(uri, suite).send(run, running=False)
    assert [view.title for view in views.publish(uri, suite).views] == ["all runs", "digits"]


def test_an_experiment_of_ours_says_so(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    assert Tracker(uri, suite).send(run, running=True)
    assert tags(seen)["eqbench.suite"] == "toy"


def test_the_page_is_announced_with_the_views(
    uri: str, suite: SuiteFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        def wait(self) -> None:
            raise KeyboardInterrupt

    server = contextlib.nullcontext((Server(), "http://127.0.0.1:5000"))
    monkeypatch.setattr(ui, "mlflow_server", lambda uri, port: server)
    screen = io.StringIO()
    ui.serve(uri, Console(file=screen, width=60), suite=suite)
    assert screen.getvalue().splitlines()[2].startswith("no view of toy: toy has not been tracked there")

    complete(run)
    assert Tracker(uri, suite).send(run, running=False)
    screen.truncate(0)
    ui.serve(uri, Console(file=screen, width=60), suite=suite)
    start = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=eqbench"
    assert screen.getvalue().lstrip("\0").splitlines() == [
        "starting MLflow ...",
        "MLflow UI: http://127.0.0.1:5000  (Ctrl-C ends it)",
        f"toy, all runs  {start}",
        f"toy, digits    {start}-digits&compareRunsMode=CHART",
    ]


def test_why_there_is_no_view(uri: str, dead_uri: str, suite: SuiteFolder, run: RunFolder, tmp_path: Path) -> None:
    complete(run)
    missing = tmp_path / "none.db"
    assert "no MLflow store yet" in views.publish(f"sqlite:///{missing}", suite).problem
    assert not missing.exists()
    assert views.publish(uri, suite).problem == "toy has not been tracked there; `eqbench sync` sends it"
    assert MlflowClient(tracking_uri=uri).get_experiment_by_name("toy") is None
    assert views.publish(dead_uri, suite).problem == f"MLflow at {dead_uri}: Connection refused"
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.create_experiment("toy"))
    assert views.publish(uri, suite).problem == "experiment 'toy' was deleted in MLflow"


def test_a_sweep_has_no_means_of_its_settings(tmp_path: Path) -> None:
    folder = SuiteFolder(tmp_path, "toy/sweeps")
    folder.create()
    folder.write_plan([make_spec(0)], "name: toy\n")
    assert views.task_runs(folder) == []
