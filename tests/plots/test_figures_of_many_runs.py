"""Figures of many runs: which of them are shown, how they look, and what is said of the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_runs import make_spec, write_run, write_snapshot, write_suite
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from eqbench import leaderboard
from eqbench.cli import app
from eqbench.plots import canvas, figures, palette, series
from eqbench.plots.canvas import Picture
from eqbench.plots.series import tasks_of
from eqbench.plots.stored import Classes, StoredRun
from eqbench.plots.suite_figures import draw_suite, tradeoff_of
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.sweep.announcer import SweepAnnouncer


def end(run: RunFolder, status: str, **fields: Any) -> None:
    result: dict[str, Any] = run.read_result() or {}
    run.write_result({**result, "status": status, **fields})


def cut(run: RunFolder, status: str, after: int = 20) -> None:
    """Let a run have ended early, after an iteration."""
    run.rewind_to(after)
    end(run, status)


def drawn(subject: str, runs: Sequence[RunFolder]) -> tuple[Picture, Figure]:
    (picture,) = figures.draw(subject, runs)
    assert picture.figure is not None
    return picture, picture.figure


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two losses; one seed of the first has failed half-way, where its ratios were far from those of the others."""
    storage = tmp_path_factory.mktemp("store")
    runs = write_suite(storage, [make_spec(loss, seed) for loss in ("efl", "bce") for seed in (0, 1, 2)])
    cut(runs[1], "failed")
    write_snapshot(runs[1], 20, [1e4] * 4, [1.0] * 4)
    return runs


# -- which runs ------------------------------------------------------------------------------------------------------


def test_a_run_that_failed_changes_nothing_of_its_loss(runs: list[RunFolder]) -> None:
    picture, figure = drawn("gradients", runs)
    without, expected = drawn("gradients", [run for run in runs if run != runs[1]])
    for axes, other in zip(figure.axes, expected.axes, strict=True):
        assert axes.get_xlim() == other.get_xlim()
        assert axes.get_ylim() == other.get_ylim()
    assert picture.left_out == (("efl s1", "failed"),)
    assert picture.caption == f"{without.caption} Left out: efl s1 (failed)."
    assert "efl (2 seeds), bce (3 seeds)" in figure.get_suptitle()
    curves, figure = drawn("curves", runs)
    (line,) = [line for line in figure.axes[1].get_lines() if line.get_gid() == "loss:0"]
    assert np.asarray(line.get_xdata()).tolist() == [1, 2, 3, 4]
    assert "Left out: efl s1 (failed)." in curves.caption


def test_where_none_has_finished_each_is_drawn_as_far_as_it_got(tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec(loss, seed) for loss in ("efl", "bce") for seed in (0, 1)])
    cut(runs[0], "failed")
    runs[1].result_file.unlink()
    write_snapshot(runs[1], 30, [8.0] * 4, [1.0] * 4)
    picture, figure = drawn("gradients", runs)
    assert "Drawn as far as it got: efl (failed), efl (not finished)." in picture.caption
    assert "At the last snapshot of each run:" in picture.caption
    assert "efl (2 seeds, not finished), bce (2 seeds)" in figure.get_suptitle()
    assert len({axes.get_xlim() for axes in figure.axes[:2]}) == 1
    thick = [line for line in figure.axes[0].get_lines() if line.get_linewidth() == 2]
    assert np.asarray(thick[0].get_ydata())[2] == pytest.approx(min(8.0, figure.axes[0].get_ylim()[1]), rel=0.01)


def test_seeds_are_those_that_have_what_is_shown(runs: list[RunFolder], tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec("efl", seed) for seed in range(3)])
    (runs[2].evaluation / "per_class.parquet").unlink()
    picture, figure = drawn("per_class", runs)
    assert "efl (2 seeds)" in figure.get_suptitle()
    assert picture.left_out == (("efl s2", "no result by class"),)
    assert drawn("curves", runs)[0].left_out == ()


def test_many_losses_have_their_number_of_seeds(tmp_path: Path) -> None:
    specs = [make_spec(f"loss {place}", seed) for place in range(5) for seed in (0, 1)]
    runs = write_suite(tmp_path, specs)
    assert "digits: 5 losses, 2 seeds each" in drawn("weights", runs)[1].get_suptitle()
    assert "digits: 5 losses, 1 to 2 seeds" in drawn("weights", runs[:-1])[1].get_suptitle()


