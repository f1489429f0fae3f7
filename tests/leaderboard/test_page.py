"""The leaderboard as one page: what is in the file. How it behaves in a browser: `test_page_in_browser`."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from written_pages import HOSTILE, data_of, page_of, write_curves, write_totals
from written_suites import make_spec, top1, write_run, write_suite

from eqbench.cli import app
from eqbench.leaderboard.page import document, drawn, looks, pictures, traces
from eqbench.plots.stored import StoredRun
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.record import Entry

VOID = {"meta", "input", "br", "img"}


@pytest.fixture(autouse=True)
def no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take their time; only tests that are marked `figures` draw them."""
    if "figures" not in request.fixturenames:
        monkeypatch.setattr(pictures, "NAMES", {})


@pytest.fixture
def figures() -> None:
    """Asks for the figures of tasks."""


class Outline(HTMLParser):
    """What a page is made of; fails where elements are not closed in the order they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.attributes if name == tag]


def outline(html: str) -> Outline:
    read = Outline()
    read.feed(html)
    assert read.open == []
    return read


def test_the_page_is_whole_and_asks_nothing_of_a_network(tmp_path: Path) -> None:
    html = page_of(write_suite(tmp_path, {("digits", "cross_entropy"): top1(70, 72), ("digits", "eql"): top1(75, 76)}))
    read = outline(html)
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in read.attributes}
    assert all("src" not in attributes and "style" not in attributes for _, attributes in read.attributes)
    policy = next(found["content"] for found in read.of("meta") if "http-equiv" in found) or ""
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    style = re.findall(r"<style>(.*?)</style>", html, re.S)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    for content in style + scripts:  # only what is in the page as it was written may run
        assert b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy
    assert (len(style), len(scripts)) == (1, 1)


def test_every_column_and_row_has_a_name_and_every_number_opens_its_runs(tmp_path: Path) -> None:
    outcomes = {
        ("a", "base"): top1(1, 2),
        ("a", "eql"): top1(3, 5),
        ("b", "base"): top1(7, 8),
        ("b", "eql"): top1(9, 9),
    }
    html = page_of(write_suite(tmp_path, outcomes))
    read = outline(html)
    assert len(read.of("table")) == len(re.findall("<caption", html)) == 3
    assert {head["scope"] for head in read.of("th")} == {"col", "row"}
    opened = [button["data-open"] for button in read.of("button") if "data-open" in button]
    assert set(opened) == {"0.0", "0.1", "1.0", "1.1"}
    assert re.search(r'data-open="0.1" data-metric="top1">4.0<i> ± 12.7</i><br><span class="even">\+2.5', html)
    names = [attributes["id"] for _, attributes in read.attributes if "id" in attributes]
    assert len(names) == len(set(names))


def test_names_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    outcomes: Any = {
        (HOSTILE, HOSTILE): [{HOSTILE: 1.0, "top1": 2.0}],
        (HOSTILE, "日本語 ß"): ["failed with " + HOSTILE],
    }
    html = page_of(write_suite(tmp_path, outcomes))
    read = outline(html)
    assert len(read.of("script")) == 2
    assert not read.of("img")
    assert "<img" not in html
    assert "日本語 ß" in html
    assert data_of(html)["columns"][0]["entries"][0]["loss"] == HOSTILE


def test_what_did_not_finish_is_said(tmp_path: Path) -> None:
    outcomes: Any = {
        ("t", "base"): top1(1, 2),
        ("t", "broken"): ["CUDA out of memory", None],
        ("t", "half"): [{"top1": 5.0}, "non-finite gradient"],
        ("t", "empty"): [{"top1": None}, {"top1": None}],
    }
    html = page_of(write_suite(tmp_path, outcomes))
    column = data_of(html)["columns"][0]
    runs = {entry["loss"]: [run.get("reason", "") for run in entry["runs"]] for entry in column["entries"]}
    assert "out of memory" in runs["broken"][0]
    assert runs["half"][0] == ""
    assert "non-finite" in runs["half"][1]
    assert re.search(r'<section id="problems">.*non-finite gradient', html, re.S)
    assert len(re.findall("data-incomplete", re.sub("<script.*", "", html, flags=re.S))) == 3
    assert ">nan" not in html


def test_the_same_results_give_the_same_bytes_and_nothing_says_where_they_lie(tmp_path: Path) -> None:
    outcomes = {("digits", "cross_entropy"): top1(70, 72), ("digits", "eql"): top1(75, 76)}
    first = page_of(write_suite(tmp_path / "one", outcomes))
    assert page_of(write_suite(tmp_path / "two", outcomes)) == first
    assert str(tmp_path) not in first


def test_numbers_and_drawings_of_a_run_are_in_the_page(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): [{"top1": 70, "few": 1}, {"top1": 72, "few": 1}]})
    write_curves(folder, points=200)
    data = data_of(page_of(folder))
    (entry,) = data["columns"][0]["entries"]
    first = entry["runs"][0]
    assert first["metrics"] == [70, 1]
    assert len(first["curves"]["train"]["x"]) == traces.POINTS
    assert first["curves"]["train"]["x"][-1] == 40  # epochs
    assert first["curves"]["val"]["top1"][-1] == 100
    assert first["curves"]["val"]["few"][-1] == 50
    assert entry["classes"] == {"runs": 2, "value": [80, 60, None], "of": 0}
    (classes,) = data["classes"]
    assert classes == {
        "metric": "accuracy",
        "classes": 3,
        "count": [90, 30, 5],
        "name": ["cat", "dog", "<b>emu"],
        "group": ["many", "many", "few"],
    }


def test_ratios_of_groups_are_those_of_the_totals_whatever_was_recorded(tmp_path: Path) -> None:
    """Medians over the classes of a group, geometric means over seeds; a loss's own ratio may be limited to 1."""
    folder = write_suite(tmp_path, {("digits", "efl"): top1(70, 72)})
    for run, factor in zip(folder.runs(), (1.0, 4.0), strict=True):
        write_totals(run, {200: [(2, 1), (4, 1), (factor, 2)], 400: [(1, 1), (3, 1), (8 * factor, 2)]})
        for at in (200, 400):
            run.append_event(at, at, {"train/loss": 1.0, "gradient/ratio_many": 1.0, "gradient/ratio_few": 1.0})
    (column,) = data_of(page_of(folder))["columns"]
    (entry,) = column["entries"]
    assert entry["ratios"] == {"x": [20, 40], "many": [3, 2], "few": [1, 8]}
    assert entry["ratioSeeds"] == "2 seeds"
    assert [group["words"] for group in column["groups"]] == [
        "(2 classes: 30 to 90 training images each)",
        "(1 class: 5 training images)",
    ]


