"""`eqbench data`: miniatures made and prepared, and what is refused in one message."""

from __future__ import annotations

import inspect
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from eqbench.cli import main
from eqbench.cli_data_options import DECLARED
from eqbench.data import lvis
from eqbench.data.scenes import make
from eqbench.data.verification import Findings, data_sets, record


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def eqbench(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["eqbench", "data", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one message of a command that ends with exit code 2."""
    assert eqbench(monkeypatch, *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("eqbench: ")
    assert "Traceback" not in captured.err
    return captured.err


SIZES = {
    "imagenet_lt": ["--images", "20", "--classes", "4", "--size", "32"],
    "places_lt": ["--images", "20", "--classes", "4", "--size", "32"],
    "inaturalist2018": ["--images", "20", "--classes", "4", "--size", "32"],
    "cifar_lt": ["--images", "50", "--classes", "10"],
    "lvis": ["--images", "20", "--classes", "5", "--size", "64"],
    "ade20k": ["--images", "20", "--classes", "5", "--size", "64"],
}


@pytest.mark.parametrize("name", SIZES)
def test_a_miniature_is_made_verified_and_described(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [name, "--root", "mini"]
    assert eqbench(monkeypatch, "make", *where, *SIZES[name]) == 0
    assert "mini: " in capsys.readouterr().out
    assert eqbench(monkeypatch, "verify", *where) == 2
    assert "give --miniature" in capsys.readouterr().out
    assert eqbench(monkeypatch, "verify", *where, "--miniature", "--deep", "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["ok"], outcome["level"], outcome["problems"]) == (True, "deep", [])
    assert record.find(Path("mini"), outcome["digest"])["content_digest"] == outcome["content_digest"]
    assert eqbench(monkeypatch, "stats", *where, "--json", "--all") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["digest"] == outcome["digest"]
    assert len(numbers["class_counts"]) == numbers["classes"] == outcome["classes"]
    assert numbers["splits"][0]["imbalance_factor"] > 1
    assert eqbench(monkeypatch, "prepare", *where) == 0
    assert capsys.readouterr().out


def test_a_miniature_of_lvis_is_prepared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert eqbench(monkeypatch, "make", "lvis", "--root", "mini", *SIZES["lvis"]) == 0
    assert "mini: 20 training images of 5 classes" in capsys.readouterr().out
    assert eqbench(monkeypatch, "prepare", "lvis", "--root", "mini") == 0
    said = capsys.readouterr().out
    images = [len(json.loads(file.read_text())["images"]) for file in Path("mini/annotations").glob("*.json")]
    assert f"all {sum(images)} exist" in said
    assert "classes: 5" in said
    assert "exists" in refused(monkeypatch, capsys, "make", "lvis", "--root", "mini", *SIZES["lvis"])


def test_a_damaged_miniature_is_named_and_its_record_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("mini"), images=20, classes=5, seed=0, size=64)
    words = ["verify", "lvis", "--root", "mini", "--miniature"]
    assert eqbench(monkeypatch, *words, "--json") == 0
    digest = json.loads(capsys.readouterr().out)["digest"]
    damaged, lost = sorted(Path("mini/train2017").glob("*.jpg"))[:2]
    damaged.write_bytes(damaged.read_bytes()[:-200])
    lost.unlink()
    assert eqbench(monkeypatch, *words, "--deep") == 2
    captured = capsys.readouterr()
    assert f"problem: files missing: 1\n  train2017/{lost.name}" in captured.out
    assert f"problem: files changed: 1\n  train2017/{damaged.name}: " in captured.out
    assert f"problem: damaged images: 1\n  train2017/{damaged.name}: " in captured.out
    assert captured.out.splitlines()[-1].startswith("3 problems found")
    assert "100 %" in captured.err
    assert record.find(Path("mini"), digest) is None


def test_a_data_set_that_only_looks_like_lvis_is_no_lvis(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("mini"), images=40, classes=5, seed=0, size=64)
    Path("mini/manifest.json").unlink()
    shutil.move("mini/val2017", "mini/val")
    assert eqbench(monkeypatch, "verify", "lvis", "--root", "mini") == 2
    said = capsys.readouterr().out
    assert "lvis_v1_train.json: 40 images, LVIS v1 has 100,170" in said
    assert "val2017: no such folder" in said
    assert "lvisdataset.org" in said
    assert not Path("mini", record.NAME).exists()
    assert eqbench(monkeypatch, "verify", "lvis", "--root", "mini", "--miniature") == 2
    assert "no manifest" in capsys.readouterr().out
    Path("mini/annotations/lvis_v1_val.json").write_text("{")
    assert eqbench(monkeypatch, "verify", "lvis", "--root", "mini", "--deep") == 2
    said = capsys.readouterr().out
    assert "problem: annotation files: 1\n" in said
    assert "not decoded: " in said


def test_files_of_a_kind_are_cut_to_twenty_unless_all_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("mini"), images=40, classes=5, seed=0, size=64)
    Path("mini/manifest.json").unlink()
    for image in sorted(Path("mini/train2017").glob("*.jpg"))[:30]:
        image.unlink()
    words = ["verify", "lvis", "--root", "mini"]
    eqbench(monkeypatch, *words)
    said = capsys.readouterr().out
    assert "problem: files missing: 30\n" in said
    assert "and 10 more (--all names them)" in said
    eqbench(monkeypatch, *words, "--all")
    assert capsys.readouterr().out.count("(train)\n") + said.count("(val)\n") >= 29


def test_stats_show_tables_and_a_plot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("mini"), images=20, classes=5, seed=0, size=64)
    assert eqbench(monkeypatch, "stats", "lvis", "--root", "mini", "--plot", "plot.png") == 0
    said = capsys.readouterr().out
    assert "imbalance factor" in said
    assert "train instances" in said
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


def interrupted(root: Path, found: Findings, *, miniature: bool = False) -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_said_and_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("mini"), images=20, classes=5, seed=0, size=64)
    monkeypatch.setattr(lvis, "examine", interrupted)
    assert eqbench(monkeypatch, "verify", "lvis", "--root", "mini", "--miniature") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not Path("mini", record.NAME).exists()


def test_every_option_of_single_data_sets_applies_to_one() -> None:
    taken: set[str] = set()
    for name in data_sets.NAMES:
        module = data_sets.module(name)
        taken |= {*inspect.signature(module.examine).parameters, *inspect.signature(module.prepare).parameters}
    assert set(DECLARED) <= taken
    assert taken - set(DECLARED) <= data_sets.NOT_OPTIONS


def test_a_file_in_coco_format_is_prepared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own").mkdir()
    box = {"bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0, "category_id": 3}
    content = {
        "images": [{"id": 7, "width": 8, "height": 8, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, **box, "segmentation": [[1, 1, 5, 1, 5, 5]]}],
        "categories": [{"id": 3, "name": "cup"}],
    }
    Path("own/all.json").write_text(json.dumps(content))
    Path("own/a.jpg").touch()
    words = ["prepare", "coco_format", "--root", "own", "--train-annotations", "all.json"]
    assert "needs --train-annotations and --eval-annotations" in refused(monkeypatch, capsys, *words)
    words += ["--eval-annotations", "all.json"]
    assert eqbench(monkeypatch, *words) == 0
    assert "classes: 1" in capsys.readouterr().out
    assert "common_above 101, frequent_above 100" in refused(monkeypatch, capsys, *words, "--common-above", "101")
    words[0] = "verify"
    assert "common_above 101, frequent_above 100" in refused(monkeypatch, capsys, *words, "--common-above", "101")
    assert eqbench(monkeypatch, *words) == 2
    assert "trained on and evaluated on: 1\n  a.jpg" in capsys.readouterr().out
    words[0] = "stats"
    assert eqbench(monkeypatch, *words, "--common-above", "0", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["splits"][0]["groups"][1] == {"group": "c", "classes": 1, "samples": 1, "share": 1}
    assert "1 problem found; see: eqbench data verify coco_format" in captured.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["make", "lvi", "--root", "x"], "unknown data set 'lvi'; did you mean 'lvis'?"),
        (["make", "lvis", "--root", "x", "--classes", "3"], "classes 3: expected 5 to"),
        (["prepare", "coco", "--root", "x"], "unknown data set 'coco'; did you mean 'coco_format'?"),
        (["prepare", "lvis", "--root", "x", "--version", "v2"], "--version v2: expected v1 or v0.5"),
        (["prepare", "lvis", "--root", "nowhere"], "nowhere: no such folder"),
        (["verify", "lviss", "--root", "x"], "unknown data set 'lviss'; did you mean 'lvis'?"),
        (["verify", "lvis", "--root", "nowhere"], "--root nowhere: no such folder"),
        (
            ["verify", "lvis", "--root", ".", "--classes", "10"],
            "--classes does not apply; lvis takes --version, --masks",
        ),
        (["verify", "cifar_lt", "--root", ".", "--classes", "11"], "--classes 11: expected 10 or 100"),
        (["verify", "coco_format", "--root", "."], "needs --train-annotations and --eval-annotations"),
        (["verify", "image_folder", "--root", ".", "--miniature"], "--miniature does not apply"),
        (["stats", "lvis", "--root", "."], "lvis_v1_train.json: no such file"),
        (["stats", "lvis", "--root", ".", "--plot", "a.txt"], "--plot a.txt: expected a name that ends with .png"),
    ],
)
def test_refused(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(monkeypatch, capsys, *words)


def test_missing_images_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("mini"), images=20, classes=5, seed=0, size=64)
    lost = sorted(Path("mini/val2017").glob("*.jpg"))[0]
    lost.unlink()
    said = refused(monkeypatch, capsys, "prepare", "lvis", "--root", "mini")
    assert "1 of " in said
    assert str(lost) in said
