from __future__ import annotations

import dataclasses
import itertools
import math
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_sweeps import results, searched, trial
from PIL import Image

from eqbench.errors import EnvironmentProblem
from eqbench.sweep.plots import page, pareto, pictures, write_plots
from eqbench.sweep.plots.importance import FEWEST_TRIALS, Importance, importances
from eqbench.sweep.plots.response import smoothed
from eqbench.sweep.record import BASELINE, DEFAULT, Results
from eqbench.sweep.standings import Standings

BOTH = [{"maximize": "val/few"}, {"maximize": "val/many"}]
TAU = {"loss.tau": {"uniform": [0.25, 4]}}
EPS = {"loss.eps": {"loguniform": [1e-5, 1e-1]}}


def tau_of(values: Any) -> float:
    return 40 - float((values["loss.tau"] - 2) ** 2)


class Page(HTMLParser):
    """Tags, links and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.titles: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["title"]:
            self.titles.append(data)

    def marked(self, tag: str) -> set[str | None]:
        return {
            attributes["data-trial"] for name, attributes in self.tags if name == tag and "data-trial" in attributes
        }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path, list[Path]]:
    sweep = searched(16, response=tau_of, space=TAU | EPS, objective=BOTH)
    folder = tmp_path_factory.mktemp("plots")
    return sweep, folder, write_plots(sweep, folder)


def test_files(drawn: tuple[Results, Path, list[Path]]) -> None:
    _, folder, files = drawn
    names = ["response_val_few", "response_val_many", "surface_val_few", "surface_val_many"]
    names += ["importance", "pareto", "curves"]
    assert files == [folder / "sweep.html", *(folder / f"{name}.png" for name in names)]
    for file in files[1:]:
        with Image.open(file) as image:
            shades = np.asarray(image.convert("L"))
        assert shades.shape[1] > 600
        assert (shades < 250).mean() > 0.01, f"{file.name} shows next to nothing"


def test_page_is_self_contained(drawn: tuple[Results, Path, list[Path]]) -> None:
    text = (drawn[1] / "sweep.html").read_text()
    parsed = Page(text)
    links = [
        value
        for _, attributes in parsed.tags
        for name, value in attributes.items()
        if name.rpartition(":")[2] in ("href", "src", "srcset", "action", "data", "poster") and value
    ]
    assert links, "marks are drawn by reference inside the page"
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"@import|url\((?!['\"]?#)", text)
    assert "default-src 'none'" in text
    assert "fetch(" not in text


def test_every_reference_inside_the_page_leads_somewhere(drawn: tuple[Results, Path, list[Path]]) -> None:
    text = (drawn[1] / "sweep.html").read_text()
    targets = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    names = [attributes["id"] for _, attributes in Page(text).tags if "id" in attributes]
    assert targets <= set(names)
    assert len(names) == len(set(names))


def test_trials_can_be_pointed_at_in_pictures_and_table(drawn: tuple[Results, Path, list[Path]]) -> None:
    sweep, folder, _ = drawn
    parsed = Page((folder / "sweep.html").read_text())
    everyone = {str(each.number) for each in sweep.trials}
    assert parsed.marked("tr") == everyone
    assert parsed.marked("g") == everyone
    tips = "\n".join(parsed.titles)
    assert "trial 0: " in tips
    assert "tau=" in tips
    assert "val/few" in tips


def test_same_results_same_page() -> None:
    sweep = searched(8, response=tau_of, space=TAU)
    assert page.html(sweep, pictures(sweep)) == page.html(sweep, pictures(sweep))


def test_titles_say_loss_task_and_number_of_trials() -> None:
    for picture in pictures(searched(12, response=tau_of, space=TAU)):
        assert picture.figure is not None
        title = picture.figure.get_suptitle()
        assert "softmax_eql on digits" in title
        assert re.search(r"\d+ finished, \d+ stopped", title)


def test_colours_follow_the_page() -> None:
    """Inks of the figures are the page's variables, so that a dark page has light ink."""
    from eqbench.plots.canvas import GRID, INK, MUTED
    from eqbench.plots.svg import inline

    picture = pictures(searched(8, response=tau_of, space=TAU))[0]
    assert picture.figure is not None
    text = inline(picture.figure, "a", "title", {})
    assert "var(--ink)" in text
    assert "var(--muted)" in text
    assert not any(colour in text for colour in (INK, MUTED, GRID, "#ffffff"))