@pytest.mark.parametrize(("recorded", "shown"), [(3.0, {"x": [20, 40], "many": [9, 3], "few": [9, 0.5]}), (1.0, None)])
def test_recorded_ratios_are_drawn_if_they_end_at_the_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: float, shown: Any
) -> None:
    monkeypatch.setattr(drawn, "SNAPSHOTS", 0)  # as where runs are so many that not all totals are read
    folder = write_suite(tmp_path, {("digits", "efl"): top1(70)})
    (run,) = folder.runs()
    write_totals(run, {400: [(3, 1), (3, 1), (1, 2)]})
    run.append_event(200, 200, {"gradient/ratio_many": 9.0, "gradient/ratio_few": 9.0})
    run.append_event(400, 400, {"gradient/ratio_many": recorded, "gradient/ratio_few": 0.5})
    (entry,) = data_of(page_of(folder))["columns"][0]["entries"]
    assert entry.get("ratios") == shown


def test_what_did_not_finish_is_in_no_average(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "efl"): [*top1(70, 72), "out of memory"]})
    for run in folder.runs():
        failed = (run.read_result() or {})["status"] == "failed"
        write_totals(run, {40: [(9, 1)] * 3} if failed else {40: [(2, 1)] * 3, 400: [(1, 1)] * 3})
    (entry,) = data_of(page_of(folder))["columns"][0]["entries"]
    assert entry["ratios"] == {"x": [4, 40], "many": [2, 1], "few": [2, 1]}
    assert entry["ratioSeeds"] == "2 seeds; without s2, which did not finish"


def test_the_training_loss_is_averaged_by_the_iterations_behind_each_record(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "efl"): top1(70)})
    (run,) = folder.runs()
    for at in range(25, 401, 25):
        run.append_event(at - 1, at, {"train/loss": 1.0})
        run.append_event(at, at, {"train/loss": 25.0})  # of one iteration
    curves = data_of(page_of(folder))["columns"][0]["entries"][0]["runs"][0]["curves"]
    assert curves["train"]["loss"] == [1.96] * 16
    assert curves["train"]["x"] == [2.5 * at for at in range(1, 17)]


def test_events_without_numbers_are_left_out(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "efl"): top1(70)})
    (run,) = folder.runs()
    run.append_event(200, 1, {"train/loss": 2.0, "val/top1": 1.0})
    lines = ['{"iteration": 300, "metrics": null}', '{"iteration": null, "metrics": {"train/loss": 1}}']
    lines += ['{"iteration": 400, "metrics": {"train/loss": null, "val/top1": null}}']
    run.events_file.write_text(run.events_file.read_text() + "\n".join(lines) + "\n")
    curves = data_of(page_of(folder))["columns"][0]["entries"][0]["runs"][0]["curves"]
    assert curves == {"train": {"x": [20], "loss": [2]}, "val": {"x": [20, 40], "top1": [1, None]}}


