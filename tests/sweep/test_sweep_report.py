from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from invented_sweeps import few, results, searched, trial
from rich.console import Console

from eqbench.suite import load_suite
from eqbench.sweep import report
from eqbench.sweep.best_file import spread, unseen_seeds, write_best
from eqbench.sweep.definition import Sweep, load_sweep
from eqbench.sweep.record import BASELINE, DEFAULT, Results, Trial
from eqbench.sweep.standings import Standings
from eqbench.sweep.trial_table import remark

TAU = {"loss.tau": {"uniform": [0.25, 4]}}
BOTH = [{"maximize": "val/few"}, {"maximize": "val/many"}]


def shown(sweep: Results, width: int = 110) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(*report.tables(sweep), sep="\n")
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def of_tau(*scores: float | tuple[float, float], **more: Any) -> Results:
    """Baseline, default, then proposed settings with these numbers of val/few, or of val/few and val/many."""
    trials = []
    for number, score in enumerate(scores, BASELINE):
        values = {} if number == BASELINE else {"loss.tau": 1.0 + 0.5 * (number + 1)}
        pair = score if isinstance(score, tuple) else (score, 90.0)
        trials.append(trial(number, values, dict(zip(("val/few", "val/many"), pair, strict=True))))
    return results(*trials, space=TAU, **more)


# -- order and answer ----------------------------------------------------------------------------------------


def test_table_of_one_goal() -> None:
    lines = shown(of_tau(30.0, 40.0, 38.0, 43.5)).splitlines()
    assert lines[:2] == [
        "Sweep invented: softmax_eql on digits",
        "maximize val/few; search optuna, scheduler none, seed 0",
    ]
    assert [line.split() for line in lines[3:4] + lines[5:9]] == [
        ["trial", "setting", "val/few", "vs", "default", "vs", "baseline", "epochs", "status"],
        ["trial", "1", "tau=2", "43.50", "+3.50", "+13.50", "10", "best"],
        ["default", "tau=1", "40.00", "+10.00", "10", "finished"],
        ["trial", "0", "tau=1.5", "38.00", "-2.00", "+8.00", "10", "finished"],
        ["baseline", "cross_entropy", "30.00", "-10.00", "10", "finished"],
    ]
    answer = " ".join(lines[10:12])
    assert "yes: trial 1, the best of 2 finished settings, 43.50 against 40.00 val/few (+3.50)" in answer
    assert report.CAUTION[:40] in "\n".join(lines)


def test_only_ten_trials_and_what_they_are_compared_with() -> None:
    text = shown(of_tau(1.0, 2.0, *(50.0 + number for number in range(30))))
    assert [line.split()[1] for line in text.splitlines() if line.startswith("trial ")][1:] == [
        str(number) for number in range(29, 19, -1)
    ]
    assert "\ndefault " in text
    assert "\nbaseline " in text
    assert "32 trials: 32 finished" in text


def test_minimizing() -> None:
    losses = [
        trial(number, {"loss.tau": 2.0}, {"train/loss": value}) for number, value in ((-1, 0.5), (0, 0.25), (1, 0.75))
    ]
    sweep = results(*losses, space=TAU, objective={"minimize": "train/loss"})
    standings = Standings(sweep)
    assert [each.number for each in standings.order] == [0, -1, 1]
    assert standings.verdict().answer == "yes"
    assert standings.verdict().change == -0.25
    assert "0.25 against 0.5 train/loss (-0.25)" in standings.verdict().sentence


@pytest.mark.parametrize(
    ("sweep", "answer", "says"),
    [
        (of_tau(30.0, 40.0, 38.0), "no", "none of 1 finished settings is better"),
        (of_tau(30.0, 40.0, 40.0), "no", "none of 1 finished settings is better"),
        (of_tau(30.0, 40.0), "open", "no other setting has finished"),
        (of_tau(30.0, math.nan, 40.0), "open", "the published setting has no val/few"),
        (results(trial(0, {"loss.tau": 2.0}, {"val/few": 1.0}), space=TAU), "open", "has not run"),
        (results(trial(DEFAULT, status="failed"), trial(0, {}, {"val/few": 1.0}), space=TAU), "open", "is failed"),
        (of_tau((30, 90), (40, 90), (41, 89), objective=BOTH), "no", "it is on the front itself"),
        (of_tau((30, 90), (40, 90), (41, 90), objective=BOTH), "yes", "1 of 1 finished settings is better in a goal"),
    ],
)
def test_answer(sweep: Results, answer: str, says: str) -> None:
    verdict = Standings(sweep).verdict()
    assert (verdict.answer, says in verdict.sentence) == (answer, True), verdict


