from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from written_suites import make_spec, top1, write_suite

from eqbench import leaderboard
from eqbench.leaderboard import results, sheets
from eqbench.leaderboard.results import Problem, Record
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import RunSpec


def change_result(run: RunFolder, **changes: Any) -> None:
    """What is None is left out."""
    fields = {**(run.read_result() or {}), **changes}
    run.write_result({key: value for key, value in fields.items() if value is not None})


def read(folder: SuiteFolder) -> tuple[list[Record], list[Problem]]:
    return results.read([folder])


def test_a_result_says_what_was_run(tmp_path: Path) -> None:
    spec = make_spec(seed=3, loss_params={"cross_entropy": {"smoothing": 0.1}})
    result = json.loads(json.dumps(unsuccessful_result(spec, RunFolder(tmp_path), "failed", "no")))
    assert RunSpec.model_validate_json(json.dumps(result["spec"])) == spec


def test_runs_that_have_ended_are_read_from_their_results(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1, 2, 3), ("t", "b"): ["broken", None]})
    expected = [make_spec("t", "a", seed) for seed in range(3)] + [make_spec("t", "b", seed) for seed in range(2)]
    for spec in expected[:4]:
        folder.run(spec.run_id).spec_file.write_text("not: [read")
    records, unreadable = read(folder)
    assert unreadable == []
    assert [record.spec for record in records] == expected
    assert [record.spec.run_id for record in records] == [spec.run_id for spec in expected]
    assert [record.status for record in records] == [*["finished"] * 3, "failed", "not run yet"]


def test_an_older_result_without_it_is_read_beside_run_yaml(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1, 2)})
    for run in folder.runs():
        change_result(run, spec=None)
    records, unreadable = read(folder)
    assert ([record.seed for record in records], unreadable) == ([0, 1], [])
    (column,) = leaderboard.board([folder]).columns
    assert column.entries["a"].cells["top1"].value.mean == 1.5


def test_a_run_whose_run_yaml_is_gone_counts(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1, 2)})
    for run in folder.runs():
        run.spec_file.unlink()
    records, unreadable = read(folder)
    assert ([record.seed for record in records], unreadable) == ([0, 1], [])


def test_what_was_left_out_is_no_run_to_come(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1), ("t", "b"): [None], ("t", "c"): [None]})
    specs = [make_spec("t", loss) for loss in "abc"]
    folder.run(specs[2].run_id).start_attempt()
    folder.write_plan(specs, "", {spec.run_id: "--only loss=a" for spec in specs[1:]})
    records, _ = read(folder)
    assert [record.status for record in records] == ["finished", "left out by --only loss=a", "started, not finished"]
    assert [str(problem) for problem in leaderboard.board([folder]).problems] == [
        "t · b · s0: left out by --only loss=a",
        "t · c · s0: started, not finished",
    ]


def test_a_damaged_result_of_an_earlier_plan_is_not_forgotten(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1), ("t", "b"): top1(2)})
    folder.write_plan([make_spec("t", "a")], "")
    folder.run(make_spec("t", "b").run_id).result_file.write_text("")
    (problem,) = leaderboard.board([folder]).problems
    assert "result.json: cannot be read" in str(problem)


@pytest.mark.parametrize("changes", [{"seed": "0"}, {"seed": -1}, {"seed": True}, {"budget": 3}, {"task_label": None}])
def test_a_damaged_description_is_a_problem_of_that_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1, 2)})
    run = folder.run(make_spec("t", "a", 1).run_id)
    change_result(run, spec={**make_spec("t", "a", 1).model_dump(mode="json"), **changes})
    records, (problem,) = read(folder)
    assert [record.seed for record in records] == [0]
    assert (problem.run_ids, "result.json: spec: " in problem.reason) == ((run.run_id,), True)


@pytest.mark.parametrize(
    ("device", "resources", "gpu", "core", "header", "value"),
    [
        ("cuda", {"num_workers": 4, "gpus_per_worker": 1.0}, 2.0, math.nan, "GPU h", "2"),
        ("cuda", {"num_workers": 1, "gpus_per_worker": 0.5}, 0.25, math.nan, "GPU min", "15"),
        ("cuda", {"num_workers": 1, "gpus_per_worker": 0.01}, 0.005, math.nan, "GPU s", "18"),
        ("cpu", {"num_workers": 2, "cpus_per_worker": 3.0}, math.nan, 3.0, "core h", "3"),
    ],
)
def test_device_hours(
    tmp_path: Path, device: str, resources: dict[str, Any], gpu: float, core: float, header: str, value: str
) -> None:
    """Half an hour of training; `gpu`, `core` and `value` by hand."""
    folder = write_suite(tmp_path, {("t", "a"): top1(1)}, resources=resources)
    cost = {"device": device, "num_workers": resources["num_workers"], "train_seconds": 1800.0}
    change_result(folder.runs()[0], cost=cost)
    (record,), _ = read(folder)
    assert [record.number("cost", name) for name in ("gpu_hours", "cpu_core_hours")] == pytest.approx(
        [gpu, core], nan_ok=True
    )
    board = leaderboard.board([folder])
    assert board.columns[0].entries["a"].costs["gpu_hours"].mean == pytest.approx(gpu, nan_ok=True)
    (sheet,) = sheets.sheets(board)
    shown = dict(zip(sheet.header, (cell.value for cell in sheet.rows[0].cells), strict=True))
    assert shown[header] == value
    assert len(shown) == 3  # with n and top1


def test_a_run_whose_artifacts_were_deleted_keeps_its_numbers(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1, 2)})
    for run in folder.runs():
        kept = {run.spec_file, run.result_file}
        for file in run.path.iterdir():
            if file not in kept:
                file.unlink()
    assert leaderboard.board([folder]).columns[0].entries["a"].cells["top1"].value.n == 2


@pytest.mark.parametrize("number", [None, "NaN", "Infinity", '"12"', "[1]", "true"])
def test_a_number_that_is_none_is_missing(tmp_path: Path, number: str | None) -> None:
    folder = write_suite(tmp_path, {("t", "a"): [{"top1": 1.0, "few": 2.5}, {"top1": 2.0, "few": 4.0}]})
    file = folder.run(make_spec("t", "a", 1).run_id).result_file
    text = file.read_text()
    assert '"few": 4.0' in text
    file.write_text(text.replace('"few": 4.0', f'"few": {number}' if number else '"other": 4.0'))
    cells = leaderboard.board([folder]).columns[0].entries["a"].cells
    assert (cells["few"].value.mean, cells["few"].value.n, cells["top1"].value.n) == (2.5, 1, 2)
