from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner
from written_suites import make_spec, top1, write_run, write_suite

from eqbench.cli import app
from eqbench.errors import InputError
from eqbench.evaluation.tables import packed
from eqbench.leaderboard.compare import Comparison, compare, find_run
from eqbench.leaderboard.comparison_table import render
from eqbench.leaderboard.find import Runs
from eqbench.run_folder import RunFolder, SuiteFolder


def write_per_class(run: RunFolder, accuracy: list[float | None], names: list[str] | None = None) -> None:
    ids = list(range(len(accuracy)))
    columns: dict[str, list[Any]] = {
        "class_id": ids,
        "class_name": names or [f"class {i}" for i in ids],
        "group": ["many" if i == 0 else "few" for i in ids],
        "count": [100 - i for i in ids],
        "num_eval": [50] * len(ids),
        "accuracy": accuracy,
    }
    run.evaluation.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), run.evaluation / "per_class.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> SuiteFolder:
    folder = SuiteFolder(tmp_path, "quickstart")
    folder.create()
    return folder


@pytest.fixture
def pair(folder: SuiteFolder) -> tuple[RunFolder, RunFolder]:
    a = make_spec(loss="cross_entropy")
    b = make_spec(loss="softmax_eql", loss_params={"softmax_eql": {"tau": 1.0}})
    return (
        write_run(folder, a, {"top1": 90.0, "few": 10.0, "worst": None}),
        write_run(folder, b, {"top1": 91.5, "few": 30.0, "worst": 1.0}),
    )


def shown(comparison: Comparison) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(comparison))
    return capture.get()


def test_configuration_and_metrics_side_by_side(pair: tuple[RunFolder, RunFolder]) -> None:
    comparison = compare(*pair)
    assert comparison.comparable
    assert comparison.configuration == (
        ("loss.name", "cross_entropy", "softmax_eql"),
        ("loss.params", {}, None),
        ("loss.params.tau", None, 1.0),
    )
    assert [(v.name, v.a, v.b, v.difference) for v in comparison.metrics[:2]] == [
        ("top1", 90.0, 91.5, 1.5),
        ("few", 10.0, 30.0, 20.0),
    ]
    worst = comparison.metrics[2]
    assert math.isnan(worst.a)
    assert math.isnan(worst.difference)
    assert comparison.classes == ()
    assert comparison.notes == (
        f"no result by class is stored for {pair[0].run_id} and {pair[1].run_id}",
        "no bootstrap over images: the classes of a run are not stored",
    )


def test_classes_by_size_of_their_difference(pair: tuple[RunFolder, RunFolder]) -> None:
    write_per_class(pair[0], [90.0, 50.0, 10.0, None])
    write_per_class(pair[1], [89.0, 70.0, 10.5, 5.0])
    comparison = compare(*pair)
    assert comparison.class_metric == "accuracy"
    assert [(c.class_id, c.difference) for c in comparison.classes[:3]] == [(1, 20.0), (0, -1.0), (2, 0.5)]
    assert math.isnan(comparison.classes[3].difference)
    assert (comparison.classes[1].name, comparison.classes[1].group, comparison.classes[1].count) == (
        "class 0",
        "many",
        100,
    )


def test_ten_classes_are_shown_and_all_are_in_the_json(pair: tuple[RunFolder, RunFolder]) -> None:
    for run, step in zip(pair, (1, 2), strict=True):
        write_per_class(run, [float(i * step) for i in range(25)])
    comparison = compare(*pair)
    text = shown(comparison)
    assert "accuracy by class: the largest differences, 10 of 25 classes" in text
    assert "class 24" in text
    assert "class 15" in text
    assert "class 14" not in text
    as_dict = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
    assert len(as_dict["classes"]) == 25
    assert as_dict["classes"][0] == {
        "class_id": 24, "class_name": "class 24", "group": "few", "count": 76, "a": 24.0, "b": 48.0, "difference": 24.0,
    }  # fmt: skip
    assert as_dict["metrics"]["worst"] == {"a": None, "b": 1.0, "difference": None}


def test_only_the_same_classes_are_compared(pair: tuple[RunFolder, RunFolder]) -> None:
    write_per_class(pair[0], [1.0, 2.0, 3.0], ["cat", "dog", "emu"])
    write_per_class(pair[1], [1.0, 2.0], ["cat", "cow"])
    comparison = compare(*pair)
    assert [c.name for c in comparison.classes] == ["cat"]
    assert comparison.notes[0] == "2 classes are not in both runs"


