"""`eqbench data`: miniatures made and prepared, and what is refused in one message."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from eqbench.cli import main
from eqbench.data.scenes import make


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


def test_a_miniature_is_made_and_prepared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--images", "20", "--classes", "5", "--size", "64"]
    assert eqbench(monkeypatch, "make", "lvis", "--root", "mini", *sizes) == 0
    assert "mini: 20 training images of 5 categories" in capsys.readouterr().out
    assert eqbench(monkeypatch, "prepare", "lvis", "--root", "mini") == 0
    said = capsys.readouterr().out
    images = [len(json.loads(file.read_text())["images"]) for file in Path("mini/annotations").glob("*.json")]
    assert f"all {sum(images)} exist" in said
    assert "classes: 5" in said
    assert "exists" in refused(monkeypatch, capsys, "make", "lvis", "--root", "mini", *sizes)


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
    assert eqbench(monkeypatch, *words, "--eval-annotations", "all.json") == 0
    assert "classes: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["make", "lvi", "--root", "x"], "unknown data set 'lvi'; did you mean 'lvis'?"),
        (["make", "lvis", "--root", "x", "--classes", "3"], "classes 3: expected 5 to"),
        (["prepare", "coco", "--root", "x"], "unknown data set 'coco'; did you mean 'coco_format'?"),
        (["prepare", "lvis", "--root", "x", "--version", "v2"], "--version v2: expected v1 or v0.5"),
        (["prepare", "lvis", "--root", "nowhere"], "nowhere: no such folder"),
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