def test_trend_surface_and_importance_are_of_the_epoch_that_most_reached() -> None:
    sweep = searched(21, response=tau_of, space=TAU | EPS)
    stopped = sum(trial.status == "stopped" for trial in sweep.trials)
    over = sum(trial.status in ("finished", "stopped") and trial.kind != "baseline" for trial in sweep.trials)
    assert stopped > 0.1 * over
    compared = Standings(sweep).comparable(sweep.section.objective.goals[0])
    assert (compared.epoch, len(compared.scores)) == (4.0, over)
    drawn = {picture.name: picture for picture in pictures(sweep)}
    for name in ("response", "surface", "importance"):
        assert f"at epoch 4 of {over} trials" in drawn[name].caption, name
    assert "at epoch 4" in drawn["surface"].title
    assert drawn["response"].figure is not None
    labels = [text.get_text() for legend in drawn["response"].figure.legends for text in legend.get_texts()]
    assert f"trend at epoch 4, {over} trials (local linear)" in labels
    without = dataclasses.replace(sweep, trials=tuple(each for each in sweep.trials if each.status != "stopped"))
    at_end = Standings(without).comparable(sweep.section.objective.goals[0])
    assert (at_end.epoch, len(at_end.scores)) == (None, over - stopped)


@pytest.mark.parametrize("bounds", [(0.01, 0.5), (1e-6, 1.0), (0.3, 0.45), (1e-3, 1.0), (0.02, 0.06)])
@pytest.mark.parametrize("side", ["x", "y"])
def test_labels_of_a_logarithmic_axis_are_plain_and_apart(bounds: tuple[float, float], side: str) -> None:
    from eqbench.plots.canvas import panels
    from eqbench.sweep.plots.canvas import Scale
    from eqbench.sweep.space import Parameter

    figure, (axes, *_) = panels(2, 2)
    scale = Scale(Parameter("train.optimizer.lr", "loguniform", *bounds))
    scale.set_on(axes, side)
    axes.plot(*(bounds, (0, 1)) if side == "x" else ((0, 1), bounds))
    figure.draw_without_rendering()
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    shown = [label for label, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True) if low <= at <= high]
    texts = [label.get_text() for label in shown]
    assert 2 <= len(texts) <= 10
    assert [float(text) for text in texts] == pytest.approx([at for at in axis.get_ticklocs() if low <= at <= high])
    assert not any(label.get_text() for label in axis.get_ticklabels(minor=True))
    boxes = [label.get_window_extent() for label in shown]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    if bounds == (0.01, 0.5):
        assert {"0.02", "0.05", "0.1", "0.2"} <= set(texts)


def test_page_says_each_thing_once() -> None:
    sweep = searched(14, response=tau_of, space=TAU)
    told = "stopped early by asha after epoch 4 of 10"
    trials = tuple(
        dataclasses.replace(
            each,
            detail=told if each.status == "stopped" else each.detail,
            metrics=each.metrics | {"train/lr": 0.1, "train/samples_per_second": 9.0},
        )
        for each in sweep.trials
    )
    drawn = pictures(dataclasses.replace(sweep, trials=trials))
    text = page.html(dataclasses.replace(sweep, trials=trials), drawn)
    for picture in drawn:
        if picture.figure is not None:
            assert len(re.findall(f">{re.escape(picture.title)}<", text)) == 1
            assert picture.figure.get_suptitle(), "the file keeps its title"
    rows = re.findall(r"<tr data-trial=.*?</tr>", text)
    stopped = [row for row in rows if "stopped" in row]
    assert stopped
    assert all(row.count("stopped") == 1 and f"<td>{told}</td>" in row for row in stopped)
    assert "train/loss" in text
    assert "train/lr" not in text
    assert "samples_per_second" not in text


# -- little, or strange ------------------------------------------------------------------------------------------


def reasons(sweep: Results) -> dict[str, str]:
    """Captions of pictures that cannot be drawn."""
    return {picture.name: picture.caption for picture in pictures(sweep) if picture.figure is None}


def test_no_trial_has_finished(tmp_path: Path) -> None:
    sweep = results(trial(DEFAULT, status="running"), trial(0, status="waiting"), trial(1, status="failed"))
    (tmp_path / "curves.png").write_bytes(b"of an earlier sweep")
    assert [file.name for file in write_plots(sweep, tmp_path)] == ["sweep.html"]
    assert not (tmp_path / "curves.png").exists()
    text = (tmp_path / "sweep.html").read_text()
    for reason in reasons(sweep).values():
        assert reason in text
    assert "No trial has been evaluated yet." in text


def test_formats_of_the_pictures(tmp_path: Path) -> None:
    sweep = results(trial(0, {"loss.tau": 2.0}, {"val/few": 40.0}), space=TAU)
    (tmp_path / "importance.svg").write_text("of an earlier sweep")
    names = [file.name for file in write_plots(sweep, tmp_path, ["png", "svg"])]
    assert names == ["sweep.html", "response.png", "response.svg", "curves.png", "curves.svg"]
    assert not (tmp_path / "importance.svg").exists()