def test_another_key_is_not_comparable(folder: SuiteFolder) -> None:
    a = write_run(folder, make_spec(), {"top1": 90.0})
    b = write_run(folder, make_spec(iterations=100, protocol="accuracy:best"), {"top1": 91.0})
    comparison = compare(a, b)
    assert not comparison.comparable
    assert [name for name, *_ in comparison.incomparable] == ["protocol", "iterations", "samples"]
    text = " ".join(shown(comparison).split())
    assert (
        "Not comparable: the runs differ in protocol (accuracy:last and accuracy:best), iterations (400 and 100)"
        in text
    )
    assert "undecided, which counts as a regression: the runs cannot be compared" in text


def test_a_regression_is_a_lower_main_metric_or_another_key(
    pair: tuple[RunFolder, RunFolder], folder: SuiteFolder
) -> None:
    better, worse = compare(*pair), compare(*reversed(pair))
    other = compare(pair[0], write_run(folder, make_spec(iterations=999), {"top1": 99.0}))
    assert [comparison.regression for comparison in (better, worse, other)] == [False, True, True]


def test_a_run_against_itself(pair: tuple[RunFolder, RunFolder]) -> None:
    comparison = compare(pair[0], pair[0])
    assert comparison.configuration == ()
    assert "The configurations are the same." in shown(comparison)


@pytest.mark.parametrize(("outcome", "reason"), [(None, "not run yet"), ("out of memory", "failed: out of memory")])
def test_a_run_that_has_not_finished_is_an_input_error(folder: SuiteFolder, outcome: str | None, reason: str) -> None:
    a = write_run(folder, make_spec(seed=0), {"top1": 90.0})
    b = write_run(folder, make_spec(seed=1), outcome)
    with pytest.raises(InputError, match=f"digits · cross_entropy · s1: {reason}; expected a finished run"):
        compare(a, b)


def test_a_broken_per_class_file_is_an_input_error(pair: tuple[RunFolder, RunFolder]) -> None:
    write_per_class(pair[0], [1.0])
    (pair[0].evaluation / "per_class.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"per_class\.parquet: cannot be read as Parquet"):
        compare(*pair)


def test_a_per_class_file_without_a_needed_column_is_an_input_error(pair: tuple[RunFolder, RunFolder]) -> None:
    pair[0].evaluation.mkdir()
    pq.write_table(pa.table({"class_id": [0], "accuracy": [1.0]}), pair[0].evaluation / "per_class.parquet")
    with pytest.raises(InputError, match="column 'class_name' is missing; there are class_id, accuracy"):
        compare(*pair)


@pytest.mark.parametrize(
    ("count", "message"), [([None], "has 1 rows without a number"), (["many"], "holds string, expected whole numbers")]
)
def test_classes_without_a_count_are_an_input_error(
    pair: tuple[RunFolder, RunFolder], count: list[Any], message: str
) -> None:
    pair[0].evaluation.mkdir()
    kinds = pa.int64() if count == [None] else pa.string()
    columns = {"class_id": [0], "class_name": ["a"], "group": ["few"], "count": pa.array(count, kinds)}
    pq.write_table(pa.table(columns), pair[0].evaluation / "per_class.parquet")
    with pytest.raises(InputError, match=f"column 'count' {message}"):
        compare(*pair)


def test_other_groups_are_said(pair: tuple[RunFolder, RunFolder]) -> None:
    for run in pair:
        write_per_class(run, [1.0, 2.0])
    table = pq.read_table(pair[1].evaluation / "per_class.parquet")
    table = table.set_column(2, "group", pa.array(["many", "medium"]))
    pq.write_table(table, pair[1].evaluation / "per_class.parquet")
    assert compare(*pair).notes[0] == "classes of another group in B: 1; means over classes go by the groups of A"


@pytest.mark.parametrize(("metric", "counted"), [("accuracy", "samples"), ("iou", "pixels"), ("ap", "instances")])
def test_what_classes_are_counted_in(pair: tuple[RunFolder, RunFolder], metric: str, counted: str) -> None:
    for run in pair:
        write_per_class(run, [1.0, 2.0])
        table = pq.read_table(run.evaluation / "per_class.parquet")
        names = [metric if name == "accuracy" else name for name in table.column_names]
        pq.write_table(table.rename_columns(names), run.evaluation / "per_class.parquet")
    assert f"training {counted}" in " ".join(shown(compare(*pair)).split())


def test_metrics_of_neither_run_are_not_listed(folder: SuiteFolder) -> None:
    runs = [write_run(folder, make_spec(loss=loss), {"top1": 90.0, "few": None}) for loss in "ab"]
    text = shown(compare(*runs))
    assert "top1" in text
    assert "few" not in text


def test_a_run_of_a_sweep_is_called_with_the_sweep(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "a"): top1(1), ("digits", "b"): top1(2)}, suite="tuned/sweeps")
    comparison = compare(*(find_run(tmp_path, f"digits/{loss}/0") for loss in "ab"))
    assert comparison.names == ("tuned/sweeps/digits · a · s0", "tuned/sweeps/digits · b · s0")