def test_a_loss_looks_the_same_on_the_whole_board_and_whatever_its_results(tmp_path: Path) -> None:
    outcomes = {("a", "one"): top1(1), ("a", "two"): top1(2), ("b", "three"): top1(3), ("b", "two"): top1(9)}
    shown = data_of(page_of(write_suite(tmp_path, outcomes)))["looks"]
    assert {label: look["tone"] for label, look in shown.items()} == {"one": 0, "two": 1, "three": 2}
    assert len({(look["tone"], look["mark"]) for look in looks.looks({str(at): at for at in range(40)}).values()}) == 40


def test_changes_have_their_interval_and_pairs(tmp_path: Path) -> None:
    outcomes = {("t", "base"): top1(1, 2, 4), ("t", "eql"): top1(3, 5, None), ("t", "none"): top1(None)}
    html = page_of(write_suite(tmp_path, outcomes))
    assert re.search(
        r'>4.0<i> ± 12.7</i><i> \(n=2\)</i><br><span class="even">\+2.5<i> ± 6.4</i><i> \(2 pairs\)</i>', html
    )
    assert "no value: show the runs" in html


@pytest.mark.usefixtures("figures")
def test_figures_and_samples_are_folded_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    folder = write_suite(tmp_path, {("digits", "efl"): [*top1(70, 72), "lost"], ("digits", "bce"): top1(70)})
    write_curves(folder)
    for run in folder.runs():
        write_totals(run, {200: [(2, 1)] * 3, 400: [(1, 1)] * 3})
    run.samples.mkdir()
    Image.new("RGB", (900, 600), "red").save(run.samples / "rare-00-<b>.png")
    (run.samples / "rare-01.png").write_text("no picture")
    html = page_of(folder)
    read = outline(html)
    summaries = re.findall(r"<summary>(.*?)</summary>", html)
    assert summaries == [
        "Gradient ratio of classes, positives over negatives",
        "Result of each class against its frequency",
        "Learning curves",
        "Samples of the rarest classes with predictions",
    ]
    assert all("style" not in attributes for _, attributes in read.attributes)  # the page's policy allows none
    names = [attributes["id"] for _, attributes in read.attributes if "id" in attributes]
    assert len(names) == len(set(names))
    (image,) = read.of("img")
    assert (image["src"] or "").startswith("data:image/jpeg;base64,")
    assert "rare-00-<b>" in (image["alt"] or "")
    assert "var(--t0" in html
    assert "var(--g0" in html
    assert "efl s2" in html  # the captions say which run is left out
    monkeypatch.setattr(pictures, "NAMES", {"per_class": "results by class"})
    drawing = re.compile(r"<svg.*?</svg>", re.S)
    assert drawing.findall(page_of(folder))[0] == drawing.findall(html)[1]  # the same results, the same bytes
    monkeypatch.setattr(document, "LARGEST", 0)
    without = page_of(folder)
    assert "<svg" not in without
    assert "Left out, to keep the page small: results by class of digits." in without


@pytest.mark.usefixtures("figures")
def test_a_file_that_cannot_be_read_costs_its_figure_only(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "efl"): top1(70)})
    (run,) = folder.runs()
    write_totals(run, {200: [(2, 1)] * 3, 400: [(1, 1)] * 3})
    (run.gradients / "000000400.parquet").write_text("cut off")
    html = page_of(folder)
    outline(html)
    assert "<summary>Gradient ratios</summary><p>Cannot be drawn: " in html
    assert str(tmp_path) not in html
    assert "ratios" not in data_of(html)["columns"][0]["entries"][0]


def test_the_sweeps_of_a_suite_are_drawn_beside_it(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): top1(70)})
    sweep = SweepFolder(tmp_path, "quickstart")
    sweep.create()
    section = {
        "space": {"loss.tau": {"uniform": [0.5, 2.0]}, "train.optimizer.lr": {"loguniform": [0.01, 1.0]}},
        "trials": 3,
        "search": {"name": "random"},
        "scheduler": {"name": "none"},
        "objective": {"maximize": "val/top1"},
    }
    described = {"name": "quickstart", "task": "digits", "loss": "efl", "epochs": 40.0, "seeds": [0]}
    sweep.write_sweep({**described, "digest": "d", "section": section})
    for number in range(3):
        values: dict[str, Any] = {"loss.tau": 0.6 + number / 2, "train.optimizer.lr": 0.1}
        spec = make_spec("digits", "efl", suite="quickstart/sweeps", loss_params={"efl": {"tau": values["loss.tau"]}})
        run = write_run(sweep, spec, {"top1": 60.0 + number})
        run.append_event(400, 400, {"val/top1": 60.0 + number})
        sweep.add(Entry("d", number, "proposed", values, f"efl {number}", [spec.run_id]))
    html = page_of(folder)
    outline(html)
    (section_html,) = re.findall(r'<section id="sweep-quickstart".*?</section>', html, re.S)
    assert "var(--ink)" in section_html
    assert "<svg" in section_html


