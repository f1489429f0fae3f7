from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from written_suites import Outcome, Outcomes, make_spec, top1, write_run, write_suite

from eqbench import leaderboard
from eqbench.errors import InputError
from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.run_folder import SuiteFolder
from eqbench.run_spec import Origin

BASELINE = [90.0, 91.0, 92.0, 93.0, 94.0]
BETTER = [92.0, 92.9, 94.1, 95.2, 95.8]
NOISY = [95.0, 85.0, 99.0, 88.0, 90.0]


def titles(board: Leaderboard) -> list[str]:
    return [column.title for column in board.columns]


def test_means_intervals_and_paired_changes(tmp_path: Path) -> None:
    board = leaderboard.board(
        [
            write_suite(
                tmp_path,
                {
                    ("digits", "cross_entropy"): top1(*BASELINE),
                    ("digits", "noisy"): top1(*NOISY),
                    ("digits", "softmax_eql"): top1(*BETTER),
                },
            )
        ]
    )
    (column,) = board.columns
    assert (column.title, column.baseline, column.metrics) == ("digits", "cross_entropy", ("top1",))
    assert list(column.entries) == ["cross_entropy", "softmax_eql", "noisy"]
    better, noisy = (column.entries[label].cells["top1"] for label in ("softmax_eql", "noisy"))
    assert column.entries["cross_entropy"].cells["top1"].change is None
    assert better.value.mean == pytest.approx(94.0)
    assert better.value.n == 5
    assert better.change is not None
    assert noisy.change is not None
    assert better.change.mean == pytest.approx(2.0)
    assert better.change.p == pytest.approx(stats.ttest_rel(BETTER, BASELINE).pvalue)
    assert better.p_holm == pytest.approx(2 * better.change.p)  # the smaller of two
    assert noisy.p_holm == pytest.approx(noisy.change.p)
    assert better.significant
    assert not noisy.significant
    assert column.entries["softmax_eql"].costs["seconds_per_step"] == (0.02, 0.0, 5)


def test_the_baseline_is_the_first_loss_of_the_plan_even_if_it_is_worst(tmp_path: Path) -> None:
    board = leaderboard.board(
        [write_suite(tmp_path, {("t", "z"): top1(1, 2), ("t", "a"): top1(5, 6), ("t", "b"): top1(7, 8)})]
    )
    assert [(row.label, row.baseline) for row in board.rows] == [("z", True), ("b", False), ("a", False)]


def test_the_main_metric_comes_first_and_a_metric_that_does_not_exist_is_left_out(tmp_path: Path) -> None:
    runs: list[Outcome] = [{"few": None, "top1": 1.0, "many": 5.0}, {"few": 3.0, "top1": 2.0, "many": 7.0}]
    (column,) = leaderboard.board([write_suite(tmp_path, {("t", "a"): runs})]).columns
    assert column.metrics == ("top1", "few", "many")
    cells = column.entries["a"].cells
    assert [cells[name].value.n for name in column.metrics] == [2, 1, 2]
    assert cells["few"].value.mean == 3.0


def test_mean_rank_and_borda_over_tasks_by_hand(tmp_path: Path) -> None:
    scores = {"t1": {"a": 70, "b": 80, "c": 60}, "t2": {"a": 30, "b": 30, "c": 10}, "t3": {"a": 50, "b": 60, "c": 90}}
    outcomes = {(task, loss): top1(value, value) for task, row in scores.items() for loss, value in row.items()}
    board = leaderboard.board([write_suite(tmp_path, outcomes)])
    assert [row.label for row in board.rows] == ["a", "b", "c"]
    assert [row.standing.mean_rank for row in board.rows] == pytest.approx([6.5 / 3, 1.5, 7 / 3])
    assert [row.standing.borda for row in board.rows] == [2.5, 4.5, 2.0]


def test_ties_by_rounding_share_their_rank(tmp_path: Path) -> None:
    scores = {"a": [80.0, 90.0], "b": [82.22222222222221, 50.0], "c": [82.22222222222223, 50.0]}
    board = leaderboard.board([write_suite(tmp_path, {("t", loss): top1(*row) for loss, row in scores.items()})])
    assert [(row.label, row.standing.ranks) for row in board.rows] == [("a", (1.0,)), ("b", (2.5,)), ("c", (2.5,))]


def test_constant_differences_of_counts_are_never_significant(tmp_path: Path) -> None:
    counts = (307, 210, 266)
    outcomes = {("t", loss): top1(*(100 * (k + more) / 360 for k in counts)) for loss, more in (("a", 0), ("b", 7))}
    cell = leaderboard.board([write_suite(tmp_path, outcomes)]).columns[0].entries["b"].cells["top1"]
    assert cell.change is not None
    assert (cell.change.half_width, cell.significant) == (0.0, False)