def test_of_a_sweep_the_best_are_drawn(tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec(f"trial {place}") for place in range(25)])
    for place, run in enumerate(runs):
        end(run, "stopped" if place in (3, 4) else "finished", metrics={"top1": float(place)})
    (task,) = tasks_of([StoredRun(run, run.read_spec()) for run in runs])
    kept = [0, *range(10, 25)]
    assert [each.label for each in task.series] == [f"trial {place}" for place in kept]
    assert len(task.series) == series.MOST_SERIES
    assert [each.place for each in task.series] == list(range(16))
    assert "trial 7, trial 8 and 1 more (not among the first loss and the 15 best)" in task.remarks
    assert "trial 3, trial 4 (stopped early)" in task.remarks
    (task,) = tasks_of([StoredRun(run, run.read_spec()) for run in runs[3:5]])
    assert len(task.series) == 2


def test_a_run_without_a_description_is_named(tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec("efl", seed) for seed in range(3)])
    runs[1].spec_file.write_text("damaged: [")
    runs[1].result_file.unlink()
    for extra in ((), ("--json",)):
        arguments = ["plot", "weights", "drawn", "--storage", str(tmp_path), "--out", str(tmp_path / "out"), *extra]
        answer = CliRunner().invoke(app, arguments)
        assert answer.exit_code == 0, answer.output
        assert f"{runs[1].run_id}" in answer.output
        assert "cannot be read as a run" in answer.output
    (described,) = json.loads(answer.output)
    assert [each["what"] for each in described["left_out"]] == [runs[1].run_id]


# -- how they look ---------------------------------------------------------------------------------------------------


def test_a_loss_looks_the_same_on_all_tasks(tmp_path: Path) -> None:
    """On the first task, efl comes second; on the second one, first."""
    losses = {"a": ("bce", "efl"), "b": ("efl", "focal")}
    specs = [make_spec(loss, task=task) for task, names in losses.items() for loss in names]
    runs = write_suite(tmp_path, specs)
    tasks = tasks_of([StoredRun(run, run.read_spec()) for run in runs])
    found = [{each.label: each.colour for each in task.series} for task in tasks]
    assert found[0]["efl"] == found[1]["efl"] == palette.LOSSES[1]
    assert found[1]["focal"] == palette.LOSSES[2]
    folder = SuiteFolder(tmp_path, "drawn")
    figure = tradeoff_of(leaderboard.board([folder]), [folder]).figure
    assert figure is not None
    colours = {line.get_gid(): line.get_color() for axes in figure.axes for line in axes.get_lines() if line.get_gid()}
    assert colours == {f"loss:{place}": palette.LOSSES[place] for place in range(3)}


@pytest.mark.parametrize(("task", "unit"), [("classification", "images"), ("segmentation", "pixels")])
def test_what_is_counted_has_its_name(task: str, unit: str, tmp_path: Path) -> None:
    spec = make_spec()
    run = write_run(tmp_path, spec.model_copy(update={"task": spec.task.model_copy(update={"name": task})}))
    picture, figure = drawn("per_class", [run])
    assert f"training {unit} (100 to 4)" in figure.axes[0].get_xlabel()
    assert f"4 training {unit})" in picture.tips["class:3"]


def test_groups_are_explained() -> None:
    classes = Classes(("a", "b", "c"), ("f", "r", "r"), np.array([1_234_567, 9, 4]), "instances")
    assert classes.groups_text == "frequent (f) 1 class (1.23M), rare (r) 2 classes (9 to 4) by training instances"


@pytest.mark.parametrize("subject", ["gradients", "per_class", "confusion", "weights", "curves"])
def test_each_figure_explains_its_groups(subject: str, runs: list[RunFolder]) -> None:
    assert "many 1 class (100), medium 2 classes (40 to 15)" in drawn(subject, runs)[1].get_suptitle().replace(
        "\n", " "
    )


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.4), (0.3, 1.8), (0.07, 9.0), (1e-6, 1e5), (0.99, 1.02), (0.2, 3.0)])
def test_a_logarithmic_axis_has_labelled_ticks(low: float, high: float) -> None:
    places = canvas.log_places(low, high)
    assert 4 <= len(places) <= 9
    assert all(low <= place <= high for place in places)
    assert 1.0 in places


def test_panels_choose_their_scale_by_what_they_show(tmp_path: Path) -> None:
    """Far from balance at first, close to it at the end."""
    run = write_run(tmp_path, make_spec())
    for iteration, ratio in ((10, 0.01), (20, 0.5), (30, 0.9), (40, 1.1)):
        write_snapshot(run, iteration, [ratio, 1.0, 1.0, 1.0], [1.0] * 4)
    _, figure = drawn("gradients", [run])
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert sum(low <= place <= high for place in axes.get_yticks()) >= 4


