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
from written_suites import Outcomes, make_spec, top1, write_run, write_suite

from eqbench import leaderboard
from eqbench.leaderboard import Leaderboard, latex, table
from eqbench.run_folder import SuiteFolder

GOLDEN = Path(__file__).with_name("golden")
FILES = {"table": "board.txt", "csv": "board.csv", "markdown": "board.md", "latex": "board.tex", "json": "board.json"}
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
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    return write_board(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", FILES)
def test_golden(board: Leaderboard, name: str) -> None:
    assert table.render(board, name) == (GOLDEN / FILES[name]).read_text(encoding="utf-8")


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
    ],
)
def test_what_latex_would_read_as_its_own_is_escaped(text: str, printed: str) -> None:
    assert latex.escaped(text) == printed


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
    finally:
        shutil.rmtree(place)
    for name, file in FILES.items():
        (GOLDEN / file).write_text(table.render(written, name), encoding="utf-8")
