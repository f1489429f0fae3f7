"""The index against the file read with the json module; damage, staleness, several processes; warnings."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqbench.data.lvis_index import AnnotationIndex, IndexedImages, open_index, polygons
from eqbench.data.lvis_index import images as images_module
from eqbench.data.lvis_index.arrays import ARRAYS
from eqbench.data.lvis_index.storage import index_folders
from eqbench.errors import EnvironmentProblem, InputError
from tests.data.annotation_files import Content, lvis_content, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def url_path(index: AnnotationIndex, image: int) -> str:
    return index.url_path(image)


def images_of(index: AnnotationIndex, *, masks: bool = True, keep_empty: bool = False) -> IndexedImages:
    return IndexedImages(index, Path("/images"), url_path, masks=masks, keep_empty=keep_empty)


def read_plainly(content: Content, *, masks: bool) -> list[dict[str, Any]]:
    """What `record` should give for every image."""
    labels = {category: label for label, category in enumerate(sorted(each["id"] for each in content["categories"]))}
    records = []
    for image in content["images"]:
        instances = []
        for each in content["annotations"]:
            if each["image_id"] == image["id"]:
                left, top, width, height = each["bbox"]
                instance = {
                    "bbox": [left, top, left + width, top + height],
                    "bbox_label": labels[each["category_id"]],
                    "ignore_flag": each.get("iscrowd", 0),
                }
                if masks:
                    instance["mask"] = [np.float32(polygon).tolist() for polygon in each["segmentation"]]
                instances.append(instance)
        path = "/images/" + "/".join(image["coco_url"].split("/")[-2:])
        size = {"height": image["height"], "width": image["width"]}
        records.append({"img_path": path, "img_id": image["id"], **size, "instances": instances})
    return records


# -- the same as the file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_records_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: bool, at_once: int
) -> None:
    monkeypatch.setattr(images_module, "IMAGES_AT_ONCE", at_once)
    monkeypatch.setattr(polygons, "POLYGONS_AT_ONCE", at_once)
    content = lvis_content()
    index = open_index(write(tmp_path / "a.json", content))
    every = images_of(index, masks=masks, keep_empty=True)
    expected = read_plainly(content, masks=masks)
    assert [every.record(position) for position in range(len(every))] == expected
    kept = images_of(index, masks=masks)
    assert [kept.record(position) for position in range(len(kept))] == [each for each in expected if each["instances"]]
    assert kept.image_ids.tolist() == [each["img_id"] for each in expected if each["instances"]]
    assert len(kept) < len(every)


def test_the_other_columns_are_those_of_the_file(tmp_path: Path) -> None:
    content = lvis_content()
    index = open_index(write(tmp_path / "a.json", content))
    categories = sorted(content["categories"], key=lambda each: each["id"])
    assert index.category_ids.tolist() == [each["id"] for each in categories]
    assert index.category_names == [each["name"] for each in categories]
    assert index.groups(10, 100) == index.frequency == [each["frequency"] for each in categories]
    in_images = {(each["category_id"], each["image_id"]) for each in content["annotations"]}
    counted = Counter(category for category, _ in in_images)
    assert index.image_counts.tolist() == [counted[each["id"]] for each in categories]
    counted = Counter(each["category_id"] for each in content["annotations"])
    assert index.instance_counts.tolist() == [counted[each["id"]] for each in categories]
    for name, key in (("negative", "neg_category_ids"), ("not_exhaustive", "not_exhaustive_category_ids")):
        classes = getattr(index, "negatives" if name == "negative" else name)
        offsets = getattr(index, f"{name}_offsets")
        lists = [classes[start:end] for start, end in pairwise(offsets)]
        assert [index.category_ids[each].tolist() for each in lists] == [each[key] for each in content["images"]]
    areas = {each["id"]: each["area"] for each in content["annotations"]}
    assert dict(zip(index.annotation_ids.tolist(), index.areas.tolist(), strict=True)) == areas
    assert index.warnings == []


@pytest.mark.parametrize("at_once", [1, 5, 10_000])
def test_classes_of_each_kept_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(images_module, "IMAGES_AT_ONCE", at_once)
    content = lvis_content()
    content["annotations"][0]["iscrowd"] = 1
    images = images_of(open_index(write(tmp_path / "a.json", content)))
    offsets, classes = images.classes()
    learned = [
        [each["bbox_label"] for each in images.record(position)["instances"] if not each["ignore_flag"]]
        for position in range(len(images))
    ]
    found = [classes[start:end].tolist() for start, end in pairwise(offsets)]
    assert found == [sorted(set(labels)) for labels in learned]
    assert images.instance_counts.tolist() == [sum(each.count(label) for each in learned) for label in range(5)]
    assert images.image_counts.tolist() == [sum(label in each for each in learned) for label in range(5)]


def test_thresholds_give_the_groups_of_lvis_labels() -> None:
    index = object.__new__(AnnotationIndex)
    index.frequency, index.image_counts = None, np.array([1, 10, 11, 100, 101, 0])
    assert index.groups(10, 100) == ["r", "r", "c", "c", "f", "r"]


# -- building once -------------------------------------------------------------------------------------------------


def built(index: AnnotationIndex) -> int:
    return (index.folder / "index.json").stat().st_ino


def test_an_index_is_built_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", lvis_content())
    first = open_index(path)
    assert first.folder == tmp_path / "a.json.index"
    assert built(open_index(path)) == built(first)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.json.index", "a.json.index.lock"]


def test_a_changed_file_is_indexed_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", lvis_content())
    first = open_index(path)
    boxes = (first.folder / "boxes.npy").stat().st_ino
    os.utime(path, ns=(1, 1))
    assert open_index(path).sha256 == first.sha256
    assert json.loads((first.folder / "index.json").read_text())["mtime_ns"] == 1
    assert (first.folder / "boxes.npy").stat().st_ino == boxes
    path.write_text(path.read_text().replace('"height": 48', '"height": 50', 1))
    assert open_index(path).heights[0] == 50
    write(path, lvis_content(seed=1))
    second = open_index(path)
    assert second.sha256 != first.sha256
    assert images_of(second, keep_empty=True).record(0) == read_plainly(lvis_content(seed=1), masks=True)[0]
    assert images_of(first, keep_empty=True).record(0) == read_plainly(lvis_content(), masks=True)[0]


@pytest.mark.parametrize("damage", ["truncated", "gone", "emptied", "description", "another format", "a file"])
def test_a_damaged_index_is_built_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.json", lvis_content())
    folder = open_index(path).folder
    match damage:
        case "truncated":
            os.truncate(folder / "coordinates.npy", 500)
        case "gone":
            (folder / "boxes.npy").unlink()
        case "emptied":
            (folder / "faults.npy").write_bytes(b"")
        case "description":
            (folder / "index.json").write_text('{"format": ')
        case "another format":
            (folder / "index.json").write_text('{"format": 0}')
        case "a file":
            shutil.rmtree(folder)
            folder.touch()
    caplog.clear()
    images = images_of(open_index(path), keep_empty=True)
    assert [images.record(row) for row in range(len(images))] == read_plainly(lvis_content(), masks=True)
    assert bool(caplog.messages) == (damage not in ("another format", "a file"))
    assert all("damaged" in message and str(folder) in message for message in caplog.messages)


def test_the_cache_is_used_where_the_folder_cannot_be_written_to(tmp_path: Path, cache: Path) -> None:
    """Nobody can create a file in /proc."""
    path = write(tmp_path / "a.json", lvis_content())
    with path.open() as file:
        unwritable = Path(f"/proc/self/fd/{file.fileno()}")
        index = open_index(unwritable)
        assert index.folder == index_folders(unwritable)[1]
        assert index.folder.parent == cache
        assert built(open_index(unwritable)) == built(index)


def test_no_place_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_CACHE", "/proc/nowhere")
    path = write(tmp_path / "a.json", lvis_content())
    with path.open() as file, pytest.raises(EnvironmentProblem, match=r"/proc/self/fd \(.*/proc/nowhere \(.*"):
        open_index(Path(f"/proc/self/fd/{file.fileno()}"))


def open_and_count(path: Path) -> tuple[int, int]:
    index = open_index(path)
    return built(index), index.num_annotations


def test_processes_that_open_it_at_once_build_it_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", lvis_content(images=200, annotations=3000))
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(open_and_count, [path] * 4, chunksize=1)
    assert set(found) == {(built(open_index(path)), 3000)}


def test_images_can_be_sent_to_another_process(tmp_path: Path) -> None:
    images = images_of(open_index(write(tmp_path / "a.json", lvis_content(images=300, annotations=2000))))
    data = pickle.dumps(images)
    assert len(data) < 5000
    assert pickle.loads(data).record(5) == images.record(5)


def test_what_a_build_that_was_killed_left_behind_is_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", lvis_content())
    (tmp_path / "a.json.index.part-x" / "new").mkdir(parents=True)
    open_index(path)
    assert not (tmp_path / "a.json.index.part-x").exists()


def test_a_file_with_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"images": []})
    with pytest.raises(InputError):
        open_index(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.json.index.lock"]


def test_opening_needs_no_torch() -> None:
    program = "import sys, eqbench.data.lvis_index; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_array_has_the_dtype_that_is_documented(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "a.json", lvis_content()))
    assert {name: np.dtype(dtype) for name, dtype in ARRAYS.items()} == {
        name: getattr(index, name).dtype for name in ARRAYS
    }


# -- warnings ------------------------------------------------------------------------------------------------------


def test_what_real_data_has_is_counted_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = lvis_content()
    changes = {
        3: {"bbox": [1.0, 2.0, 0.0, 4.0]},
        5: {"bbox": [64.0, 2.0, 3.0, 4.0]},
        6: {"bbox": [-9.0, 2.0, 3.0, 4.0]},
        8: {"segmentation": [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]},
        9: {"segmentation": [[1.0, 2.0, 3.0, 4.0]]},
        10: {"segmentation": []},
        11: {"segmentation": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]},
        12: {"iscrowd": 1, "segmentation": {"counts": [0, 9], "size": [3, 3]}},
        13: {"segmentation": {"counts": [0, 9], "size": [3, 3]}},
    }
    for position, fields in changes.items():
        content["annotations"][position] |= {"id": 1000 + position, **fields}
    with caplog.at_level(logging.WARNING):
        index = open_index(write(tmp_path / "a.json", content))
    assert caplog.messages == index.warnings
    assert [warning.removeprefix(f"{index.source}: ") for warning in index.warnings] == [
        "1 box(es) of zero area, first in annotations[3] (id 1003): annotation left out of training",
        "2 box(es) wholly outside the image, first in annotations[5] (id 1005): annotation left out of training",
        "3 polygon(s) of fewer than 3 points, or with an odd number of coordinates, first in annotations[8] (id 1008): "
        "polygon left out",
        "4 annotation(s) without a polygon (a run-length code is none), first in annotations[9] (id 1009): "
        "left out where masks are trained",
    ]
    caplog.clear()
    assert open_index(index.source).warnings == index.warnings
    assert caplog.messages == []

    content["annotations"][8]["segmentation"].pop(0)
    content["annotations"][12]["segmentation"] = []
    for masks, left_out in ((True, {3, 5, 6, 9, 10, 11, 13}), (False, {3, 5, 6})):
        kept = [each for position, each in enumerate(content["annotations"]) if position not in left_out]
        images = images_of(index, masks=masks, keep_empty=True)
        expected = read_plainly(content | {"annotations": kept}, masks=masks)
        assert [images.record(row) for row in range(len(images))] == expected
        assert images.instance_counts.sum() == len(kept) - 1


def test_a_file_without_annotations(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "a.json", lvis_content() | {"annotations": []}))
    assert (index.num_images, index.num_annotations) == (12, 0)
    assert index.image_counts.tolist() == [0] * 5
    assert len(images_of(index)) == 0
    assert images_of(index, keep_empty=True).record(3)["instances"] == []
    assert images_of(index).classes()[0].tolist() == [0]


# -- image files ---------------------------------------------------------------------------------------------------


def test_missing_files(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "a.json", lvis_content(images=2500)))
    images = IndexedImages(index, tmp_path, url_path, masks=True, keep_empty=True)
    paths = [images.path(row) for row in range(len(images))]
    for path in paths[:10]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert images.missing_files() == paths[10:]
    assert images.missing_files(limit=3) == paths[10:13]
    images.check_files(1)
    with pytest.raises(InputError, match=rf"{paths[-1]}: no such file; it is image \d+ of {index.source}"):
        images.check_files(2)
