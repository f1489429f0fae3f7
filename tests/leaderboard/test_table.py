from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from written_suites import Outcome, Outcomes, top1, write_suite

from eqbench import leaderboard
from eqbench.errors import InputError
from eqbench.leaderboard import Leaderboard, sheets, table
from eqbench.leaderboard.statistics import interval, paired_difference

BASELINE = dict(enumerate([90.0, 91.0, 92.0]))
BETTER = dict(enumerate([92.0, 93.1, 93.9]))


def shown(board: Leaderboard, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(*table.tables(board), sep="\n")
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


@pytest.fixture
def one_task(tmp_path: Path) -> Leaderboard:
    def runs(values: dict[int, float]) -> list[Outcome]:
        return [{"top1": value, "few": value - 50} for value in values.values()]

    outcomes: Outcomes = {
        ("digits", "cross_entropy"): runs(BASELINE),
        ("digits", "softmax_eql"): runs(BETTER),
        ("digits", "partial"): [{"top1": 89.0, "few": None}, "out of memory", None],
    }
    return leaderboard.board([write_suite(tmp_path, outcomes)])


@pytest.fixture
def two_tasks(tmp_path: Path) -> Leaderboard:
    outcomes: Outcomes = {
        ("digits", "a"): top1(50, 51),
        ("digits", "b"): top1(60, 61.5),
        ("iris", "a"): top1(80, 81),
        ("iris", "c"): top1(70, 71.01),
    }
    return leaderboard.board([write_suite(tmp_path, outcomes)])


# -- terminal ------------------------------------------------------------------------------------------------


def test_terminal_table(one_task: Leaderboard) -> None:
    assert shown(one_task, 100) == (
        "digits\n"
        "accuracy:last, 400 iterations, 25600 samples, data 01234567\n"
        "\n"
        "loss                    n          top1          few  ms/step  peak MB\n"
        "──────────────────────────────────────────────────────────────────────\n"
        "cross_entropy           3    91.0 ± 2.5   41.0 ± 2.5       20      512\n"
        "baseline\n"
        "softmax_eql             3    93.0 ± 2.4   43.0 ± 2.4       20      512\n"
        "                            +2.0* ± 0.2  +2.0* ± 0.2\n"
        "partial                 1    89.0 (n=1)            –       20      512\n"
        "1 of 3 seeds, 1 failed     -1.0, 1 pair\n"
        "\n"
        "Runs without a number\n"
        "  digits · partial · s1: failed: out of memory\n"
        "  digits · partial · s2: not run yet\n"
        "\n"
        "Metrics are in percent; ± is the 95 % t-interval over n seeds; (n=1) is a single seed, without\n"
        "interval.\n"
        "Signed numbers are the change against cross_entropy, paired by seed, ± its own 95 % t-interval\n"
        "unless all pairs differ by the same; * marks p < 0.05 in the paired t-test, Holm-corrected over the\n"
        "losses compared on a task and metric."
    )


def test_terminal_table_over_tasks(two_tasks: Leaderboard) -> None:
    overall = shown(two_tasks, 80).partition("\n\ndigits\n")[0]
    assert overall == (
        "All tasks of quickstart\n"
        "main metric of each task\n"
        "\n"
        "loss          digits top1 (n=2)  iris top1 (n=2)  mean rank  Borda\n"
        "──────────────────────────────────────────────────────────────────\n"
        "a                    50.5 ± 6.4       80.5 ± 6.4       1.50      1\n"
        "baseline\n"
        "b                    60.8 ± 9.5                –       1.00      1\n"
        "1 of 2 tasks       +10.2* ± 3.2\n"
        "c                             –       70.5 ± 6.4       2.00      0\n"
        "1 of 2 tasks                        -10.0* ± 0.1"
    )


def test_the_overall_sheet_names_the_baseline_of_each_task_and_other_numbers_of_seeds(tmp_path: Path) -> None:
    outcomes: Outcomes = {
        ("digits", "ce"): top1(50, 51, 53),
        ("digits", "eql"): top1(60, 61.5, None),
        ("digits", "efl"): top1(55, 57, 58),
        ("iris", "bce"): top1(80),
        ("iris", "eql"): top1(70),
    }
    overall = shown(leaderboard.board([write_suite(tmp_path, outcomes)]), 80).partition("\n\ndigits\n")[0]
    assert overall.splitlines()[3:] == [
        "loss              digits top1 (n=3)   iris top1  mean rank  Borda",
        "─────────────────────────────────────────────────────────────────",
        "efl                      56.7 ± 3.8           –       1.00      1",
        "1 of 2 tasks            +5.3* ± 1.4",
        "bce                               –  80.0 (n=1)       1.00      1",
        "1 of 2 tasks                           baseline",
        "ce                       51.3 ± 3.8           –       2.00      0",
        "1 of 2 tasks               baseline",
        "eql                60.8 ± 9.5 (n=2)  70.0 (n=1)       2.00      0",
        "1 of 2 tasks  +10.2* ± 3.2, 2 pairs       -10.0",
    ]


def test_pairs_are_counted_where_a_row_or_the_baseline_has_more_seeds(tmp_path: Path) -> None:
    outcomes: Outcomes = {
        ("t", "base"): [{"top1": 50.0}, {"top1": 52.0}, None],
        ("t", "more"): top1(60, 63, 62),
        ("t", "other"): [None, {"top1": 55.0}, {"top1": 58.0}],
        ("t", "same"): top1(60, 62),
    }
    (sheet,) = sheets.sheets(leaderboard.board([write_suite(tmp_path, outcomes)]))
    assert {row.label: row.cells[1].change for row in sheet.rows} == {
        "base": "",
        "more": "+10.5* ± 6.4, 2 pairs",
        "other": "+3.0, 1 pair",
        "same": "+10.0",  # by the same for both seeds, so how much chance is in it is not known
    }


def test_notes_say_what_the_board_has(tmp_path: Path) -> None:
    one = write_suite(tmp_path, {("t", "ce"): top1(1, 2), ("t", "eql"): top1(3, 4)}, suite="one")
    two = write_suite(tmp_path, {("t", "ce"): top1(1, 2)}, suite="two", iterations=800)
    write_suite(tmp_path, {("gone [x]", "ce"): top1(5)}, suite="three", iterations=90)
    three = write_suite(tmp_path, {("t", "ce"): top1(1, 2)}, suite="three")
    recipe = "A name with [brackets] says in what the recipe differs from the first with that name."
    earlier = "Finished runs of an earlier plan, which are not ranked: "
    assert sheets.notes(leaderboard.board([one]))[1].startswith("Signed numbers are the change against ce,")
    assert recipe in sheets.notes(leaderboard.board([one, two]))
    assert not any(note.startswith(earlier) for note in sheets.notes(leaderboard.board([one, two])))
    lines = sheets.notes(leaderboard.board([three]))
    assert [note for note in lines if note.startswith(earlier)] == [f"{earlier}gone [x]."]
    assert recipe not in lines
    assert not any("Signed" in note for note in lines)


def test_the_trials_of_a_sweep_point_to_its_own_report(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "eql(tau=1)"): top1(1), ("t", "eql(tau=2)"): top1(3)}, suite="mine/sweeps")
    text = shown(leaderboard.board([folder]), 100)
    assert text.startswith("t, trials\n")
    assert "mean rank" not in text.lower()
    assert "The trials of mine/sweeps are settings to choose from: `eqbench plot sweep mine` compares them." in text