def test_constraints_come_before_the_score() -> None:
    limit = {"maximize": "val/few", "subject_to": "val/many >= baseline - 0.5"}
    sweep = of_tau((30, 90), (40, 90), (50, 80), (42, 89.6), objective=limit)
    standings = Standings(sweep)
    assert standings.best is not None
    assert standings.best.number == 1
    assert [each.number for each in standings.order] == [1, -1, -2, 0]
    assert remark(standings, sweep.trials[2]) == "breaks the constraint by 9.5"
    assert "breaks the constraint" in shown(sweep)


def test_published_setting_that_breaks_the_constraint_is_beaten_by_one_that_keeps_it() -> None:
    limit = {"maximize": "val/few", "subject_to": "val/many >= baseline"}
    verdict = Standings(of_tau((30, 90), (40, 80), (35, 91), objective=limit)).verdict()
    assert verdict.answer == "yes"
    assert "it breaks the constraints, trial 0 keeps them" in verdict.sentence
    none = Standings(of_tau((30, 90), (40, 80), (35, 80), objective=limit)).verdict()
    assert (none.answer, "keeps the constraints" in none.sentence) == ("no", True)


def test_a_constraint_against_a_baseline_that_has_not_finished_cannot_be_said() -> None:
    limit = {"maximize": "val/few", "subject_to": "val/many >= baseline"}
    finished = of_tau((30, 90), (40, 91), (45, 91), objective=limit)
    running = dataclasses.replace(finished.trials[0], status="running")
    standings = Standings(dataclasses.replace(finished, trials=(running, *finished.trials[1:])))
    assert standings.best is None
    assert remark(standings, finished.trials[2]) == "constraint: cannot be said"


def test_savings_count_what_stopped_trials_did_not_train() -> None:
    sweep = results(
        trial(0, {"loss.tau": 1.0}, {"val/few": 1.0}),
        trial(1, {"loss.tau": 2.0}, {"val/few": 0.5}, status="stopped"),
        trial(2, {"loss.tau": 3.0}, status="failed"),
        trial(3, {"loss.tau": 3.5}, status="waiting"),
        space=TAU,
    )
    savings = Standings(sweep).savings()
    assert (savings.stopped, savings.trained, savings.whole) == (1, 14.0, 20.0)
    assert savings.share == pytest.approx(0.3)
    text = shown(sweep)
    assert "1 stopped early: 14 of 20 epochs trained, 30 % saved" in text
    assert "4 trials: 1 finished, 1 stopped, 1 waiting, 1 failed" in text
    assert "stopped at epoch 4" in text


def test_front_of_several_goals() -> None:
    sweep = of_tau((30, 90), (40, 88), (50, 80), (35, 89), (34, 85), objective=BOTH)
    text = shown(sweep)
    assert "Pareto front: 3 settings" in text
    assert [each.number for each in Standings(sweep).front] == [0, -1, 1]
    assert "trial 2" not in text
    assert len(re.findall(r"on the front$", text, re.MULTILINE)) == 3


def test_nothing_has_started_and_nothing_has_finished() -> None:
    assert "No trial has started." in shown(results())
    text = shown(results(trial(DEFAULT, {"loss.tau": 1.0}, status="running"), space=TAU))
    assert "cannot be said: the published setting is running" in text


def test_failures_are_listed_with_the_first_line_of_their_reason() -> None:
    text = shown(results(trial(0, {}, status="failed", detail="out of \x1b[31mmemory\nTraceback"), space=TAU))
    assert "trial 0: out of �[31mmemory" in text
    assert "Traceback" not in text


SEVERAL = {"maximize": "val/few", "subject_to": ["val/many >= baseline - 0.5", "val/top1 >= 20"]}


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("objective", [None, BOTH, SEVERAL])
def test_every_value_word_and_number_is_whole_in_narrow_and_wide_terminals(objective: Any, width: int) -> None:
    values = {"loss.gamma": 1.2345e-5, "loss.mu": 0.6543, "train.optimizer.lr": 0.1234, "loss.indicator": "positive"}
    trials = [
        trial(BASELINE, metrics={"val/few": 30.0, "val/many": 90.0, "val/top1": 60.0}),
        trial(DEFAULT, values, {"val/few": 40.0, "val/many": 90.0, "val/top1": 61.0}),
        trial(0, values, {"val/few": 43.5, "val/many": 80.0, "val/top1": 62.0}),
        trial(1, values, {"val/few": 20.0, "val/many": 70.0, "val/top1": 10.0}, status="stopped"),
    ]
    text = shown(results(*trials, objective=objective), width=width)
    assert max(map(len, text.splitlines())) <= width
    words = set(re.findall(r"[^\s,]+", text))
    assert {"gamma=1.234e-05", "mu=0.6543", "lr=0.1234", "indicator=positive", "cross_entropy"} <= words
    assert {"43.50", "+3.50", "-10.00", "finished", "10"} <= words
    assert ("+13.50" in words) is (objective is not BOTH)
    if objective is None:
        assert {"best", "stopped", "epoch", "4"} <= words
    together = [line for line in text.splitlines() if "gamma=1.234e-05, mu=0.6543" in line]
    assert len(together) == (0 if width == 80 else 3 - (objective is BOTH))


