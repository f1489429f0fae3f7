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
from eqbench.leaderboard import Leaderboard, table
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
        "loss                    n        top1         few  ms/step  peak MB\n"
        "───────────────────────────────────────────────────────────────────\n"
        "cross_entropy           3  91.0 ± 2.5  41.0 ± 2.5       20      512\n"
        "baseline\n"
        "softmax_eql             3  93.0 ± 2.4  43.0 ± 2.4       20      512\n"
        "                                +2.0*       +2.0*\n"
        "partial                 1  89.0 (n=1)           –       20      512\n"
        "1 of 3 seeds, 1 failed           -1.0\n"
        "\n"
        "Runs without a number\n"
        "  digits · partial · s1: failed: out of memory\n"
        "  digits · partial · s2: not run yet\n"
        "\n"
        "± is the 95 % t-interval over n seeds; (n=1) is a single seed, without interval.\n"
        "Signed numbers are the change against cross_entropy, paired by seed; * marks p < 0.05 in the paired\n"
        "t-test, Holm-corrected over the losses compared on a task and metric."
    )


def test_terminal_table_over_tasks(two_tasks: Leaderboard) -> None:
    overall = shown(two_tasks, 80).partition("\n\ndigits\n")[0]
    assert overall == (
        "All tasks of quickstart\n"
        "main metric of each task\n"
        "\n"
        "loss          digits top1   iris top1  mean rank  Borda\n"
        "───────────────────────────────────────────────────────\n"
        "a              50.5 ± 6.4  80.5 ± 6.4       1.50      1\n"
        "baseline\n"
        "b              60.8 ± 9.5           –       1.00      1\n"
        "1 of 2 tasks       +10.2*\n"
        "c                       –  70.5 ± 6.4       2.00      0\n"
        "1 of 2 tasks                   -10.0*"
    )


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