def test_no_trial_at_all(tmp_path: Path) -> None:
    write_plots(results(), tmp_path)
    assert "No trial has started." in (tmp_path / "sweep.html").read_text()


@pytest.mark.parametrize("status", ["finished", "stopped", "running"])
def test_one_trial_of_one_parameter(status: Any, tmp_path: Path) -> None:
    sweep = results(trial(0, {"loss.tau": 2.0}, {"val/few": 40.0}, status=status), space=TAU)
    names = [file.name for file in write_plots(sweep, tmp_path)]
    assert names == ["sweep.html", "response.png", "curves.png"]
    assert list(reasons(sweep)) == ["importance"]


def test_numbers_that_are_missing_are_left_out(tmp_path: Path) -> None:
    values = {"loss.gamma": 5.0, "loss.mu": 0.6, "train.optimizer.lr": 0.1, "loss.indicator": "all"}
    broken = [
        trial(0, values, {"val/few": math.nan, "val/many": 90.0}),
        trial(1, values, {"val/many": 90.0}),
        trial(2, values, {"val/few": math.inf, "val/many": 90.0}),
    ]
    write_plots(results(*broken), tmp_path / "none")
    assert set(reasons(results(*broken))) == {"response", "surface", "importance", "curves"}
    written = write_plots(results(*broken, trial(3, values, {"val/few": 40.0})), tmp_path / "one")
    assert "surface.png" in {file.name for file in written}


def test_a_running_trial_shows_neither_in_surfaces_nor_on_the_front() -> None:
    sweep = searched(20, response=tau_of, space=TAU, objective=BOTH)
    ahead = trial(99, sweep.trials[5].values, {"val/few": 99.0, "val/many": 99.0}, status="running")
    standings = Standings(dataclasses.replace(sweep, trials=(*sweep.trials, ahead)))
    assert ahead not in standings.front