def test_no_loss_is_the_baseline_of_all_where_tasks_have_their_own(tmp_path: Path) -> None:
    outcomes = {
        ("digits", "ce"): top1(50, 51),
        ("digits", "eql"): top1(60, 61),
        ("boxes", "bce"): top1(20, 21),
        ("boxes", "eql"): top1(30, 31),
    }
    board = leaderboard.board([write_suite(tmp_path, outcomes)])
    assert [column.baseline for column in board.columns] == ["ce", "bce"]
    assert [(row.label, row.baseline) for row in board.rows] == [("eql", False), ("ce", False), ("bce", False)]


def test_a_row_says_which_parameters_differ_from_task_to_task(tmp_path: Path) -> None:
    folder = SuiteFolder(tmp_path, "tuned")
    folder.create()
    specs = []
    for task, tau in (("a", 1.0), ("b", 0.1)):
        for loss in ("ce", "eql"):
            specs.append(make_spec(task, loss, suite="tuned", loss_params={"eql": {"tau": tau, "gamma": 2.0}}))
            write_run(folder, specs[-1], {"top1": 50.0})
    folder.write_plan(specs, "name: tuned\n")
    board = leaderboard.board([folder])
    assert {row.label: row.varying for row in board.rows} == {"ce": (), "eql": ("tau",)}


def test_incomplete_rows_stand_below_complete_ones_and_say_what_is_missing(tmp_path: Path) -> None:
    outcomes: Outcomes = {
        ("t", "base"): top1(1, 2, 3),
        ("t", "partial"): [*top1(99, 99), None],
        ("t", "broken"): ["non-finite loss at iteration 40"] * 3,
        ("t", "mixed"): ["out of memory", None, None],
        ("t", "low"): top1(0, 0, 0),
        ("t", "no_number"): top1(None, 5, 5),
        ("t", "waiting"): [None] * 3,
    }
    board = leaderboard.board([write_suite(tmp_path, outcomes)])
    assert [(row.label, row.missing) for row in board.rows] == [
        ("base", ()),
        ("low", ()),
        ("partial", ("2 of 3 seeds",)),
        ("broken", ("failed",)),
        ("mixed", ("0 of 3 seeds, 1 failed",)),
        ("no_number", ("main metric of 2 of 3 seeds",)),
        ("waiting", ("not run yet",)),
    ]
    partial = board.columns[0].entries["partial"]
    assert partial.cells["top1"].value == (99.0, 0.0, 2)
    assert partial.cells["top1"].change is not None
    assert partial.cells["top1"].change.n == 2
    assert math.isnan(partial.rank)
    assert [str(problem) for problem in board.problems] == [
        "t · partial · s2: not run yet",
        "t · broken · s0, s1, s2: failed: non-finite loss at iteration 40",
        "t · mixed · s0: failed: out of memory",
        "t · mixed · s1, s2: not run yet",
        "t · waiting · s0, s1, s2: not run yet",
    ]


def test_a_loss_that_one_task_does_not_have_is_incomplete(tmp_path: Path) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", "a"): top1(1), ("t", "b"): top1(2), ("u", "a"): top1(1)})])
    assert [(row.label, row.missing) for row in board.rows] == [("a", ()), ("b", ("u: not in the plan",))]


def test_a_loss_that_an_earlier_plan_ran_with_fewer_seeds_is_incomplete(tmp_path: Path) -> None:
    write_suite(tmp_path, {("t", "a"): top1(1), ("t", "better"): top1(9)})
    board = leaderboard.board([write_suite(tmp_path, {("t", "a"): top1(1, 2), ("t", "b"): top1(0, 1)})])
    assert [row.label for row in board.rows] == ["a", "b", "better"]
    assert board.columns[0].entries["better"].missing == "1 of 2 seeds"


def test_an_interrupted_run_is_told_from_one_that_never_started(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): [None, None]})
    folder.run(make_spec(seed=1).run_id).start_attempt()
    assert [p.reason for p in leaderboard.board([folder]).problems] == ["not run yet", "started, not finished"]


def test_nothing_has_run_yet(tmp_path: Path) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", "a"): [None], ("t", "b"): [None]})])
    assert [(row.label, row.missing) for row in board.rows] == [("a", ("not run yet",)), ("b", ("not run yet",))]
    assert board.columns[0].metrics == ()


# -- what does not share a column ----------------------------------------------------------------------------