def test_a_row_says_that_parameters_differ_by_task() -> None:
    assert sheets.varying(("tau",)) == "tau differs by task"
    assert sheets.varying(("tau", "gamma")) == "tau, gamma differ by task"
    assert sheets.varying(()) == ""


@pytest.mark.parametrize("width", [40, 80, 120])
def test_wide_tables_are_broken_into_parts_that_fit(tmp_path: Path, width: int) -> None:
    metrics = {f"metric_{i}": 50.0 + i for i in range(12)}
    runs: list[Outcome] = [{"top1": 90.0 + seed, **metrics} for seed in range(3)]
    text = shown(leaderboard.board([write_suite(tmp_path, {("t", "a_rather_long_name"): runs})]), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    assert all(text.count(f"{name}") == 1 for name in ("metric_2", "metric_9", "top1", "peak MB"))


def test_labels_are_never_taken_for_markup(tmp_path: Path) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("[bold]t[/]", "<b>|*[red]x"): top1(1, 2)})])
    assert "[bold]t[/]" in shown(board, 80)
    assert "<b>|*[red]x" in shown(board, 80)
    assert "| \\<b\\>\\|\\*[red]x (baseline) |" in table.render(board, "markdown")


def test_a_board_without_any_result_is_shown(tmp_path: Path) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", "a"): [None, None], ("u", "a"): [None]})])
    assert "t · a · s0, s1: not run yet" in shown(board, 80)
    for name in table.FORMATS:
        assert table.render(board, name)


