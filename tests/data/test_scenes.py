"""Miniatures of LVIS: the format, the images, the counts and what is said about each image."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eqbench.data.scenes import make
from eqbench.data.scenes.appearance import appearances, likeness
from eqbench.data.scenes.long_tail import long_tail
from eqbench.data.scenes.scene import compose
from eqbench.data.scenes.shapes import area

FIELDS = {
    "images": {
        "date_captured": str,
        "neg_category_ids": list,
        "id": int,
        "license": int,
        "height": int,
        "width": int,
        "flickr_url": str,
        "coco_url": str,
        "not_exhaustive_category_ids": list,
    },
    "annotations": {
        "area": float,
        "id": int,
        "segmentation": list,
        "image_id": int,
        "bbox": list,
        "category_id": int,
    },
    "categories": {
        "frequency": str,
        "id": int,
        "synset": str,
        "image_count": int,
        "instance_count": int,
        "synonyms": list,
        "def": str,
        "name": str,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "miniature"
    make(folder, images=160, classes=24, seed=3, size=96)
    return folder


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, dict[str, Any]]:
    return {split: json.loads((folder / f"annotations/lvis_v1_{split}.json").read_text()) for split in ("train", "val")}


def stored(folder: Path, image: dict[str, Any]) -> Path:
    return folder.joinpath(*image["coco_url"].split("/")[-2:])


# -- format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_field_of_lvis_and_no_other(files: dict[str, dict[str, Any]], split: str) -> None:
    assert set(files[split]) == {"info", "annotations", "images", "licenses", "categories"}
    for key, types in FIELDS.items():
        assert files[split][key]
        for entry in files[split][key]:
            assert {name: type(value) for name, value in entry.items()} == types
    assert {image["license"] for image in files[split]["images"]} <= {each["id"] for each in files[split]["licenses"]}


@pytest.mark.parametrize("split", ["train", "val"])
def test_identifiers(files: dict[str, dict[str, Any]], split: str) -> None:
    content = files[split]
    images = [image["id"] for image in content["images"]]
    assert images == sorted(set(images))
    assert [annotation["id"] for annotation in content["annotations"]] == list(
        range(1, len(content["annotations"]) + 1)
    )
    assert [category["id"] for category in content["categories"]] == list(range(1, 25))
    assert {annotation["image_id"] for annotation in content["annotations"]} <= set(images)
    names = [category["name"] for category in content["categories"]]
    assert names == sorted(set(names))


def test_the_lvis_package_reads_it(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    from lvis import LVIS

    reader = LVIS(str(folder / "annotations/lvis_v1_val.json"))
    assert len(reader.get_img_ids()) == len(files["val"]["images"])
    assert len(reader.get_cat_ids()) == 24
    for annotation in reader.load_anns(reader.get_ann_ids())[:100]:
        image = reader.imgs[annotation["image_id"]]
        mask = reader.ann_to_mask(annotation)
        assert mask.shape == (image["height"], image["width"])
        edge = 2 * math.sqrt(math.pi * annotation["area"])
        assert abs(mask.sum() - annotation["area"]) < 0.5 * edge
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(extent) - [x, y, x + width, y + height]).max() <= 2


def test_polygons_boxes_and_areas_agree_and_are_inside(files: dict[str, dict[str, Any]]) -> None:
    several = 0
    for content in files.values():
        images = {image["id"]: image for image in content["images"]}
        for annotation in content["annotations"]:
            polygons = [np.array(polygon).reshape(-1, 2) for polygon in annotation["segmentation"]]
            several += len(polygons) > 1
            assert min(len(polygon) for polygon in polygons) >= 3
            points = np.concatenate(polygons)
            image = images[annotation["image_id"]]
            assert points.min() >= 0
            assert (points <= [image["width"], image["height"]]).all()
            x, y, width, height = annotation["bbox"]
            assert np.allclose([*points.min(0), *points.max(0)], [x, y, x + width, y + height], atol=1e-6)
            assert annotation["area"] == pytest.approx(sum(map(area, polygons)), abs=0.01)
            assert width >= 3 <= height
    assert several, "a ring has two polygons"


def test_perfect_predictions_get_full_marks_in_every_group(files: dict[str, dict[str, Any]]) -> None:
    import hotcoco

    truth = hotcoco.LVIS(files["val"])
    found = [
        {"image_id": each["image_id"], "category_id": each["category_id"], "bbox": each["bbox"], "score": 0.9}
        for each in files["val"]["annotations"]
    ]
    evaluation = hotcoco.LVISEval(truth, hotcoco.LVISResults(truth, found, max_dets=300), "bbox")
    evaluation.run()
    results = evaluation.get_results()
    assert [results[key] for key in ("AP", "APr", "APc", "APf")] == pytest.approx([1] * 4)


# -- images ------------------------------------------------------------------------------------------------------


def test_images_are_jpeg_of_the_size_in_the_file(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    named = []
    for content in files.values():
        for image in content["images"]:
            with Image.open(stored(folder, image)) as picture:
                assert (picture.format, picture.mode) == ("JPEG", "RGB")
                assert picture.size == (image["width"], image["height"])
            assert max(image["width"], image["height"]) == 96
            assert stored(folder, image).stem == f"{image['id']:012d}"
            named.append(stored(folder, image))
    assert sorted(named) == sorted(folder.glob("*/*.jpg")), "each file is one image of one of the files"
    assert len({(image["width"], image["height"]) for image in files["val"]["images"]}) > 5


def test_some_evaluation_images_are_in_train2017(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    folders = {split: Counter(stored(folder, image).parent.name for image in files[split]["images"]) for split in files}
    assert set(folders["train"]) == {"train2017"}
    assert folders["val"] == {"val2017": 30, "train2017": 10}


def test_objects_are_where_the_polygons_are(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Objects are colourful, the background is greyish."""
    from lvis import LVIS

    reader = LVIS(str(folder / "annotations/lvis_v1_val.json"))
    inside, outside = [], []
    for image in files["val"]["images"]:
        pixels = np.asarray(Image.open(stored(folder, image))).astype(int)
        saturation = pixels.max(2) - pixels.min(2)
        masks = [reader.ann_to_mask(each) for each in reader.img_ann_map[image["id"]]]
        inside += [saturation[mask > 0].mean() for mask in masks]
        outside.append(np.median(saturation[~np.any(masks, axis=0)]))
    assert np.median(inside) > 3 * np.median(outside)
    assert np.mean(np.array(inside) > np.max(outside)) > 0.9