def test_long_names_are_cut(tmp_path: Path) -> None:
    name = "a_loss_with_a_name_that_no_panel_has_room_for_" * 2
    run = write_run(tmp_path, make_spec(loss_label=name))
    _, figure = drawn("gradients", [run])
    assert figure.axes[0].get_title(loc="left").endswith("…")
    assert max(map(len, figure.get_suptitle().split("\n"))) < 125


# -- curves ----------------------------------------------------------------------------------------------------------


def test_the_training_loss_is_averaged_over_equal_windows(tmp_path: Path) -> None:
    """Recorded after 10 iterations each, and after evaluations at every 7th: single steps scatter."""
    run = write_run(tmp_path, make_spec())
    run.events_file.unlink()
    ends = sorted({*range(10, 71, 10), *range(7, 71, 7)})
    lengths = np.diff([0, *ends])
    for iteration, length in zip(ends, lengths, strict=True):
        run.append_event(iteration, iteration, {"train/loss": 100.0 / length, "train/lr": 0.1})
    curve = StoredRun(run, run.read_spec()).averaged_curve("train/loss", 100)
    per_window = [sum(100.0 for at in ends if window < at <= window + 7) for window in range(0, 70, 7)]
    assert [value for _, value in curve] == pytest.approx([total / 7 for total in per_window])
    assert len(StoredRun(run, run.read_spec()).averaged_curve("train/loss", 5)) == 5


def test_events_of_any_content_are_read(tmp_path: Path) -> None:
    run = write_run(tmp_path, make_spec())
    broken = [
        {"iteration": 41, "metrics": None},
        {"iteration": 42, "metrics": {"val/top1": None, "train/loss": "nan", "val/few": True}},
        {"iteration": None, "metrics": {"val/top1": 1.0}},
        {"iteration": 43, "metrics": [1]},
    ]
    with run.events_file.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in broken)
    stored = StoredRun(run, run.read_spec())
    assert len(stored.curve("val/top1")) == len(stored.curve("train/loss")) == 4
    drawn("curves", [run])
    assert figures.draw_own(run, run.read_spec()) == []


# -- what is drawn of every run and suite ----------------------------------------------------------------------------


def test_a_trial_that_is_stopped_has_figures_of_what_is_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path, make_spec())
    run.result_file.unlink()
    result = SweepAnnouncer({}, [], scheduler="asha")._stop(run, run.read_spec(), {"iteration": 20, "epoch": 2})
    assert result["status"] == "stopped"
    assert {"gradients.png", "curves.png"} <= {file.name for file in run.plots.iterdir()}


def test_a_suite_has_its_losses_side_by_side(runs: list[RunFolder], tmp_path: Path) -> None:
    folder = SuiteFolder(runs[0].path.parent.parent, "drawn")
    assert draw_suite(folder, tmp_path, leaderboard.board([folder])) == []
    names = {"gradients", "per_class", "curves", "confusion", "weights", "tradeoff"}
    assert {file.stem for file in tmp_path.iterdir()} == names
    with Image.open(tmp_path / "gradients.png") as image:
        assert image.mode == "RGB"


def test_a_damaged_file_costs_only_its_figures(tmp_path: Path) -> None:
    runs = write_suite(tmp_path, [make_spec("efl", seed) for seed in (0, 1)])
    (runs[0].gradients / "000000040.parquet").write_bytes(b"damaged")
    runs[1].spec_file.write_text("damaged: [")
    runs[1].result_file.unlink()
    problems = draw_suite(SuiteFolder(tmp_path, "drawn"), tmp_path / "out")
    assert len(problems) == 2
    assert any(problem.startswith("gradients: ") for problem in problems)
    assert {file.stem for file in (tmp_path / "out").iterdir()} == {"per_class", "curves", "confusion", "weights"}
    assert draw_suite(SuiteFolder(tmp_path, "nothing"), tmp_path / "none") == []


def test_boxes_are_explained(tmp_path: Path) -> None:
    """A script that no font of a usual machine has."""
    run = write_run(tmp_path, make_spec(), names=["𒀀𒀁", "b", "c", "d"])
    _, figure = drawn("weights", [run])
    assert canvas.lacks_characters(figure)
    for suffix, explained in (("png", True), ("svg", False)):
        arguments = ["plot", "weights", run.run_id, "--storage", str(tmp_path), "--format", suffix]
        write_suite_of(tmp_path, run)
        answer = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
        assert ("are boxes" in answer.output) is explained, answer.output


def write_suite_of(storage: Path, run: RunFolder) -> None:
    SuiteFolder(storage, "drawn").write_plan([run.read_spec()], "")