# -- CSV and JSON --------------------------------------------------------------------------------------------


def test_csv_has_every_number_in_full(one_task: Leaderboard) -> None:
    lines = list(csv.DictReader(io.StringIO(table.render(one_task, "csv"))))
    places = [(line["task"], line["loss"], line["metric"]) for line in lines]
    assert len(places) == len(set(places)) == 3 * (2 + 4)
    by_place = dict(zip(places, lines, strict=True))
    better = by_place["digits", "softmax_eql", "top1"]
    value, change = interval(BETTER.values()), paired_difference(BETTER, BASELINE)
    assert (float(better["mean"]), float(better["half_width"]), int(better["n"])) == value
    compared = [better[name] for name in ("difference", "difference_half_width", "p", "pairs")]
    assert tuple(map(float, compared)) == change
    assert better["p_holm"] == better["p"]  # the only comparison with a p-value
    assert better["significant"] == "true"
    missing = by_place["digits", "partial", "few"]
    assert (missing["n"], missing["mean"], missing["missing"]) == ("0", "", "1 of 3 seeds, 1 failed")
    assert by_place["digits", "partial", "seconds_per_step"]["kind"] == "cost"


def test_csv_has_a_line_for_a_loss_without_results(tmp_path: Path) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", "a"): ["broken"]})])
    lines = list(csv.DictReader(io.StringIO(table.render(board, "csv"))))
    assert {(line["loss"], line["missing"], line["n"]) for line in lines} == {("a", "failed", "0")}


@pytest.mark.parametrize("name", table.FORMATS)
def test_the_same_results_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    outcomes: Outcomes = {("t", "a"): top1(1 / 3, 0.1, 2 / 7), ("t", "b"): top1(1.5, 2.5, 0.3), ("t", "c"): [None]}
    boards = [leaderboard.board([write_suite(tmp_path / folder, outcomes)]) for folder in ("one", "two")]
    assert len({table.render(board, name) for board in (*boards, boards[0])}) == 1


def test_json_is_strict_and_says_all(two_tasks: Leaderboard, one_task: Leaderboard) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    board = json.loads(table.render(two_tasks, "json"), parse_constant=refuse)
    assert board == table.as_dict(two_tasks)
    assert [row["loss"] for row in board["ranking"]] == ["a", "b", "c"]
    assert board["ranking"][1]["ranks"] == {"digits": 1.0, "iris": None}
    change = board["tasks"][0]["losses"][1]["metrics"]["top1"]["change"]
    assert change["mean"] == 10.25
    assert change["significant"]
    assert board["tasks"][0]["iterations"] == 400


def test_json_has_null_for_what_does_not_exist(tmp_path: Path) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", "a"): top1(1.0), ("t", "b"): top1(2.0)})])
    cell = table.as_dict(board)["tasks"][0]["losses"][1]["metrics"]["top1"]
    assert cell["half_width"] is None
    assert cell["change"]["p"] is None
    assert not math.isnan(cell["mean"])


def test_an_unknown_format_is_an_input_error(one_task: Leaderboard) -> None:
    with pytest.raises(
        InputError, match=r"format 'markdwn': expected one of table, csv, markdown, latex, .*json.*; did you mean"
    ):
        table.render(one_task, "markdwn")


def test_a_metric_that_no_run_has_is_left_out(tmp_path: Path) -> None:
    runs: list[Outcome] = [{"top1": 20.0, "few": None, "mask_ap": None}]
    other: list[Outcome] = [{"top1": 21.0, "few": 4.0, "mask_ap": None}]
    board = leaderboard.board([write_suite(tmp_path, {("boxes", "bce"): runs, ("boxes", "efl"): other})])
    head = next(line for line in shown(board, 100).splitlines() if line.startswith("loss "))
    assert head.split() == ["loss", "n", "top1", "few", "ms/step", "peak", "MB"]
    assert "mask_ap" in table.render(board, "csv")