@pytest.mark.parametrize("value", ["罕见", "<script>alert(1)</script>", "$x_{1}$", "a\x00\x1b[0m\nb", "\udce9", ""])
def test_any_text_can_be_a_value(value: str, tmp_path: Path) -> None:
    space = {"loss.kind": {"choice": [value, "plain"]}, "loss.tau": {"uniform": [0, 4]}}
    trials = [
        trial(number, {"loss.kind": kind, "loss.tau": 1.0 + number}, {"val/few": 40.0 + number}, detail=value)
        for number, kind in enumerate([value, "plain", value])
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = write_plots(results(*trials, trial(5, status="failed", detail=value), space=space), tmp_path)
    text = files[0].read_text()
    assert "<script>alert" not in text
    assert "\x00" not in text
    assert [tag for tag, _ in Page(text).tags].count("script") == 1


def test_values_of_every_kind_have_a_place(tmp_path: Path) -> None:
    space = {
        "loss.flag": {"choice": [True, False, None, 1, "1"]},
        "loss.eps": [1e-5, 1e-4, 1e-3],
        "train.batch_size": {"integer": [16, 64]},
        "loss.zero": {"grid": [0, 1, 100]},
    }
    flags = [True, False, None, 1, "1"]
    trials = [
        trial(
            at,
            {
                "loss.flag": flags[at % 5],
                "loss.eps": 10.0 ** -(3 + at % 3),
                "train.batch_size": 16 + at,
                "loss.zero": 0,
            },
            {"val/few": float(at)},
        )
        for at in range(12)
    ]
    files = write_plots(results(*trials, space=space), tmp_path)
    assert {"response.png", "surface.png", "importance.png"} <= {file.name for file in files}


def test_conditional_parameters_are_drawn_where_they_apply() -> None:
    space = {
        "loss.name": {"choice": ["softmax_eql", "sigmoid_eql"]},
        "loss.tau": {"uniform": [0.25, 4], "when": {"loss.name": "softmax_eql"}},
        "loss.gamma": {"uniform": [4, 20], "when": {"loss.name": "sigmoid_eql"}},
    }
    sweep = searched(
        24, response=lambda values: float(values.get("loss.gamma") or values["loss.tau"] or 0), space=space
    )
    surface = next(picture for picture in pictures(sweep) if picture.name == "surface")
    assert surface.figure is not None
    pairs = [(axes.get_xlabel(), axes.get_ylabel()) for axes in surface.figure.axes[:-1]]
    assert pairs == [("loss.name", "loss.tau"), ("loss.name", "loss.gamma")]
    importance = next(picture for picture in pictures(sweep) if picture.name == "importance")
    assert "Left out, since only some settings have them: loss.tau, loss.gamma." in importance.caption


def test_all_trials_on_one_line_have_no_field(tmp_path: Path) -> None:
    space = {"loss.tau": {"uniform": [0, 10]}, "loss.eps": {"uniform": [0, 10]}}
    trials = [trial(at, {"loss.tau": float(at), "loss.eps": float(at)}, {"val/few": float(at)}) for at in range(8)]
    surface = next(picture for picture in pictures(results(*trials, space=space)) if picture.name == "surface")
    assert surface.figure is not None
    assert "interpolates" not in surface.caption


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_plots(results(), tmp_path / "plots")


# -- what is computed ----------------------------------------------------------------------------------------------


def shares(sweep: Results) -> dict[str, Importance]:
    (found,) = importances(Standings(sweep)).values()
    assert not isinstance(found, str), found
    return dict(found)


def test_importance_finds_the_parameter_that_matters() -> None:
    def response(values: Any) -> float:
        return 10 * math.log10(values["train.optimizer.lr"]) + 60

    found = shares(searched(60, response=response))
    assert next(iter(found)) == "train.optimizer.lr"
    assert found["train.optimizer.lr"].share > 0.8
    assert found["loss.mu"].share < 0.1
    for value in found.values():
        assert 0 <= value.low <= value.share <= value.high <= 1


def test_importance_weighs_a_logarithmic_range_evenly() -> None:
    """A step at the geometric middle is as important as a step in the middle of a uniform range."""
    space = {"loss.a": {"loguniform": [1e-4, 1]}, "loss.b": {"uniform": [0, 1]}}

    def response(values: Any) -> float:
        return 50.0 + 10 * (values["loss.a"] > 1e-2) + 10 * (values["loss.b"] > 0.5)

    found = shares(searched(90, response=response, space=space))
    assert found["loss.a"].share == pytest.approx(found["loss.b"].share, abs=0.12)


def test_importance_needs_trials_and_differences() -> None:
    def flat(number: int) -> Results:
        return results(*(trial(at, {"loss.tau": 1.0 + at / 9}, {"val/few": 1.0}) for at in range(number)), space=TAU)

    assert f"needs {FEWEST_TRIALS} comparable trials or more" in reasons(flat(FEWEST_TRIALS - 1))["importance"]
    assert "is the same in all" in reasons(flat(FEWEST_TRIALS))["importance"]


def test_where_few_trials_finish_they_are_compared_at_an_epoch_that_many_reached() -> None:
    """As with ASHA: 3 of 20 finish, all were evaluated at epochs 2 and 4."""
    generator = np.random.default_rng(0)
    trials = [
        trial(
            at,
            {"loss.tau": float(generator.uniform(0.25, 4)), "loss.eps": 10.0 ** generator.uniform(-5, -1)},
            {"val/few": 40.0 + at},
            status="finished" if at < 3 else "stopped",
        )
        for at in range(20)
    ]
    sweep = results(*trials, space=TAU | EPS)
    (goal,) = sweep.section.objective.goals
    compared = Standings(sweep).comparable(goal)
    assert (compared.epoch, len(compared.scores)) == (4.0, 20)
    assert compared.scores[0] == dict(trials[0].curve)[4.0]["val/few"]
    drawn = {picture.name: picture for picture in pictures(sweep)}
    assert drawn["surface"].title == "val/few at epoch 4 over pairs of parameters"
    assert "trials that reached epoch 4" in drawn["surface"].caption
    assert drawn["importance"].figure is not None


def test_smoothing_follows_a_curve() -> None:
    x = np.linspace(0, 1, 50)
    y = np.sin(3 * x) + np.random.default_rng(0).normal(0, 0.05, 50)
    assert np.abs(smoothed(x, y, x) - np.sin(3 * x)).max() < 0.15


def test_front_line_encloses_what_it_dominates() -> None:
    """Maximizing both, the step line passes below no point of the front."""
    sweep = searched(24, response=tau_of, space=TAU, objective=BOTH)
    (picture,) = pareto.pictures(Standings(sweep))
    assert picture.figure is not None
    (axes,) = picture.figure.axes
    steps = next(line for line in axes.get_lines() if line.get_drawstyle() == "steps-pre")
    x, y = (np.asarray(values, float) for values in steps.get_data())
    front = Standings(sweep).front
    assert sorted(x.tolist()) == x.tolist() == sorted(each.metrics["val/few"] for each in front)
    assert sorted(y.tolist(), reverse=True) == y.tolist()
    assert BASELINE not in {each.number for each in front}