# -- finding a run -------------------------------------------------------------------------------------------


def test_a_run_is_found_by_each_of_its_names(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "cross_entropy"): top1(1, 2), ("digits", "softmax_eql"): top1(1, 2)})
    wanted = make_spec(loss="softmax_eql", seed=1).run_id
    for text in (
        wanted,
        wanted[:6],
        f"quickstart/{wanted}",
        f"quickstart/{wanted[:5]}",
        "digits · softmax_eql · s1",
        "digits·softmax_eql·s1",
        "quickstart/digits · softmax_eql · s1",
        "digits/softmax_eql/1",
        "quickstart/digits/softmax_eql/1",
        "quickstart/digits/softmax_eql/s1",
    ):
        assert find_run(tmp_path, text).run_id == wanted, text


def test_a_name_means_the_run_of_the_current_plan(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "a"): top1(1)}, iterations=100)
    write_suite(tmp_path, {("digits", "a"): top1(2)})
    assert find_run(tmp_path, "digits/a/0").run_id == make_spec(loss="a").run_id
    old = make_spec(loss="a", iterations=100).run_id
    assert find_run(tmp_path, old).run_id == old


def test_a_run_in_two_suites_is_ambiguous_without_the_suite(tmp_path: Path) -> None:
    for suite in ("one", "two"):
        write_suite(tmp_path, {("digits", "a"): top1(1)}, suite=suite)
    run_id = make_spec(loss="a").run_id
    for text in ("digits/a/0", run_id, run_id[:4]):
        with pytest.raises(InputError, match=f"2 runs are called so; expected one of one/{run_id}, two/{run_id}"):
            find_run(tmp_path, text)
    assert find_run(tmp_path, "two/digits/a/0").path.parent.name == "two"


def test_names_are_read_from_results_and_of_the_named_suite_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suite in ("one", "two"):
        write_suite(tmp_path, {("digits", "a"): top1(1, 2)}, suite=suite)
    looked: list[RunFolder] = []
    read = RunFolder.read_result
    monkeypatch.setattr(RunFolder, "read_result", lambda run: looked.append(run) or read(run))
    monkeypatch.setattr(RunFolder, "read_spec", lambda run: pytest.fail("the result says it"))
    runs = Runs(tmp_path)
    assert runs.find("two/digits/a/0").path.parent.name == "two"
    assert runs.find("two/digits/a/1").path.parent.name == "two"
    assert [run.path.parent.name for run in looked] == ["two"] * 2


def test_a_suites_run_goes_before_a_trial_of_a_sweep(tmp_path: Path) -> None:
    for suite in ("one", "one/sweeps", "two/sweeps"):
        write_suite(tmp_path, {("digits", "a"): top1(1)}, suite=suite)
    run_id = make_spec(loss="a").run_id
    for text in ("digits/a/0", run_id, f"one/{run_id}"):
        assert find_run(tmp_path, text).path == tmp_path / "one" / run_id
    assert find_run(tmp_path, f"two/sweeps/{run_id}").path == tmp_path / "two" / "sweeps" / run_id
    write_suite(tmp_path, {("digits", "b"): top1(1)}, suite="one/sweeps")
    write_suite(tmp_path, {("digits", "b"): top1(1)}, suite="two/sweeps")
    other = make_spec(loss="b").run_id
    with pytest.raises(InputError, match=f"expected one of one/sweeps/{other}, two/sweeps/{other}"):
        find_run(tmp_path, "digits/b/0")


def test_an_unknown_run_gets_the_nearest_name(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "softmax_eql"): top1(1)})
    with pytest.raises(
        InputError, match=r"run 'digits/sofmax_eql/0': no such run .* did you mean 'digits/softmax_eql/0'\?"
    ):
        find_run(tmp_path, "digits/sofmax_eql/0")
    with pytest.raises(InputError, match="no such run"):
        find_run(tmp_path, "")
    with pytest.raises(InputError, match=r"no such run in .* \(0 runs\)"):
        find_run(tmp_path / "nothing", "abcdef")