def test_the_best_setting_is_advised_to_be_run_where_it_is_written(tmp_path: Path) -> None:
    sweep, file = of_tau(30.0, 40.0, 43.5), tmp_path / "best.yaml"
    advice = f"eqbench run {file}"
    assert advice not in "".join(map(str, report.tables(sweep, file)))
    file.touch()
    text = "".join(map(str, report.tables(sweep, file)))
    assert advice in text
    assert "judged on the evaluation images that the search has chosen on" in text


GRID = {"space": {"loss.tau": {"grid": [1, 1.5, 2]}}, "search": "grid"}


@pytest.mark.parametrize(
    ("trials", "scores", "ending"),
    [
        (None, (40.0, 41.0, 42.0), ""),
        (3, (40.0, 41.0, 42.0), "All 3 settings of the space were tried."),
        (9, (40.0, 41.0, 42.0), "All 3 settings of the space were tried."),
        (9, (40.0, 41.0), "It ended early: no more"),
    ],
)
def test_a_grid_that_was_tried_whole_did_not_end_early(trials: Any, scores: tuple[float, ...], ending: str) -> None:
    whole = of_tau(30.0, *scores)
    section = results(**GRID, trials=trials).section
    assert report.ending(dataclasses.replace(whole, section=section), "no more") == ending
    assert report.ending(dataclasses.replace(whole, section=section), "") == ""


# -- plain data ----------------------------------------------------------------------------------------------


def test_description_is_strict_json_in_the_order_of_the_table() -> None:
    sweep = of_tau(30.0, 40.0, 43.5, math.nan)
    found = json.loads(json.dumps(report.describe(sweep), allow_nan=False))
    assert found["best"] == 0
    assert [each["number"] for each in found["trials"]] == [0, -1, -2, 1]
    assert found["trials"][0]["changes"] == {"val/few": {"default": 3.5, "baseline": 13.5}}
    assert found["trials"][3]["metrics"]["val/few"] is None
    assert found["better_than_default"]["answer"] == "yes"
    assert found["counts"] == {"finished": 4}


def test_description_of_many_trials() -> None:
    found = report.describe(searched(40))
    assert len(found["trials"]) == 42
    statuses = [each["status"] for each in found["trials"]]
    assert statuses == sorted(statuses, key=["finished", "stopped", "failed"].index)
    json.dumps(found, allow_nan=False)


# -- best.yaml -----------------------------------------------------------------------------------------------

