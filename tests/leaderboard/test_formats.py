"""Every format of one hand-made board, byte for byte as in golden/.

After a wanted change, `python tests/leaderboard/test_formats.py` writes them anew; look at the difference.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from published_runs import imagenet_spec
from written_pages import data_of, text_of
from written_suites import Outcomes, make_spec, top1, write_run, write_suite

from eqbench import leaderboard
from eqbench.leaderboard import Leaderboard, latex, page, table
from eqbench.run_folder import SuiteFolder

GOLDEN = Path(__file__).with_name("golden")
FILES = {"table": "board.txt", "csv": "board.csv", "markdown": "board.md", "latex": "board.tex", "json": "board.json"}
PAGE, PAGE_DATA = "page.txt", "page.json"
CHINESE, TAGS = "均衡_损失", '<b>"x"</b>|$a_1 & \\#{~^}*[y](z)'


def write_board(storage: Path) -> Leaderboard:
    """Two tasks; a baseline, a better loss, names in Chinese and HTML; failed, stopped, missing and earlier runs."""
    earlier = make_spec(iterations=800)
    outcomes: Outcomes = {
        ("digits", "cross_entropy"): [{"top1": 90.0, "few": 40.0}, {"top1": 91.0, "few": 41.0}, {"top1": 92.0}],
        ("digits", CHINESE): [{"top1": 92.0, "few": 50.0}, {"top1": 93.1, "few": 52.0}, {"top1": 93.9}],
        ("digits", TAGS): [{"top1": 89.0, "few": None}, "ValueError: 50 % of <b>\nlogits_NC", None],
        ("Größe [m²]", "cross_entropy"): top1(-0.5, 70.0),
        ("Größe [m²]", CHINESE): ["out of memory", "out of memory"],
    }
    folder = write_suite(storage, outcomes)
    write_run(folder, earlier, {"top1": 93.0})
    stopped = folder.run(make_spec("digits", TAGS, 2).run_id)
    ending = {"status": "stopped", "status_detail": "by asha", "main_metric": "top1", "metrics": {"top1": 1.0}}
    stopped.write_result({**ending, "cost": {}})
    return leaderboard.board([folder])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def board(storage: Path) -> Leaderboard:
    return write_board(storage)


@pytest.mark.parametrize("name", FILES)
def test_golden(board: Leaderboard, name: str) -> None:
    assert table.render(board, name) == (GOLDEN / FILES[name]).read_text(encoding="utf-8")


def page_data(board: Leaderboard, storage: Path) -> tuple[str, str]:
    """What the page of the board says, and what it gives its script."""
    html = page.html(board, [SuiteFolder(storage, "quickstart")])
    return text_of(html), json.dumps(data_of(html), indent=1, ensure_ascii=False) + "\n"


def test_golden_page(board: Leaderboard, storage: Path) -> None:
    """What it says; how it looks and behaves has tests of its own, its styles and script may change."""
    text, data = page_data(board, storage)
    assert text == (GOLDEN / PAGE).read_text(encoding="utf-8")
    assert data == (GOLDEN / PAGE_DATA).read_text(encoding="utf-8")


def test_every_text_format_has_a_golden_file() -> None:
    assert table.FORMATS.keys() - {"html"} == FILES.keys()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("\\{~^}", r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}\}"),
        ("[x] *", "{[}x] {*}"),
        ("a---b", "a-{}-{}-b"),
        ("one\n\ntwo", "one two"),
        ("91.0 ± 2.5 – ü 均", r"91.0 $\pm$ 2.5 \textendash{} ü 均"),
        ("what?` 'q' ''r'' ,,s", r"what?\textasciigrave{} 'q' '{}'r'{}' ,{},s"),
        ("a\x07\u202eb\x1b[2J", "a??b?{[}2J"),
    ],
)
def test_what_latex_would_read_as_its_own_is_escaped(text: str, printed: str) -> None:
    assert latex.escaped(text) == printed


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("softmax_eql", "softmax_eql"),
        ("__ce__", r"\_\_ce\_\_"),
        ("a__b _c d_", r"a\_\_b \_c d\_"),
        ("&lt; & R&D &#60;", r"\&lt; & R&D \&#60;"),
        ("~~old~~ $x$", r"\~\~old\~\~ \$x\$"),
        ("a\x1b[2J\u202eb", "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_what_markdown_would_read_as_its_own_is_escaped(tmp_path: Path, label: str, shown: str) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", label): top1(50.0)})])
    assert f"\n| {shown} (baseline) |" in table.render(board, "markdown")


@pytest.mark.parametrize("label", ["=cmd()|x", "+1", "-1+2", "@sum", "a=b", "-"])
def test_a_spreadsheet_runs_no_label(tmp_path: Path, label: str) -> None:
    board = leaderboard.board([write_suite(tmp_path, {("t", label): top1(-50.0)})])
    line = next(csv.DictReader(io.StringIO(table.render(board, "csv"))))
    assert line["loss"] == (label if label == "a=b" else f"'{label}")
    assert line["mean"] == "-50.0"


def test_latex_has_changes_on_a_line_below_the_values(board: Leaderboard) -> None:
    lines = table.render(board, "latex").splitlines()
    below = lines[next(number for number, line in enumerate(lines) if "93.0 $\\pm$ 2.4" in line) + 1].strip()
    assert below.startswith(r" & \footnotesize $+$2.0\textsuperscript{*} $\pm$ 0.2 &".strip())


def test_published_results_stand_in_every_format_with_their_source(tmp_path: Path) -> None:
    folder = SuiteFolder(tmp_path, "paper")
    folder.create()
    spec = imagenet_spec()
    write_run(folder, spec, {"top1": 44.1, "few": 7.0})
    folder.write_plan([spec], "name: paper\n")
    board = leaderboard.board([folder])
    lines = list(csv.DictReader(io.StringIO(table.render(board, "csv"))))
    published = [line for line in lines if line["kind"] == "published"]
    same = [line for line in published if line["same_recipe"] == "true" and line["metric"] == "top1"]
    assert [(line["loss"], line["mean"], line["n"]) for line in same] == [
        ("CE (joint) (facebookresearch/classifier-balancing)", "44.4", "")
    ]
    assert same[0]["source"].startswith("github.com/facebookresearch/classifier-balancing@")
    assert {line["same_recipe"] for line in lines if line["kind"] != "published"} == {""}
    (column,) = json.loads(table.render(board, "json"))["tasks"]
    assert [each["label"] for each in column["published"] if each["same_recipe"]] == [same[0]["loss"]]
    for name in ("table", "markdown", "latex"):
        text = table.render(board, name)
        assert all(words in text for words in ("facebookresearch/classifier-bal", "same recipe", "44.40"))


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    try:
        written = write_board(place)
        texts = page_data(written, place)
    finally:
        shutil.rmtree(place)
    for file, content in zip((PAGE, PAGE_DATA), texts, strict=True):
        (GOLDEN / file).write_text(content, encoding="utf-8")
    for name, file in FILES.items():
        (GOLDEN / file).write_text(table.render(written, name), encoding="utf-8")