def test_another_budget_is_another_column(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "cross_entropy"): top1(10, 20), ("digits", "old"): top1(90, 91)}, iterations=100)
    board = leaderboard.board([write_suite(tmp_path, {("digits", "cross_entropy"): top1(80, 81)})])
    assert titles(board) == ["digits", "digits [iterations 100]"]
    assert [column.current for column in board.columns] == [True, False]
    assert [row.label for row in board.rows] == ["cross_entropy"]  # earlier plans are not ranked
    old = board.columns[1]
    assert old.baseline == "cross_entropy"
    assert old.entries["old"].cells["top1"].change is not None


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"task_version": 2}, "digits [task_version 2]"),
        ({"protocol": "accuracy:best"}, "digits [protocol accuracy:best]"),
        ({"data_digest": "fedcba9876543210"}, "digits [data_digest fedcba98]"),
        (
            {"data_digest": "fe", "data": {"name": "digits", "params": {"imbalance_factor": 9}}},
            "digits [data.imbalance_factor 9]",
        ),
        ({"model": {"name": "classifier", "params": {"backbone": "resnet32"}}}, "digits [model.backbone resnet32]"),
    ],
)
def test_another_key_or_recipe_is_another_column(tmp_path: Path, changes: dict[str, Any], title: str) -> None:
    write_suite(tmp_path, {("digits", "cross_entropy"): top1(10, 20)}, **changes)
    assert titles(leaderboard.board([write_suite(tmp_path, {("digits", "cross_entropy"): top1(80, 81)})])) == [
        "digits",
        title,
    ]


def test_titles_are_never_the_same(tmp_path: Path) -> None:
    data = {"name": "digits", "params": {"imbalance_factor": 9}}
    write_suite(tmp_path, {("digits", "a"): top1(1)}, data=data, data_digest="aa")
    write_suite(tmp_path, {("digits", "a"): top1(2)}, data=data, data_digest="bbbbbbbb1")
    write_suite(tmp_path, {("digits", "a"): top1(2)}, data=data, data_digest="bbbbbbbb2")
    board = leaderboard.board([write_suite(tmp_path, {("digits", "a"): top1(3)})])
    assert len(set(titles(board))) == 4


def test_where_the_data_lies_makes_no_other_column(tmp_path: Path) -> None:
    data = {"name": "digits", "params": {"imbalance_factor": 50, "root": "elsewhere"}}
    one = write_suite(tmp_path, {("digits", "a"): top1(1, 2)}, suite="one", data=data)
    two = write_suite(tmp_path, {("digits", "a"): top1(1, 2)}, suite="two")
    board = leaderboard.board([one, two])
    assert titles(board) == ["digits"]
    assert board.columns[0].entries["a"].finished == 2  # the same runs in both suites count once


def test_other_parameters_of_a_loss_are_another_row(tmp_path: Path) -> None:
    outcomes = {("digits", "cross_entropy"): top1(1, 2), ("digits", "softmax_eql"): top1(3, 4)}
    write_suite(tmp_path, outcomes, loss_params={"softmax_eql": {"tau": 0.5}})
    board = leaderboard.board([write_suite(tmp_path, outcomes, loss_params={"softmax_eql": {"tau": 1.0}})])
    assert titles(board) == ["digits"]
    assert set(board.columns[0].entries) == {"cross_entropy", "softmax_eql", "softmax_eql [tau 0.5]"}


def test_unfinished_runs_of_earlier_plans_are_forgotten(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "gone"): [None, "out of memory"]})
    write_suite(tmp_path, {("digits", "gone"): ["out of memory"]}, iterations=7)
    board = leaderboard.board([write_suite(tmp_path, {("digits", "a"): top1(1)})])
    assert titles(board) == ["digits"]
    assert [row.label for row in board.rows] == ["a"]
    assert board.problems == ()


def test_several_suites_make_one_board(tmp_path: Path) -> None:
    one = write_suite(tmp_path, {("t", "a"): top1(1, 2), ("t", "b"): top1(3, 4)}, suite="one")
    two = write_suite(tmp_path, {("t", "a"): top1(1, 2), ("t", "c"): top1(5, 6), ("u", "a"): top1(7, 8)}, suite="two")
    board = leaderboard.board([one, two])
    assert board.suites == ("one", "two")
    assert titles(board) == ["t", "u"]
    assert list(board.columns[0].entries) == ["a", "c", "b"]


# -- sweeps --------------------------------------------------------------------------------------------------


def write_trials(storage: Path, rates: dict[float, Outcome], **changes: Any) -> SuiteFolder:
    """A sweep over the learning rate; two of its trials have the same label."""
    folder = SuiteFolder(storage, "quickstart/sweeps")
    folder.create()
    specs = []
    for rate, outcome in rates.items():
        train = make_spec().train.model_dump() | {"optimizer": {"name": "sgd", "lr": rate}}
        label = f"eql(lr={rate:.1g})"
        specs.append(make_spec("digits", label, suite="quickstart/sweeps", train=train, **changes))
        write_run(folder, specs[-1], outcome)
    folder.write_plan(specs, "name: quickstart\n")
    return folder