@pytest.mark.parametrize("damage", ["deleted", "cut off", "another table"])
def test_stored_parts_that_are_gone_or_damaged_are_left_out(tmp_path: Path, damage: str) -> None:
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): top1(70)})
    write_curves(folder, points=4)
    run = folder.runs()[0]
    table = run.evaluation / "per_class.parquet"
    if damage == "deleted":
        table.unlink()
        run.events_file.unlink()
    elif damage == "cut off":
        table.write_bytes(table.read_bytes()[:40])
        run.events_file.write_text('{"iteration": 1, "metrics": [3]}\n{"iteration": 2, "met')
    else:
        import pandas as pd

        pd.DataFrame({"other": [1]}).to_parquet(table)
        run.events_file.write_text("[]\n")
    (entry,) = data_of(page_of(folder))["columns"][0]["entries"]
    assert "curves" not in entry["runs"][0]
    assert not entry.get("classes")


def test_many_classes_are_averaged_in_bins(tmp_path: Path) -> None:
    import pandas as pd

    run = RunFolder(tmp_path)
    run.evaluation.mkdir()
    count = 1203
    table = pd.DataFrame({"class_id": range(count), "class_name": [f"c{i}" for i in range(count)], "group": "f"})
    table["count"] = range(count)
    table["ap"] = table["count"] * 2.0
    table.to_parquet(run.evaluation / "per_class.parquet")
    found = traces.per_class([StoredRun(run, make_spec())], 160)
    assert found is not None
    assert (found["classes"], len(found["value"])) == (count, 160)
    assert found["count"] == sorted(found["count"], reverse=True)
    assert found["value"][0] == pytest.approx(2 * found["count"][0], rel=1e-3)
    assert found["name"][0] == "8 classes, c1202 to c1195"


def test_a_thousand_runs_are_below_a_megabyte_and_the_page_says_what_it_leaves_out(tmp_path: Path) -> None:
    from eqbench.leaderboard.aggregate import build
    from eqbench.leaderboard.page import html
    from eqbench.leaderboard.results import Record

    folder = SuiteFolder(tmp_path, "quickstart")
    folder.create()
    result = {"status": "finished", "main_metric": "top1", "cost": {"seconds_per_step": 0.01}}
    numbers = dict.fromkeys(("top1", "many", "medium", "few", "hmean", "worst", "top5"), 50.123456789)
    specs = {(t, loss): make_spec(f"task{t}", f"loss{loss}") for t in range(10) for loss in range(20)}
    records = [
        Record("quickstart", spec.model_copy(update={"seed": seed}), {**result, "metrics": numbers}, True)
        for spec in specs.values()
        for seed in range(5)
    ]
    page = html(build(records), [folder])
    assert len(page) < 1e6
    assert "400 of 1000 runs" in page
    drawn = [run for column in data_of(page)["columns"] for entry in column["entries"] for run in entry["runs"]]
    assert len(drawn) == 1000


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    write_suite(tmp_path, {("digits", "cross_entropy"): top1(70, 72)})
    out = tmp_path / "out" / "board.html"
    command = ["leaderboard", "quickstart", "--storage", str(tmp_path), "--format", "html"]
    done = CliRunner().invoke(app, [*command, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.dumps(data_of(out.read_text())["columns"][0]["title"]) == '"digits"'
    assert CliRunner().invoke(app, command).stdout == out.read_text()


def test_published_results_stand_beside_a_task_and_say_what_differs(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "data": {"name": "imagenet_lt", "params": {"eval_split": "test", "many_above": 100, "few_below": 20}},
        "model": {"name": "classifier", "params": {"backbone": "resnet10"}},
        "budget": {"iterations": 400, "samples": 9, "iterations_per_epoch": 9, "samples_per_epoch": 115_846},
    }
    fields["budget"]["batch_size"] = 64
    html = page_of(write_suite(tmp_path, {("imagenet_lt", "cross_entropy"): top1(41, 42)}, **fields))
    outline(html)
    (table,) = re.findall(r'<table class="published">.*?</table>', html, re.S)
    assert "none of them measured here" in table
    assert re.search(r"not the same recipe: \d+ fields?</summary><ul><li>", table)
    assert "data-open" not in table
