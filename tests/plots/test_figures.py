"""Figures of runs: what is drawn is what is stored, and what is missing or broken is said."""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_runs import make_spec, write_run, write_snapshot, write_suite
from PIL import Image
from typer.testing import CliRunner

from eqbench import leaderboard
from eqbench.cli import app
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.leaderboard.find import find_runs
from eqbench.plots import by_frequency, canvas, confusion, curves, figures, gradients, tradeoff
from eqbench.plots.series import tasks_of
from eqbench.plots.stored import Classes, StoredRun
from eqbench.plots.svg import inline
from eqbench.run_folder import RunFolder, SuiteFolder

LOSSES = ("cross_entropy", "softmax_eql")
FIGURES = ("gradients", "per_class", "curves", "confusion", "weights")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two losses with two seeds each."""
    storage = tmp_path_factory.mktemp("store")
    write_suite(storage, [make_spec(loss, seed) for loss in LOSSES for seed in (0, 1)])
    return storage


@pytest.fixture(scope="module")
def runs(store: Path) -> list[RunFolder]:
    return SuiteFolder(store, "drawn").planned()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path, make_spec())


def stored(run: RunFolder) -> StoredRun:
    return StoredRun(run, run.read_spec())


def lines(figure: Any, axes: int, gid: str) -> list[Any]:
    return [line for line in figure.axes[axes].get_lines() if line.get_gid() == gid]


# -- what is drawn -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", FIGURES)
def test_each_figure_shows_all_losses(subject: str, runs: list[RunFolder], tmp_path: Path) -> None:
    (picture,) = figures.draw(subject, runs)
    assert picture.figure is not None
    assert "cross_entropy (2 seeds), softmax_eql (2 seeds)" in picture.figure.get_suptitle()
    (file,) = figures.write([picture], tmp_path)
    with Image.open(file) as image:
        shades = np.asarray(image.convert("L"))
    assert shades.shape[1] > 600
    assert (shades < 250).mean() > 0.01, "next to nothing is drawn"


def test_ratios_are_sums_over_the_losses_of_a_model(run: RunFolder) -> None:
    write_snapshot(run, 40, [4.0, 1.0, 0.0, 0.0], [2.0, 2.0, 1.0, 0.0], modules=3)
    write_snapshot(run, 35, [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0])
    ratios = stored(run).ratios
    assert ratios is not None
    assert ratios.iterations.tolist() == [10, 20, 30, 35, 40]
    np.testing.assert_allclose(ratios.values[-1], [2.0, 0.5, 0.0, math.nan])
    assert ratios.values[-2][3] == math.inf


def test_seeds_are_averaged_at_every_snapshot(tmp_path: Path) -> None:
    first, second = write_suite(tmp_path, [make_spec(seed=seed) for seed in (0, 1)])
    write_snapshot(first, 40, [1.0] * 4, [4.0] * 4)
    write_snapshot(second, 40, [4.0] * 4, [1.0] * 4)
    (second.gradients / "000000020.parquet").unlink()
    write_snapshot(first, 20, [3.0] * 4, [1.0] * 4)
    (task,) = tasks_of([stored(first), stored(second)])
    epochs, values = gradients.history(task.series[0])
    assert epochs.tolist() == [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(values[-1], 1.0)
    np.testing.assert_allclose(values[1], 3.0)


def test_group_lines_are_medians_on_a_shared_log_axis(runs: list[RunFolder]) -> None:
    (picture,) = figures.draw("gradients", runs)
    assert picture.figure is not None
    losses = picture.figure.axes[:2]
    assert [axes.get_title(loc="left") for axes in losses] == list(LOSSES)
    assert {axes.get_yscale() for axes in picture.figure.axes} == {"log"}
    thick = [line for line in losses[0].get_lines() if line.get_linewidth() == 2]
    assert [np.asarray(line.get_ydata()).round(3).tolist() for line in thick] == [[2.0] * 4, [0.55] * 4, [0.08] * 4]
    assert np.asarray(thick[0].get_xdata()).tolist() == [1, 2, 3, 4]


def test_classes_stand_from_most_to_least_samples(run: RunFolder) -> None:
    (picture,) = figures.draw("per_class", [run])
    assert picture.figure is not None
    places = [np.asarray(lines(picture.figure, 0, f"class:{place}")[-1].get_xdata())[0] for place in range(4)]
    assert places == [0, 1, 2, 3]
    assert picture.tips["class:3"] == "class 3 (few, 4 training images)\ncross_entropy: 33 %"
    assert "100 to 4" in picture.figure.axes[0].get_xlabel()


def test_where_groups_go_by_another_number_classes_are_sorted_within_groups() -> None:
    classes = Classes(("a", "b", "c", "d"), ("f", "r", "f", "r"), np.array([9, 8, 30, 1]))
    assert classes.order.tolist() == [2, 0, 1, 3]
    mixed = Classes(("a", "b", "c"), ("f", "r", "f"), np.array([9, 10, 30]))
    assert mixed.order.tolist() == [2, 0, 1]
    assert "by group and falling number" in mixed.order_text


def test_changes_are_between_runs_of_one_seed(runs: list[RunFolder]) -> None:
    """softmax_eql's name is two letters shorter than cross_entropy's: -2 points everywhere but at 100."""
    (picture,) = figures.draw("per_class", runs)
    assert picture.figure is not None
    points = [float(np.asarray(lines(picture.figure, 1, f"class:{place}")[-1].get_ydata())[0]) for place in range(1, 4)]
    assert points == pytest.approx([-2, -2, -2])


def test_curves_have_the_main_metric_and_the_groups(runs: list[RunFolder]) -> None:
    (picture,) = figures.draw("curves", runs)
    assert picture.figure is not None
    labels = [axes.get_ylabel() for axes in picture.figure.axes]
    assert labels == ["train/loss", "val/top1 (%)", "val/many (%)", "val/medium (%)", "val/few (%)"]
    (line,) = lines(picture.figure, 1, "loss:0")
    assert np.asarray(line.get_xydata()).tolist() == [[1, 10.5], [2, 20.5], [3, 30.5], [4, 40.5]]


def test_a_single_evaluation_is_no_curve(run: RunFolder) -> None:
    kept = [event for event in run.read_events() if "train/loss" in event["metrics"] or event["iteration"] == 40]
    run.events_file.unlink()
    for event in kept:
        run.append_event(event["iteration"], event["samples"], event["metrics"])
    (picture,) = figures.draw("curves", [run])
    assert picture.figure is not None
    assert [axes.get_ylabel() for axes in picture.figure.axes] == ["train/loss"]
    assert "There was one evaluation." in picture.caption


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    x, y = curves._points([(float(at), float(at)) for at in range(10_000)])
    assert len(x) == len(y) == curves.MOST_POINTS
    assert (x[0], x[-1]) == (0.0, 9999.0)


def test_confusion_by_hand() -> None:
    classes = Classes(("a", "b", "c", "d"), ("many", "few", "few", "none"), np.array([9, 3, 2, 1]))
    counted = np.array([[6, 2, 0, 0], [1, 1, 2, 0], [0, 4, 2, 0], [0, 0, 0, 0]])
    expected = [[75.0, 0.0, 25.0, 0.0], [30.0, 10.0, 60.0, 0.0], [math.nan] * 4]
    np.testing.assert_allclose(confusion.shares(counted, classes), expected)


def test_confusion_is_of_predictions_or_of_counted_pixels(run: RunFolder) -> None:
    of_images = stored(run).confusion
    assert of_images is not None
    assert of_images.tolist() == [[2, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [2, 1, 0, 1]]
    table = pa.table({"label": [0, 3], "prediction": [1, 3], "pixels": [70, 5]})
    pq.write_table(table, run.evaluation / "confusion.parquet")
    of_pixels = stored(run).confusion
    assert of_pixels is not None
    assert of_pixels[0, 1] == 70
    assert of_pixels.sum() == 75


def test_tradeoff_has_means_and_intervals_of_the_board(store: Path) -> None:
    picture = tradeoff.picture(leaderboard.board([SuiteFolder(store, "drawn")]))
    assert picture.figure is not None
    marks = {gid: lines(picture.figure, 0, gid) for gid in ("loss:0", "loss:1")}
    assert [np.asarray(found[-1].get_xydata()).tolist() for found in marks.values()] == [[[89.5, 33.5]], [[89.5, 31.5]]]
    across = np.asarray(marks["loss:0"][0].get_xdata())
    assert across == pytest.approx([89.5 - 6.353, 89.5 + 6.353], abs=1e-3)
    assert "digits: many 89.5, few 33.5, n = 2" in picture.tips["loss:0"]


def test_tradeoff_without_both_ends(tmp_path: Path) -> None:
    run = write_suite(tmp_path, [make_spec()])[0]
    result: dict[str, Any] = run.read_result() or {}
    run.write_result({**result, "metrics": {"top1": 40.0, "many": None, "few": 3.0}})
    picture = tradeoff.picture(leaderboard.board([SuiteFolder(tmp_path, "drawn")]))
    assert picture.figure is None
    assert "No task has" in picture.caption


def test_samples_stand_side_by_side(tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec(loss) for loss in LOSSES])
    assert figures.draw("samples", runs)[0].figure is None
    for place, run in enumerate(runs):
        run.samples.mkdir()
        Image.new("RGB", (8, 4), (200 * place, 0, 0)).save(run.samples / "rare-00.png")
    (picture,) = figures.draw("samples", runs)
    assert picture.figure is not None
    assert [np.asarray(axes.images[0].get_array())[0, 0, 0] for axes in picture.figure.axes] == [0, 200]
    assert picture.caption.startswith("Images of the rarest classes that were taken for another class")


def test_many_classes_are_a_line_with_a_band(tmp_path: Path) -> None:
    number = 2000
    counts = [max(1, round(1000 * 0.995**place)) for place in range(number)]
    groups = ["many" if count > 100 else "medium" if count >= 20 else "few" for count in counts]
    run = write_run(tmp_path, make_spec(), counts=counts, groups=groups)
    for subject in ("gradients", "per_class"):
        (picture,) = figures.draw(subject, [run])
        assert picture.figure is not None
        assert picture.tips == {}
        assert len(inline(picture.figure, subject, "title", {})) < 150_000


def test_running_percentiles() -> None:
    at, quantiles = by_frequency.running(np.arange(1000), np.arange(1000).astype(np.float64), 1000)
    middle = np.abs(at - 500).argmin()
    assert quantiles[:, middle] == pytest.approx([at[middle] - 20, at[middle], at[middle] + 20], abs=2)
    assert len(by_frequency.running(np.empty(0), np.empty(0), 10)[0]) == 0


def test_svg_for_a_page(runs: list[RunFolder]) -> None:
    (picture,) = figures.draw("gradients", runs)
    assert picture.figure is not None
    text = inline(picture.figure, "gradients", picture.title, picture.tips)
    (again,) = figures.draw("gradients", runs)
    assert again.figure is not None
    assert text == inline(again.figure, "gradients", picture.title, picture.tips)
    root = ET.fromstring(text)
    marked = [node for node in root.iter() if node.get("data-class") == "3"]
    assert marked
    assert all("class 3 (few, 4 training images)" in (node[0].text or "") for node in marked)
    assert "var(--ink)" in text
    assert not any(colour in text for colour in (canvas.INK, canvas.MUTED, canvas.GRID, "#ffffff"))


# -- what is missing, broken or strange ------------------------------------------------------------------------------


def test_what_is_not_stored_has_a_reason(run: RunFolder) -> None:
    shutil.rmtree(run.gradients)
    shutil.rmtree(run.evaluation)
    run.events_file.unlink()
    for subject in figures.SUBJECTS:
        (picture,) = figures.draw(subject, [run])
        assert picture.figure is None
        assert picture.caption.startswith("No ")


def test_without_a_description_of_the_data_curves_are_left(run: RunFolder) -> None:
    (run.path / "dataset.json").unlink()
    drawn = {subject: figures.draw(subject, [run])[0].figure is not None for subject in figures.SUBJECTS}
    assert drawn == dict.fromkeys(figures.SUBJECTS, False) | {"curves": True}


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("dataset.json", "gradients"),
        ("gradients/000000040.parquet", "gradients"),
        ("evaluation/per_class.parquet", "per_class"),
        ("evaluation/predictions.parquet", "confusion"),
    ],
)
def test_a_damaged_file_is_named(file: str, subject: str, run: RunFolder) -> None:
    (run.path / file).write_bytes(b"\x00 damaged")
    with pytest.raises(InputError, match=file.rpartition("/")[2]):
        figures.draw(subject, [run])


def test_tables_of_other_classes_are_refused(run: RunFolder) -> None:
    write_snapshot(run, 50, np.ones(9), np.ones(9))
    with pytest.raises(InputError, match=r"000000050\.parquet: its classes are not those of the data set"):
        figures.draw("gradients", [run])


def test_numbers_that_do_not_exist(run: RunFolder) -> None:
    """No gradient at all, none of negatives, a class without a result: nothing is invented, nothing fails."""
    write_snapshot(run, 40, [0.0, 0.0, 5.0, 1.0], [0.0, 2.0, 0.0, 1e-9])
    table = pq.read_table(run.evaluation / "per_class.parquet").to_pydict()
    table["accuracy"] = [math.nan, None, 3.0, 4.0]
    pq.write_table(pa.table(table), run.evaluation / "per_class.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for subject in ("gradients", "per_class"):
            figures.write(figures.draw(subject, [run]), run.path / "drawn", ["svg"])
    (picture,) = figures.draw("per_class", [run])
    assert "\n" not in picture.tips["class:0"]
    (picture,) = figures.draw("gradients", [run])
    assert "Values beyond the scale stand at its edge." in picture.caption


def test_any_text_can_be_a_name(tmp_path: Path) -> None:
    names = ["罕见", "<script>alert(1)</script>", "$x_{1}$", "a\x00\x1b[0m\nb", "&amp;", ""]
    spec = make_spec(loss_label="<b>$\\x", task_label="a\x00<i>")
    run = write_run(tmp_path, spec, counts=range(60, 0, -10), groups=["罕$", "<u>"] * 3, names=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for subject in ("gradients", "confusion"):
            (picture,) = figures.draw(subject, [run])
            figures.write([picture], tmp_path / "out", ["svg"])
            assert picture.figure is not None
            page = inline(picture.figure, "name", picture.title, picture.tips)
            assert not {"script", "b", "i", "u"} & {node.tag.rpartition("}")[2] for node in ET.fromstring(page).iter()}


# -- which runs, which files -----------------------------------------------------------------------------------------


def test_losses_with_other_parameters_are_told_apart(tmp_path: Path) -> None:
    specs = [make_spec("softmax_eql", loss_params={"tau": tau}) for tau in (1.0, 2.0)]
    (task,) = tasks_of([stored(run) for run in write_suite(tmp_path, specs)])
    assert [series.label for series in task.series] == ["softmax_eql", "softmax_eql [loss.tau 2.0]"]


def test_tasks_have_figures_of_their_own(tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec(task=task) for task in ("a b", "a/b", "c")])
    names = [picture.name for picture in figures.draw("weights", [*runs, runs[0]])]
    assert names == ["weights_a_b", "weights_a_b_1", "weights_c"]


def test_runs_by_what_they_are_called(store: Path, runs: list[RunFolder]) -> None:
    ids = [run.run_id for run in runs]

    def found(text: str) -> list[str]:
        return [run.run_id for run in find_runs(store, text)]

    assert found("drawn") == found("drawn/digits") == found("digits") == ids
    assert found("digits/softmax_eql") == found("drawn/digits/softmax_eql") == ids[2:]
    assert found(ids[1]) == found("digits/cross_entropy/1") == [ids[1]]
    with pytest.raises(InputError, match="no such run"):
        find_runs(store, "digit")


def test_a_task_of_several_suites_must_say_which(tmp_path: Path) -> None:
    for suite in ("one", "two"):
        spec = make_spec(suite=suite)
        write_run(tmp_path, spec)
        SuiteFolder(tmp_path, suite).write_plan([spec], "")
    with pytest.raises(InputError, match="runs of 2 suites are called so; expected one of one/digits, two/digits"):
        find_runs(tmp_path, "digits")
    assert len(find_runs(tmp_path, "two/digits")) == 1


def test_command_line(store: Path, tmp_path: Path) -> None:
    def plot(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["plot", *arguments, "--storage", str(store)])

    out = tmp_path / "out"
    answer = plot("weights", "digits", "--out", str(out), "--format", "svg", "--json")
    assert answer.exit_code == 0, answer.output
    assert sorted(file.name for file in out.iterdir()) == ["weights.svg"]
    assert '"name": "weights"' in answer.output
    assert plot("tradeoff", "drawn").exit_code == 0
    assert (store / "drawn" / "plots" / "tradeoff.png").exists()
    assert isinstance(plot("samples", "digits").exception, InputError)
    wrong = plot("curves", "digits", "--format", "pgn").exception
    assert isinstance(wrong, InputError)
    assert "did you mean 'png'" in str(wrong)


def test_a_run_has_figures_of_itself(run: RunFolder) -> None:
    assert figures.draw_own(run, run.read_spec()) == []
    assert sorted(file.stem for file in run.plots.iterdir()) == sorted(figures.OF_EACH_RUN)


def test_a_picture_is_no_reason_to_fail(run: RunFolder) -> None:
    run.plots.write_text("a file where a folder should be")
    problems = figures.draw_own(run, run.read_spec())
    assert len(problems) == len(figures.OF_EACH_RUN)
    assert "cannot be written" in problems[0]
    with pytest.raises(EnvironmentProblem):
        figures.write(figures.draw("weights", [run]), run.plots)