FILE = """
name: small
tasks:
  - name: digits
    task: classification
    model: {name: classifier, backbone: resnet8}
    data: {name: digits, imbalance_factor: 50, test_per_class: 50}
losses: [cross_entropy, softmax_eql]
seeds: [0, 4]
train: {epochs: 2, batch_size: 32, optimizer: {name: sgd, lr: 0.1}}
sweep:
  space: {loss.tau: {uniform: [0.25, 4]}, train.lr: {loguniform: [1e-3, 1]}}
  trials: 4
  objective: {maximize: val/few}
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    file = tmp_path_factory.mktemp("sweeps") / "small.yaml"
    file.write_text(FILE)
    return load_sweep(file)


def tried(sweep: Sweep, *trials: Trial, **more: Any) -> Results:
    default = trial(DEFAULT, sweep.default_values(), {"val/few": 40.0, "val/many": 90.0})
    baseline = trial(BASELINE, {}, {"val/few": 30.0, "val/many": 91.0})
    found = results(baseline, default, *trials, space={**TAU, "train.lr": {"loguniform": [1e-3, 1]}}, **more)
    return dataclasses.replace(found, name=sweep.name, seeds=sweep.seeds)


def columns(file: Path) -> dict[str, list[str]]:
    """Labels of the losses by task, of a suite that loads and expands."""
    found: dict[str, list[str]] = {}
    for spec in load_suite(file).expand():
        losses = found.setdefault(spec.task_label, [])
        losses += [spec.loss_label] if spec.loss_label not in losses else []
    return found


def test_best_setting_of_the_loss_stands_beside_baseline_and_default(sweep: Sweep, tmp_path: Path) -> None:
    best = trial(3, {"loss.tau": 1.53, "train.optimizer.lr": 0.1}, {"val/few": 44.0, "val/many": 90.0})
    file = tmp_path / "best.yaml"
    assert write_best(tried(sweep, best), sweep, file) == file
    text = file.read_text()
    assert columns(file) == {"digits": ["cross_entropy", "softmax_eql", "softmax_eql(tau=1.53)"]}
    assert {spec.seed for spec in load_suite(file).expand()} == {5, 6, 7, 8, 9}
    assert text.startswith("# Question: is what the sweep found better than the published setting, on seeds that")
    assert "\n# Runs: 15 (1 task × 3 losses × 5 seeds)\n" in text
    assert f"\n# Command: eqbench run {file}\n" in text
    assert "# - trial 3 (tau=1.53, lr=0.1): val/few 44.00" in text
    assert "# - baseline (cross_entropy): val/few 30.00" in text


def test_a_setting_that_changes_the_training_has_a_column_and_the_header_says_so(sweep: Sweep, tmp_path: Path) -> None:
    best = trial(3, {"loss.tau": 1.53, "train.optimizer.lr": 0.02}, {"val/few": 44.0})
    file = tmp_path / "best.yaml"
    write_best(tried(sweep, best), sweep, file)
    specs = load_suite(file).expand()
    rates = {(spec.task_label, spec.loss_label): spec.train.optimizer.lr for spec in specs}
    assert rates["digits", "softmax_eql"] == 0.1
    assert {rate for (task, _), rate in rates.items() if task != "digits"} == {0.02}
    assert {loss for task, loss in rates if task != "digits"} == {
        "cross_entropy",
        "softmax_eql",
        "softmax_eql(tau=1.53)",
    }
    text = " ".join(file.read_text().replace("# ", "").split())
    assert "baseline and default are trained with these changes too in digits_best" in text
    assert (
        "the published setting is row softmax_eql, column digits; what was found is row softmax_eql(tau=1.53), column"
        in text
    )
    assert "tests differences within a column, not this one between columns" in text
    assert "judged on the evaluation images that the search has chosen on" in text
    assert f"Runs: {len(specs)} (" in text


def test_a_published_setting_that_is_the_best_is_repeated(sweep: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    write_best(tried(sweep, trial(0, {"loss.tau": 3.0, "train.optimizer.lr": 0.1}, {"val/few": 39.0})), sweep, file)
    assert columns(file) == {"digits": ["cross_entropy", "softmax_eql"]}
    assert "No finished setting is better than the published one" in file.read_text()


def test_at_most_five_settings_of_a_front(sweep: Sweep, tmp_path: Path) -> None:
    front = [
        trial(at, {"loss.tau": 1.5 + at / 4, "train.optimizer.lr": 0.1}, {"val/few": 50.0 + at, "val/many": 80.0 - at})
        for at in range(8)
    ]
    found = tried(sweep, *front, objective=BOTH)
    file = tmp_path / "best.yaml"
    write_best(found, sweep, file)
    assert "5 of 9 settings on the Pareto front" in file.read_text()
    (losses,) = columns(file).values()
    assert losses[:3] == ["cross_entropy", "softmax_eql", "softmax_eql(tau=3.25)"]
    assert len(losses) == 2 + 4  # the default is on the front itself


def test_without_a_best_setting_there_is_no_file(sweep: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("of an earlier sweep")
    assert write_best(dataclasses.replace(tried(sweep), trials=()), sweep, file) is None
    assert not file.exists()


def test_the_same_results_give_the_same_file(sweep: Sweep, tmp_path: Path) -> None:
    found = tried(sweep, trial(0, {"loss.tau": 2.0, "train.optimizer.lr": 0.5}, {"val/few": 44.0}))
    texts = {write_best(found, sweep, tmp_path / "best.yaml").read_bytes() for _ in range(2)}  # type: ignore[union-attr]
    assert len(texts) == 1


def test_unseen_seeds_at_the_end_of_the_range() -> None:
    assert unseen_seeds([2**31 - 2, 1]) == [0, 2, 3, 4, 5]
    assert unseen_seeds([7]) == [8, 9, 10, 11, 12]


def test_spread_keeps_both_ends() -> None:
    trials = [trial(number) for number in range(11)]
    assert [each.number for each in spread(trials, 5)] == [0, 2, 5, 8, 10]


def test_invented_response_has_its_best_where_it_says() -> None:
    best = {"loss.gamma": 12.0, "loss.mu": 0.8, "train.optimizer.lr": 0.1, "loss.indicator": "all"}
    assert few(best) == 47.0