# -- counts ------------------------------------------------------------------------------------------------------


def test_categories_count_the_training_images(files: dict[str, dict[str, Any]]) -> None:
    assert files["train"]["categories"] == files["val"]["categories"]
    annotations = files["train"]["annotations"]
    pairs = {(each["image_id"], each["category_id"]) for each in annotations}
    images = Counter(category for _, category in pairs)
    instances = Counter(each["category_id"] for each in annotations)
    tail = long_tail(160, 24)
    for category in files["train"]["categories"]:
        assert category["image_count"] == images[category["id"]]
        assert category["instance_count"] == instances[category["id"]]
        assert category["frequency"] == tail.group(category["image_count"])
    assert sorted(images.values(), reverse=True) == tail.counts.tolist()
    assert f"f above {tail.frequent_above}" in files["train"]["info"]["description"]
    empty = len(files["train"]["images"]) - len({image for image, _ in pairs})
    assert empty == 3, "some training images have no annotation, as in LVIS"


def test_every_class_is_in_three_evaluation_images(files: dict[str, dict[str, Any]]) -> None:
    pairs = {(each["image_id"], each["category_id"]) for each in files["val"]["annotations"]}
    counts = Counter(category for _, category in pairs)
    assert set(counts) == set(range(1, 25))
    assert min(counts.values()) >= 3


# -- what is said about an image ---------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_statements_about_an_image_do_not_contradict_each_other(files: dict[str, dict[str, Any]], split: str) -> None:
    annotated: dict[int, set[int]] = {image["id"]: set() for image in files[split]["images"]}
    for annotation in files[split]["annotations"]:
        annotated[annotation["image_id"]].add(annotation["category_id"])
    for image in files[split]["images"]:
        negative, incomplete = set(image["neg_category_ids"]), set(image["not_exhaustive_category_ids"])
        assert len(negative) == len(image["neg_category_ids"]) >= 3
        assert not negative & annotated[image["id"]]
        assert incomplete <= annotated[image["id"]]
        assert negative <= set(range(1, 25))
    assert any(image["not_exhaustive_category_ids"] for image in files[split]["images"])


def test_an_object_that_is_not_annotated_is_one_that_nobody_was_asked_about() -> None:
    rng = np.random.default_rng(5)
    alike = likeness(appearances(30, rng))
    unknown = forgotten = 0
    for _ in range(400):
        ranks = rng.permutation(30)[:4].tolist()
        scene = compose(ranks, alike, 128, rng)
        assert scene.annotated_classes() == set(ranks)
        for item in scene.items:
            if not item.annotated:
                assert item.rank not in scene.negative
                assert (item.rank in ranks) == (item.rank in scene.not_exhaustive)
                forgotten += item.rank in ranks
                unknown += item.rank not in ranks
    assert 20 < unknown < 60
    assert 30 < forgotten < 120


def test_classes_verified_absent_are_rather_like_those_shown() -> None:
    rng = np.random.default_rng(4)
    alike = likeness(appearances(64, rng))
    scenes = [compose(rng.permutation(64)[:3].tolist(), alike, 96, rng) for _ in range(100)]
    chosen = [alike[scene.negative][:, list(scene.annotated_classes())].max(1).mean() for scene in scenes]
    anyway = [alike[:, list(scene.annotated_classes())].max(1).mean() for scene in scenes]
    assert np.mean(chosen) > np.mean(anyway) + 0.3
    assert len({rank for scene in scenes for rank in scene.negative}) == 64


def test_objects_do_not_cover_each_other() -> None:
    rng = np.random.default_rng(2)
    alike = likeness(appearances(30, rng))
    for _ in range(50):
        items = compose(list(range(8)), alike, 64, rng).items
        gaps = [
            math.dist(one.centre, other.centre) - one.radius - other.radius
            for place, one in enumerate(items)
            for other in items[:place]
        ]
        assert min(gaps) >= 0
