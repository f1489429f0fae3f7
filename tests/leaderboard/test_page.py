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
from written_pages import HOSTILE, data_of, page_of, write_curves
from written_suites import make_spec, top1, write_suite

from eqbench.cli import app
from eqbench.leaderboard.page import traces
from eqbench.run_folder import RunFolder, SuiteFolder

VOID = {"meta", "input", "br"}


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
    folder = write_suite(tmp_path, {("digits", "cross_entropy"): top1(70, 72)})
    write_curves(folder, points=200)
    data = data_of(page_of(folder))
    (entry,) = data["columns"][0]["entries"]
    first = entry["runs"][0]
    assert first["metrics"] == [70]
    assert len(first["curves"]["train"]["x"]) == traces.POINTS
    assert first["curves"]["train"]["x"][-1] == 200
    assert set(first["curves"]["train"]) == {"x", "loss", "many", "few"}
    assert first["curves"]["val"]["top1"][-1] == 100
    assert entry["classes"] == {"runs": 2, "value": [80, 60, None], "of": 0}
    (classes,) = data["classes"]
    assert classes == {
        "metric": "accuracy",
        "classes": 3,
        "count": [90, 30, 5],
        "name": ["cat", "dog", "<b>emu"],
        "group": ["many", "many", "few"],
    }


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
    found = traces.per_class([run])
    assert found is not None
    assert (found["classes"], len(found["value"])) == (count, traces.BINS)
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
