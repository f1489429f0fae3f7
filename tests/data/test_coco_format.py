"""The plugin for COCO-format files: paths, groups from thresholds or `frequency`, digest, crowds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqbench import plugins
from eqbench.data.coco_format import CocoFormat, prepare
from eqbench.errors import InputError
from tests.data.annotation_files import Content, annotation, write

ARGUMENTS: dict[str, Any] = {
    "train_annotations": "train.json",
    "eval_annotations": "labels/val.json",
    "train_images": "images/train",
    "eval_images": "images/val",
}
IMAGES = {1: 1, 2: 2, 4: 3, 9: 5, 20: 0}
"""Images that show each category."""


def coco_content(images: int = 6) -> Content:
    rng = np.random.default_rng(0)
    pairs = [(category, image) for category, number in IMAGES.items() for image in range(1, number + 1)]
    return {
        "images": [
            {"id": n, "file_name": f"part{n % 2}/{n}.jpg", "height": 48, "width": 64} for n in range(1, images + 1)
        ],
        "annotations": [
            annotation(rng, number, image, category) | {"iscrowd": 0}
            for number, (category, image) in enumerate([*pairs, *pairs])
        ],
        "categories": [{"id": n, "name": f"thing {n}", "supercategory": "things"} for n in IMAGES],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, split in (("train.json", "train"), ("labels/val.json", "val")):
        content = coco_content()
        write(tmp_path / name, content)
        for image in content["images"]:
            file = tmp_path / "images" / split / image["file_name"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return tmp_path


def test_a_data_set(root: Path) -> None:
    params = ARGUMENTS | {"root": str(root), "common_above": 1, "frequent_above": 3}
    data: CocoFormat = plugins.construct("dataset", "coco_format", params)
    assert data.image_counts.tolist() == list(IMAGES.values())
    assert data.class_counts.tolist() == [2 * number for number in IMAGES.values()]
    assert list(data.groups) == ["r", "c", "c", "f", "r"]
    assert data.category_ids == tuple(IMAGES)
    assert (data.exhaustive, data.masks) == (True, True)
    assert data.eval_annotations == root / "labels" / "val.json"
    assert data.train.record(0)["img_path"] == str(root / "images" / "train" / "part1" / "1.jpg")
    assert data.eval.record(5)["img_path"] == str(root / "images" / "val" / "part0" / "6.jpg")
    assert (len(data.train), len(data.eval)) == (5, 6)


def test_frequency_of_the_file_comes_before_thresholds(root: Path) -> None:
    for name in ("train.json", "labels/val.json"):
        content = coco_content()
        for category, group in zip(content["categories"], "fcrfc", strict=True):
            category["frequency"] = group
        write(root / name, content)
    assert list(CocoFormat(root=root, **ARGUMENTS).groups) == list("fcrfc")


def test_digest_covers_what_is_seen(root: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"masks": False}, {"common_above": 2}, {"frequent_above": 50}]
    assert len({CocoFormat(root=root, **ARGUMENTS, **change).digest for change in changes}) == 4


def test_a_crowd_is_ignored_and_has_no_mask(root: Path) -> None:
    content = coco_content()
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": {"counts": [0, 9], "size": [3, 3]}}
    write(root / "train.json", content)
    data = CocoFormat(root=root, **ARGUMENTS)
    (crowd,) = [each for each in data.train.record(0)["instances"] if each["ignore_flag"]]
    assert crowd["mask"] == []
    assert data.class_counts.tolist()[0] == 1
    assert data.train.index.warnings == []


def test_prepare(root: Path) -> None:
    text = "\n".join(prepare(root, **ARGUMENTS, common_above=1, frequent_above=3))
    assert "classes: 5 (1 f, 2 c, 2 r, by thresholds on training images)" in text
    assert "image files: all 12 exist" in text
    (root / "images" / "train" / "part0" / "6.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 12 image files do not exist:\n  .*/images/train/part0/6.jpg\n"):
        prepare(root, **ARGUMENTS)


@pytest.mark.parametrize("name", ["../../x.jpg", "/etc/x.jpg", "part0/../../x.jpg"])
@pytest.mark.parametrize("file", ["train.json", "labels/val.json"])
def test_a_path_that_leads_out_is_refused_with_its_image(root: Path, file: str, name: str) -> None:
    content = coco_content()
    content["images"][5]["file_name"] = name
    write(root / file, content)
    for use in (CocoFormat, prepare):
        with pytest.raises(InputError, match=rf"{file}: images\[5\] \(id 6\): path '{re.escape(name)}' (leads|is abs)"):
            use(root=root, **ARGUMENTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_annotations": "tarin.json"}, r"tarin.json: no such file; did you mean 'train.json'\?"),
        ({"eval_annotations": "labels/vla.json"}, r"vla.json: no such file; did you mean 'labels/val.json'\?"),
        ({"eval_images": "elsewhere"}, r"elsewhere: no such folder; the images of .*/val.json are expected there"),
        ({"train_images": "images/val/part1"}, r"1.jpg: no such file, nor the folder part1; it is image 1 of .*train"),
    ],
)
def test_what_is_not_there(root: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CocoFormat(root=root, **(ARGUMENTS | change))


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected train.json in it"):
        CocoFormat(root=tmp_path / "nowhere", **ARGUMENTS)


def test_thresholds_in_the_wrong_order(root: Path) -> None:
    with pytest.raises(ValueError, match="common_above 5, frequent_above 4: expected"):
        CocoFormat(root=root, **ARGUMENTS, common_above=5, frequent_above=4)
