"""The leaderboard on the parent run: its files, figures and numbers, whoever ends the parent run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tracked_runs import Seen, begin, complete, make_spec, write_result

from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking import Tracker, board, reconciliation, sync
from eqbench.tracking import invocation as invocations
from eqbench.tracking.invocation import Invocation

GOLDEN = Path(__file__).parents[1] / "leaderboard" / "golden" / "board.json"
FILES = [f"board/leaderboard.{ending}" for ending in ("csv", "html", "json", "md", "tex")]


@pytest.fixture
def golden(tmp_path: Path) -> Invocation:
    """An `eqbench run` with the leaderboard that the formats are tested with."""
    folder = tmp_path / "artifacts" / "board"
    folder.mkdir(parents=True)
    shutil.copy(GOLDEN, folder / "leaderboard.json")
    return Invocation(tmp_path, "toy", "", 0.0)


@pytest.fixture
def two_losses(suite: SuiteFolder) -> list[RunFolder]:
    """Two losses with two seeds each, all finished."""
    specs = [make_spec(seed, loss=loss) for loss in ("cross_entropy", "efl") for seed in (0, 1)]
    suite.write_plan(specs, "name: toy\n")
    runs = [suite.run(spec.run_id) for spec in specs]
    for run, result in zip(runs, (90.0, 92.0, 93.0, 96.0), strict=True):
        begin(run, 0, 20, 40)
        write_result(run, metrics={"top1": result, "many": result + 1, "few": result - 10})
    return runs


def test_the_numbers_of_the_board_are_metrics(golden: Invocation) -> None:
    tasks = {task["title"]: task for task in json.loads(GOLDEN.read_text())["tasks"]}
    base, other = tasks["digits"]["losses"][:2]
    values, left_out = board.metrics(golden, room=60)
    assert left_out == ""
    assert values["digits/top1/mean/cross_entropy"] == base["metrics"]["top1"]["mean"]
    assert values["digits/top1/half_width/cross_entropy"] == base["metrics"]["top1"]["half_width"]
    changes = {key: value for key, value in values.items() if key.startswith(("digits/top1/ch", "digits/top1/p"))}
    change = other["metrics"]["top1"]["change"]
    assert {change["mean"], change["half_width"], change["p_holm"]} <= set(changes.values())
    assert values["ranking/mean_rank/cross_entropy"] == 1.5
    assert not any("iterations 800" in key or ("Gr_" not in key and "digits/few" in key) for key in values)


def test_a_kind_without_room_is_left_out_whole_and_named(golden: Invocation) -> None:
    everything, _ = board.metrics(golden, room=60)
    values, left_out = board.metrics(golden, room=len(everything) - 1)
    kept = {kind for kind in board.KINDS if any(f"/{kind}/" in key for key in values)}
    assert kept == set(board.KINDS) - {"borda"}
    assert left_out == "borda: the rest is in board/leaderboard.json"
    assert board.metrics(golden, room=0)[0] == {}


def test_labels_that_mlflow_cannot_tell_apart_have_keys_of_their_own(golden: Invocation) -> None:
    file = golden.path / "artifacts" / "board" / "leaderboard.json"
    text = file.read_text().replace('"cross_entropy"', '"a(1)"').replace('"均衡_损失"', '"a=1="')
    file.write_text(text)
    means = [key for key in board.metrics(golden, room=60)[0] if key.startswith("digits/top1/mean/a")]
    assert sorted(means) == ["digits/top1/mean/a_1_", "digits/top1/mean/a_1__"]


def check(seen: Seen, status: str) -> None:
    """The last parent run has the leaderboard of `two_losses` in every form."""
    parent = seen.runs("suite")[-1]
    assert parent.info.status == status
    assert parent.data.metrics["digits/top1/mean/efl"] == 94.5
    assert parent.data.metrics["digits/top1/change/efl"] == 3.5
    assert parent.data.metrics["ranking/mean_rank/efl"] == 1.0
    assert parent.data.metrics["digits/top1/half_width/efl"] == pytest.approx(19.06, abs=0.01)
    assert "| efl | 2 | 94.5 ± 19.1 (+3.5 ± 6.4)" in parent.data.tags["mlflow.note.content"]
    files = seen.artifacts(parent)
    assert set(FILES) <= set(files)
    assert {"plots/curves.png", "plots/tradeoff.png"} <= set(files)


def test_the_end_of_a_run_brings_the_board(uri: str, seen: Seen, suite: SuiteFolder, two_losses: Any) -> None:
    tracker = Tracker(uri, suite)
    tracker.open(run_ids=[run.run_id for run in two_losses])
    assert tracker.close("FINISHED"), tracker.behind
    check(seen, "FINISHED")


def test_who_interrupts_does_not_wait_for_figures(uri: str, seen: Seen, suite: SuiteFolder, two_losses: Any) -> None:
    tracker = Tracker(uri, suite)
    tracker.open(run_ids=[run.run_id for run in two_losses])
    assert tracker.close("KILLED"), tracker.behind
    (parent,) = seen.runs("suite")
    assert seen.artifacts(parent) == [*(name for name in FILES if "html" not in name), "config/suite.yaml"]


@pytest.mark.parametrize("way", ["sync", "reconcile", "run"])
def test_a_driver_that_was_killed_has_its_board_from_the_next(
    uri: str, seen: Seen, suite: SuiteFolder, two_losses: list[RunFolder], way: str
) -> None:
    killed = Tracker(uri, suite)
    killed.open(run_ids=[run.run_id for run in two_losses])
    assert killed.level()
    if way == "sync":
        assert sync(suite.path.parent).behind == []
    elif way == "reconcile":
        assert reconciliation(suite.path.parent).behind == []
    else:
        following = Tracker(uri, suite)
        following.open()
        assert following.level()
    check(seen, "KILLED")


def test_a_board_of_today_is_not_given_to_older_runs(uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder) -> None:
    for _ in range(2):
        tracker = Tracker(uri, suite)
        tracker.open()
        invocations.end_stale(suite)
    assert Tracker(uri, suite).level()
    older, last = seen.runs("suite")
    assert seen.artifacts(older) == ["config/suite.yaml"]
    assert set(FILES) <= set(seen.artifacts(last))


def test_a_parent_that_an_earlier_version_sent_gets_its_board(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(run)
    with monkeypatch.context() as earlier:
        earlier.setattr("eqbench.tracking.schema.VERSION", "2")
        earlier.setattr(board, "write", lambda *_, **__: None)
        tracker = Tracker(uri, suite)
        tracker.open()
        assert tracker.close("FINISHED")
    assert sync(suite.path.parent).behind == []
    (parent,) = seen.runs("suite")
    assert set(FILES) <= set(seen.artifacts(parent))
    assert "| softmax_eql" in parent.data.tags["mlflow.note.content"]


def test_what_cannot_be_drawn_costs_nothing_else(
    uri: str, seen: Seen, suite: SuiteFolder, run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    complete(run)
    (run.path / "dataset.json").write_text("{}")
    tracker = Tracker(uri, suite)
    tracker.open()
    assert tracker.close("FINISHED")
    assert set(FILES) <= set(seen.artifacts(seen.runs("suite")[0]))
    (message,) = caplog.messages
    assert message.startswith("toy, for MLflow: gradients: ")
    assert message.endswith(" more)")