# -- the same images -----------------------------------------------------------------------------------------


def write_predictions(run: RunFolder, right: list[bool], labels: list[int] | None = None) -> None:
    """Of ten images of each of two classes; a wrong one is taken for the other class."""
    label = np.array(labels or [0] * 10 + [1] * 10)
    found = np.where(right, label, 1 - label)
    top5 = np.ones(len(label), bool)
    columns = {"image": np.arange(len(label)), "label": label, "prediction": found, "adjusted": found, "top5": top5}
    (run.evaluation / "predictions.parquet").write_bytes(packed(columns))


def judged_pair(folder: SuiteFolder, right_a: list[bool], right_b: list[bool]) -> tuple[RunFolder, RunFolder]:
    """Finished runs of twenty images, with everything stored."""
    runs = []
    for loss, right in (("cross_entropy", right_a), ("softmax_eql", right_b)):
        many, few = 10.0 * sum(right[:10]), 10.0 * sum(right[10:])
        metrics = {"top1": (many + few) / 2, "many": many, "few": few, "worst": min(many, few)}
        runs.append(write_run(folder, make_spec(loss=loss), metrics))
        write_per_class(runs[-1], [many, few])
        write_predictions(runs[-1], right)
    return runs[0], runs[1]


HALF = [True] * 5 + [False] * 5
ALL = [True] * 10


def test_intervals_over_the_images_of_both_runs(folder: SuiteFolder) -> None:
    comparison = compare(*judged_pair(folder, HALF + HALF, HALF + ALL))
    assert comparison.images == 20
    assert set(comparison.over_images) == {"top1", "many", "few", "hmean", "top1_adjusted"}
    assert comparison.over_images["many"] == (0.0, 0.0, 1.0)
    low, high, p = comparison.over_images["few"]
    assert 10 < low < 50 < high < 90
    assert p < 0.02
    assert comparison.notes == ()
    assert [(each.group, each.n, each.difference) for each in comparison.over_classes] == [
        ("all", 2, 25.0), ("many", 1, 0.0), ("few", 1, 50.0),
    ]  # fmt: skip
    text = " ".join(shown(comparison).split())
    assert "metric A B B - A 95 % interval p" in text
    assert f"few 50.00 100.00 +50.00 {low:+.2f} to {high:+.2f} {p:.3f}" in text
    assert "worst 50.00 50.00 +0.00 – –" in text
    assert "paired bootstrap, 2000 resamples of the 20 evaluated images for the metrics; each is" in text
    assert "no regression: top1 +25.00, 95 % interval over images" in text
    stored = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
    assert stored["bootstrap"]["metrics"]["few"] == {"low": low, "high": high, "p": p}
    assert stored["bootstrap"]["classes"][0] == {
        "group": "all", "n": 2, "difference": 25.0, "low": None, "high": None, "p": None,
    }  # fmt: skip
    assert (stored["regression"], stored["verdict"]) == (False, comparison.verdict)


def test_a_lower_main_metric_is_a_regression_beyond_chance_only(folder: SuiteFolder, tmp_path: Path) -> None:
    """One image of twenty may be chance, ten are not; without predictions one image is enough."""
    one_less = [*HALF, False, *ALL[1:]]
    a, b = judged_pair(folder, HALF + ALL, one_less)
    assert not compare(a, b).regression
    assert compare(a, b).verdict.startswith("no regression: top1 -5.00, 95 % interval over images -15.00 to +0.00")
    (b.evaluation / "predictions.parquet").unlink()
    comparison = compare(a, b)
    assert comparison.regression
    assert comparison.verdict == "a regression: top1 -5.00 (without an interval; anything below 0 counts)"
    assert comparison.notes == (f"no bootstrap over images: no predictions by image are stored for {b.run_id}",)
    other = SuiteFolder(tmp_path, "other")
    assert compare(*judged_pair(other, ALL + ALL, ALL + [False] * 10)).regression