def test_trials_of_a_sweep_are_one_table_that_is_not_ranked_over_tasks(tmp_path: Path) -> None:
    rates: dict[float, Outcome] = {0.1: {"top1": 50.0}, 0.2: "diverged", 0.11: {"top1": 70.0}, 0.3: {"top1": 60.0}}
    board = leaderboard.board([write_trials(tmp_path, rates)])
    (column,) = board.columns
    assert (column.title, column.trials, column.ranked) == ("digits, trials", True, False)
    assert list(column.entries) == ["eql(lr=0.1)", "eql(lr=0.1) [optimizer.lr 0.11]", "eql(lr=0.3)", "eql(lr=0.2)"]
    assert [entry.rank for entry in column.entries.values()] == pytest.approx([3, 1, 2, math.nan], nan_ok=True)
    assert board.rows == ()


def test_trials_stand_apart_from_the_runs_of_the_suite(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, {("digits", "ce"): top1(1), ("digits", "eql"): top1(2)})
    sweep = write_trials(tmp_path, {0.1: {"top1": 50.0}, 0.2: {"top1": 51.0}}, task_version=2)
    for folders in ([suite, sweep], [sweep, suite]):
        board = leaderboard.board(folders)
        assert sorted(titles(board)) == ["digits", "digits, trials"]
        assert [column.title for column in board.ranked] == ["digits"]
        assert [row.label for row in board.rows] == ["ce", "eql"]


def test_trials_of_another_budget_are_another_table(tmp_path: Path) -> None:
    write_trials(tmp_path, {0.1: {"top1": 50.0}}, budget={**make_spec(iterations=9).budget.model_dump()})
    board = leaderboard.board([write_trials(tmp_path, {0.2: {"top1": 51.0}})])
    assert titles(board) == ["digits, trials", "digits, trials [iterations 9]"]


# -- bad folders ---------------------------------------------------------------------------------------------


def test_a_suite_without_runs_is_an_input_error(tmp_path: Path) -> None:
    storage = write_suite(tmp_path, {("t", "a"): top1(1)}).path.parent
    with pytest.raises(InputError, match=r"suite 'quikstart' has no runs here; did you mean 'quickstart'\?"):
        leaderboard.board([SuiteFolder(storage, "quikstart")])


def test_a_result_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): top1(1)})
    folder.run(make_spec().run_id).result_file.write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="schema_version: 99 is not known here"):
        leaderboard.board([folder])


def test_runs_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): [None, None, {"top1": 3.0}]})
    first, second = (folder.run(make_spec(seed=seed).run_id) for seed in (0, 1))
    first.spec_file.write_bytes(b"\xff\x00: [")
    second.spec_file.unlink()
    board = leaderboard.board([folder])
    assert board.columns[0].entries["cross_entropy"].finished == 1
    reasons = {problem.name: problem.reason for problem in board.problems}
    assert reasons[f"quickstart/{second.run_id}"] == "run.yaml is missing"
    assert "run.yaml: cannot be read as a run" in reasons[f"quickstart/{first.run_id}"]


def test_a_broken_result_is_said_to_be_broken(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): top1(1, 2, 3)})
    first, second = (folder.run(make_spec(seed=seed).run_id) for seed in (1, 2))
    first.result_file.write_text('{"schema_version": 1, "sta')
    second.write_result({**(second.read_result() or {}), "main_metric": [5]})
    board = leaderboard.board([folder])
    assert [str(problem) for problem in board.problems] == [
        "digits · cross_entropy · s1: result.json: cannot be read (EOF while parsing a string at line 1 column 26)",
        "digits · cross_entropy · s2: result.json: main_metric: [5], expected a str",
    ]
    assert board.columns[0].entries["cross_entropy"].missing == "1 of 3 seeds"


def test_seeds_that_start_from_seeds_of_one_run_share_a_column(tmp_path: Path) -> None:
    folder = SuiteFolder(tmp_path, "stages")
    folder.create()
    specs = []
    for seed, value in enumerate((45.0, 46.0, 47.0)):
        first = make_spec("first", seed=seed, suite="stages")
        origin = Origin(suite="stages", run_id=first.run_id, name=first.name, recipe="1f2e3d4c5b6a")
        specs.append(make_spec("second", seed=seed, suite="stages", origin=origin.model_dump()))
        write_run(folder, specs[-1], {"top1": value})
    folder.write_plan(specs, "name: stages\n")
    (column,) = leaderboard.board([folder]).columns
    assert column.title == "second"
    assert (column.entries["cross_entropy"].cells["top1"].value.mean, len(specs)) == (46.0, 3)
    assert column.entries["cross_entropy"].cells["top1"].value.n == 3
