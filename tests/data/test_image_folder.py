"""Folders of classes: what is read, what is refused, what an examination finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eqbench import plugins
from eqbench.data import image_folder
from eqbench.data.base import Draw
from eqbench.data.image_folder import ImageFolder
from eqbench.data.verification import Findings
from eqbench.errors import InputError

COUNTS = {"train": {"ant": 4, "bee": 2, "cat": 1}, "val": {"ant": 1, "bee": 1, "cat": 1}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shade = 0
    for split, classes in COUNTS.items():
        for name, count in classes.items():
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((20, 24, 3), shade, np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
                shade += 10
    return tmp_path


def folder(root: Path, **options: object) -> ImageFolder:
    data: ImageFolder = plugins.construct(
        "dataset",
        "image_folder",
        {"root": str(root), "image_size": 16, "resize": 16, "many_above": 3, "few_below": 2, **options},
    )
    return data


def test_classes_images_and_groups(root: Path) -> None:
    data = folder(root)
    assert list(data.class_names) == ["ant", "bee", "cat"]
    assert data.class_counts.tolist() == [4, 2, 1]
    assert list(data.groups) == ["many", "medium", "few"]
    assert list(data.train_images.paths)[3:5] == ["train/ant/3.png", "train/bee/0.png"]
    assert data.train_images.labels.tolist() == [0, 0, 0, 0, 1, 1, 2]
    image, label = data.eval[Draw(2, 0)]
    assert label == 2
    assert torch.equal(image, torch.full((3, 16, 16), 90, dtype=torch.uint8))


def test_what_is_no_image_is_left_out(root: Path) -> None:
    digest = folder(root).digest
    for path in ("train/ant/notes.txt", "train/ant/.hidden.png", "train/.DS_Store", "train/readme.md"):
        (root / path).write_text("no image")
    (root / "train" / ".cache").mkdir()
    assert folder(root).digest == digest
    (root / "train" / "ant" / "0.png").rename(root / "train" / "ant" / "0.PNG")
    assert folder(root).class_counts.tolist() == [4, 2, 1]


def test_links_and_another_place_make_no_difference(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "train").symlink_to(root / "train")
    (elsewhere / "val").mkdir()
    for name in COUNTS["val"]:
        (elsewhere / "val" / name).symlink_to(root / "val" / name)
    assert folder(elsewhere).digest == folder(root).digest


def test_the_test_folder_is_evaluated_on_if_asked_for(root: Path) -> None:
    shutil.copytree(root / "val", root / "test")
    data = folder(root, eval_split="test")
    assert next(iter(data.eval_images.paths)) == "test/ant/0.png"
    assert data.digest != folder(root).digest


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda root: shutil.rmtree(root), "no such folder"),
    "no train": (
        lambda root: (root / "train").rename(root / "trian"),
        r"train: no such file or directory; did you mean 'trian'\? .*expected train/CLASS",
    ),
    "no val": (lambda root: (root / "val").rename(root / "test"), r"val: no such .*folders there: test, train"),
    "val is a file": (
        lambda root: (shutil.rmtree(root / "val"), (root / "val").write_text("")),
        "val: not a directory",
    ),
    "no class": (
        lambda root: (shutil.rmtree(root / "val"), (root / "val").mkdir()),
        "val: no class, that is no folder",
    ),
    "empty class": (lambda root: (root / "train/cat/0.png").unlink(), "train/cat: no image in it"),
    "class of train only": (lambda root: shutil.rmtree(root / "val/bee"), "train/bee: no such class in val"),
    "class of val only": (
        lambda root: (root / "val/cat").rename(root / "val/cats"),
        r"cats?: no such class in (val|train); did you mean 'cats?'",
    ),
    "folder in a class": (lambda root: (root / "val/ant/more").mkdir(), "val/ant/more: a folder; expected images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_and_found(root: Path, fault: str) -> None:
    change, expected = FAULTS[fault]
    change(root)
    with pytest.raises(InputError, match=expected):
        _ = folder(root).digest
    found = Findings()
    assert image_folder.examine(root, found, eval_split="val") is None
    assert not found.ok


def test_an_examination_describes_what_training_sees(root: Path) -> None:
    (root / "train/ant/notes.txt").write_text("no image")
    found = Findings()
    contents = image_folder.examine(root, found)
    assert contents is not None
    assert found.ok
    assert found.notes["files that are no images, left out"].items == ["train/ant/notes.txt"]
    assert contents.digest == ImageFolder(root=root).digest
    assert {name: counts.tolist() for name, counts in contents.counts.items()} == {
        "train": [4, 2, 1],
        "val": [1, 1, 1],
    }
    assert [len(contents.files[split]) for split in ("train", "val")] == [7, 3]
    assert all((root / path).is_file() for files in contents.files.values() for path in files)
    assert contents.decode(root, "train/ant/0.png") == []
    (root / "train/ant/0.png").write_bytes(b"")
    assert contents.decode(root, "train/ant/0.png") == [("damaged images", "train/ant/0.png: the file is empty")]


def test_images_that_are_in_both_splits_are_found(root: Path) -> None:
    shutil.copy(root / "train/ant/3.png", root / "val/bee/3.png")
    found = Findings()
    assert image_folder.examine(root, found) is not None
    (leak,) = found.problems.values()
    assert leak.items == ["val/bee/3.png is train/ant/3.png"]


def test_preparing_says_what_there_is(root: Path) -> None:
    (root / "val").rename(root / "test")
    text = "\n".join(image_folder.prepare(root))
    assert "7 images" in text
    assert f"{root / 'test'}: 3 images" in text
    (root / "train/cat/0.png").unlink()
    with pytest.raises(InputError, match="train/cat: no image"):
        image_folder.prepare(root)