def test_no_main_metric_is_a_regression(folder: SuiteFolder) -> None:
    a = write_run(folder, make_spec(loss="a"), {"top1": 90.0})
    b = write_run(folder, make_spec(loss="b"), {"top1": None})
    comparison = compare(a, b)
    assert comparison.regression
    assert comparison.verdict == "undecided, which counts as a regression: top1, the main metric, is missing"
    assert comparison.verdict in " ".join(shown(comparison).split())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("labels", "the labels stored for the two runs differ"),
        ("result", "give top1 50.00, and its result is 75.00"),
        ("spec", "the runs differ in data_digest"),
        ("few images", "5 images are too few"),
        ("detections", "no predictions by image are stored for {b}"),
    ],
)
def test_why_there_are_no_intervals_over_images(folder: SuiteFolder, change: str, reason: str) -> None:
    a, b = judged_pair(folder, HALF + HALF, HALF + ALL)
    if change == "labels":
        write_predictions(b, HALF + ALL, labels=[1] * 10 + [0] * 10)
        write_per_class(b, [100.0, 50.0])
        b.write_result({**(b.read_result() or {}), "metrics": {"top1": 75.0}})
    elif change == "result":
        write_predictions(b, HALF + HALF)
    elif change == "spec":
        b.write_spec(make_spec(loss="softmax_eql", data_digest="another"))
    elif change == "few images":
        for run in (a, b):
            write_predictions(run, [True] * 5, labels=[0] * 5)
            run.write_result({**(run.read_result() or {}), "metrics": {"top1": 100.0}})
    else:
        (b.evaluation / "predictions.parquet").unlink()
    comparison = compare(a, b)
    assert comparison.over_images == {}
    assert comparison.notes[0].startswith("no bootstrap over images: ")
    assert comparison.notes[0].endswith(reason.format(b=b.run_id))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [0], "label": [0]}, "column 'prediction' is missing; there are image, label"),
        ({"label": [0]}, "column 'image' is missing"),
        (
            {"image": [0], "class_id": [2], "intersection": [1], "labelled": [1], "predicted": [1]},
            "classes 2 to 2; per_class.parquet has 0 to 1",
        ),
        (
            {"image": [-1], "label": [0], "prediction": [1], "adjusted": [1], "top5": [1]},
            "image -1; expected 0 or more",
        ),
        (
            {"image": [10**12], "label": [0], "prediction": [1], "adjusted": [1], "top5": [1]},
            "images 1000000000000 to 1000000000000 in 1 rows; expected one of each",
        ),
        (
            {"image": [0], "label": ["0"], "prediction": [1], "adjusted": [1], "top5": [1]},
            "column 'label' holds .*string, expected whole numbers",
        ),
        (
            {"image": [0], "label": [0], "prediction": [1], "adjusted": [1], "top5": [None]},
            "column 'top5' holds null, expected whole numbers",
        ),
    ],
)
def test_other_tables_of_predictions_are_input_errors(
    folder: SuiteFolder, columns: dict[str, list[Any]], message: str
) -> None:
    a, b = judged_pair(folder, HALF + HALF, HALF + ALL)
    pq.write_table(pa.table(columns), b.evaluation / "predictions.parquet")
    with pytest.raises(InputError, match=message):
        compare(a, b)


@pytest.mark.parametrize(("order", "code"), [((0, 1), 4), ((1, 0), 0), ((0, 0), 0)])
def test_the_command_fails_on_a_regression_if_asked(folder: SuiteFolder, order: tuple[int, int], code: int) -> None:
    runs = judged_pair(folder, ALL + ALL, ALL + [False] * 10)
    folder.write_plan([run.read_spec() for run in runs], "name: quickstart\n")
    names = [runs[place].run_id for place in order]
    command = ["compare", *names, "--storage", str(folder.path.parent)]
    assert CliRunner().invoke(app, command).exit_code == 0
    answer = CliRunner().invoke(app, [*command, "--json", "--fail-on-regression"])
    assert answer.exit_code == code
    assert json.loads(answer.stdout)["regression"] is (code == 4)


@pytest.mark.parametrize(("tolerance", "code"), [("40", 4), ("60", 0)])
def test_the_command_tolerates_so_many_points(folder: SuiteFolder, tolerance: str, code: int) -> None:
    runs = judged_pair(folder, ALL + ALL, ALL + [False] * 10)
    command = ["compare", *(run.run_id for run in runs), "--storage", str(folder.path.parent), "--json"]
    folder.write_plan([run.read_spec() for run in runs], "name: quickstart\n")
    answer = CliRunner().invoke(app, [*command, "--fail-on-regression", "--tolerance", tolerance])
    assert answer.exit_code == code
    assert json.loads(answer.stdout)["tolerance"] == float(tolerance)


def test_a_p_value_that_all_resamples_agree_on_is_a_bound(folder: SuiteFolder) -> None:
    text = " ".join(shown(compare(*judged_pair(folder, [False] * 20, ALL + ALL))).split())
    assert "top1 0.00 100.00 +100.00 +100.00 to +100.00 ≤ 0.0047" in text
    assert "Metrics are in percent; B - A is in points." in text
