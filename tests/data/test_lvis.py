"""The LVIS plugin: layout, versions, where images lie, groups, digest, getting it ready."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.utils.data import DataLoader

from eqbench import plugins
from eqbench.data.base import Draw
from eqbench.data.lvis import LVIS, prepare
from eqbench.errors import InputError
from tests.data.annotation_files import Change, Content, lvis_content, write, write_lvis


def test_what_training_needs_to_know(tmp_path: Path) -> None:
    content = write_lvis(tmp_path)
    data: LVIS = plugins.construct("dataset", "lvis", {"root": str(tmp_path)})
    categories = sorted(content["categories"], key=lambda each: each["id"])
    assert data.num_classes == 5
    assert list(data.class_names) == [each["name"] for each in categories]
    assert list(data.category_ids) == [each["id"] for each in categories]
    assert list(data.groups) == [each["frequency"] for each in categories]
    assert data.group_names == ("f", "c", "r")
    labels = [each["id"] for each in categories]
    expected = torch.tensor([labels.index(each["category_id"]) for each in content["annotations"]]).bincount()
    assert torch.equal(data.class_counts, expected)
    assert data.image_counts.dtype == torch.int64
    offsets, classes = data.sample_classes()
    assert torch.equal(torch.bincount(classes, minlength=5), data.image_counts)
    assert len(offsets) == len(data.train) + 1
    assert torch.allclose(data.class_frequency, data.image_counts / len(data.train))
    assert (data.exhaustive, data.masks) == (False, True)
    assert data.eval_annotations == tmp_path / "annotations" / "lvis_v1_val.json"
    assert len(data.eval) == 12
    assert 0 < len(data.train) < 12


def test_val_images_lie_in_both_folders(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    paths = [Path(LVIS(root=tmp_path).eval.record(index)["img_path"]) for index in range(12)]
    assert {path.parent for path in paths} == {tmp_path / "train2017", tmp_path / "val2017"}
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_loader_gives_lists_of_records_empty_ones_too(tmp_path: Path, processes: int) -> None:
    write_lvis(tmp_path)
    train = LVIS(root=tmp_path).train
    draws = [[Draw(3, 0), Draw(1, 0)], [], [Draw(2, 0)]]
    options: dict[str, Any] = {"dataset": train, "batch_sampler": draws, "collate_fn": train.collate}
    batches = list(DataLoader(**options, num_workers=processes))
    assert batches == [[train.record(draw.index) for draw in batch] for batch in draws]


def test_annotations_may_lie_in_root_itself(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    for file in (tmp_path / "annotations").glob("*.json"):
        shutil.move(file, tmp_path)
    assert LVIS(root=tmp_path).eval_annotations == tmp_path / "lvis_v1_val.json"


def test_v05_without_coco_url_takes_the_name_of_2017(tmp_path: Path) -> None:
    write_lvis(tmp_path, "v0.5")
    assert "COCO" not in str(LVIS(root=tmp_path, version="v0.5").train.path(0))
    for split in ("train", "val"):
        file = tmp_path / "annotations" / f"lvis_v0.5_{split}.json"
        content = json.loads(file.read_text())
        for image in content["images"]:
            del image["coco_url"]
            (tmp_path / f"{split}2017" / f"{image['id']:012d}.jpg").touch()
        write(file, content)
    data = LVIS(root=tmp_path, version="v0.5")
    assert data.train.path(0) == tmp_path / "train2017" / f"{data.train.image_ids[0]:012d}.jpg"
    assert data.eval.path(0) == tmp_path / "val2017" / f"{data.eval.image_ids[0]:012d}.jpg"


def test_digest_covers_what_is_seen(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    digest = LVIS(root=tmp_path).digest
    assert len(digest) == 32
    others = {LVIS(root=tmp_path, masks=False).digest}
    shutil.copytree(tmp_path, moved := tmp_path / "moved")
    assert LVIS(root=moved).digest == digest
    for split in ("train", "val"):
        file = moved / "annotations" / f"lvis_v1_{split}.json"
        file.write_text(file.read_text() + "\n")
        others.add(LVIS(root=moved).digest)
    assert len(others | {digest}) == 4


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    data = LVIS(root=tmp_path)
    again = pickle.loads(pickle.dumps(data))
    assert again.digest == data.digest
    assert again.train.record(0) == data.train.record(0)


# -- getting it ready ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://x.org/../1.jpg", "path '../1.jpg' leads out of the data set's folder"),
        ("http://x.org/train2017/..", "path 'train2017/..' leads out"),
        ("http://1.jpg", "path '/1.jpg' is absolute"),
        ("http://x.org/a/\0.jpg", "has a null character"),
    ],
)
@pytest.mark.parametrize("use", [lambda root: LVIS(root=root), prepare])
def test_a_path_that_leads_out_is_refused_with_its_image(tmp_path: Path, use: Any, url: str, fault: str) -> None:
    content = write_lvis(tmp_path)
    content["images"][7]["coco_url"] = url
    file = write(tmp_path / "annotations" / "lvis_v1_train.json", content)
    with pytest.raises(InputError) as error:
        use(tmp_path)
    assert str(error.value).startswith(f"{file}: images[7] (id {content['images'][7]['id']}): path ")
    assert fault in str(error.value)


def test_dots_within_a_name_are_none_that_lead_out(tmp_path: Path) -> None:
    content = write_lvis(tmp_path)
    for image in content["images"]:
        folder, name = image["coco_url"].split("/")[-2:]
        image["coco_url"] = f"http://x.org/{folder}/a..{name}"
        (tmp_path / folder / name).rename(tmp_path / folder / f"a..{name}")
    write(tmp_path / "annotations" / "lvis_v1_train.json", content)
    write(tmp_path / "annotations" / "lvis_v1_val.json", content)
    data = LVIS(root=tmp_path)
    assert len(data.train.index.suspicious_paths()) == 12
    assert "/a..0" in data.train.record(0)["img_path"]


def test_prepare_says_what_there_is(tmp_path: Path) -> None:
    content = write_lvis(tmp_path, change=lambda content: content["annotations"][3].update(bbox=[1, 2, 0, 4]))
    text = "\n".join(prepare(tmp_path))
    images = len(LVIS(root=tmp_path).train)
    frequency = [each["frequency"] for each in content["categories"]]
    for expected in (
        f"training: {tmp_path}/annotations/lvis_v1_train.json: 12 images, 40 annotations",
        f"training index: {tmp_path}/annotations/lvis_v1_train.json.index: 0 MB, built in ",
        "1 box(es) of zero area, first in annotations[3]",
        f"classes: 5 ({frequency.count('f')} f, {frequency.count('c')} c, {frequency.count('r')} r, by the file's",
        f"to learn from: 39 instances in {images} images",
        "image files: all 24 exist",
    ):
        assert expected in text


def test_prepare_names_missing_images_and_where_to_get_them(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    shutil.rmtree(tmp_path / "val2017")
    number = sum(image["id"] % 3 == 0 for seed in (0, 1) for image in lvis_content(seed)["images"])
    with pytest.raises(
        InputError, match=rf"{number} of 24 image files do not exist:\n  /.*/val2017/(.*\n)*.*cocodataset"
    ) as e:
        prepare(tmp_path)
    assert re.search(r"and \d more\n", str(e.value))


# -- bad input -----------------------------------------------------------------------------------------------------


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere: no such folder; expected annotations/lvis_v1_train.json.*lvisdataset"
    ):
        LVIS(root=tmp_path / "nowhere")
    write_lvis(tmp_path)
    train = tmp_path / "annotations" / "lvis_v1_train.json"
    train.rename(train.with_name("lvis_v1_trian.json"))
    message = rf"{train}: no such file, .*did you mean 'lvis_v1_trian.json'\? \(there: .*lvis_v1_val.json.*lvisdataset"
    with pytest.raises(InputError, match=message):
        LVIS(root=tmp_path)


def test_a_missing_image_is_named_with_its_id_and_file(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    data = LVIS(root=tmp_path)
    path, image_id = data.train.path(4), data.train.image_ids[4]
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: no such file; it is image {image_id} of .*lvis_v1_train.json"):
        LVIS(root=tmp_path)
    shutil.rmtree(tmp_path / "train2017")
    with pytest.raises(InputError, match=r"no such file, nor the folder train2017; it is image \d+ of"):
        LVIS(root=tmp_path)


def give_file_names(content: Content) -> None:
    for image in content["images"]:
        image["file_name"] = "COCO_train2014_000000000009.jpg"


def many_classes(number: int) -> Change:
    def change(content: Content) -> None:
        ids = {each["id"] for each in content["categories"]}
        more = [number for number in range(1, 3000) if number not in ids][: number - len(ids)]
        content["categories"] = content["categories"] + [{"id": i, "name": f"t{i}", "frequency": "r"} for i in more]

    return change


def without(key: str, field: str) -> Change:
    return lambda content: [each.pop(field, None) for each in content[key]]


@pytest.mark.parametrize(
    ("version", "change", "message"),
    [
        ("v1", many_classes(1230), "not LVIS v1: 1,230 classes are those of LVIS v0.5; set version: v0.5"),
        ("v0.5", many_classes(1203), "not LVIS v0.5: 1,203 classes are those of LVIS v1; set version: v1"),
        ("v1", give_file_names, "not LVIS v1: images have a file_name, as in LVIS v0.5"),
        ("v0.5", without("images", "file_name"), "not LVIS v0.5: images have no file_name, as in LVIS v1"),
        ("v1", without("categories", "frequency"), "not LVIS v1: categories have no `frequency`; .*coco_format"),
        ("v1", without("images", "neg_category_ids"), "12 of 12 images have no neg_category_ids, without which"),
        (
            "v1",
            lambda content: content["images"][2].pop("not_exhaustive_category_ids"),
            "1 of 12 images have no not_exhaustive_category_ids",
        ),
    ],
)
def test_another_version(tmp_path: Path, version: Literal["v1", "v0.5"], change: Change, message: str) -> None:
    write_lvis(tmp_path, version, change)
    with pytest.raises(InputError, match=f"lvis_{version}_train.json: .*{message}"):
        LVIS(root=tmp_path, version=version)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"][1].update(name="cat"), "id 5 'thing 5' and id 5 'cat'"),
        (
            lambda c: c["categories"].append({"id": 99, "name": "cat", "frequency": "r"}),
            "no further category and id 99",
        ),
    ],
)
def test_the_two_files_have_to_have_the_same_categories(tmp_path: Path, change: Change, message: str) -> None:
    write_lvis(tmp_path)
    content = lvis_content(1) | {"categories": sorted(lvis_content()["categories"], key=lambda each: each["id"])}
    change(content)
    write(tmp_path / "annotations" / "lvis_v1_val.json", content)
    with pytest.raises(InputError, match=rf"_train.json and .*_val.json have different categories; .*{message}"):
        LVIS(root=tmp_path)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    write_lvis(tmp_path, change=without("annotations", "segmentation"))
    with pytest.raises(InputError, match=r"_train.json: no image has an annotation with a polygon \(set masks: false"):
        LVIS(root=tmp_path)
    assert int(LVIS(root=tmp_path, masks=False).class_counts.sum()) == 40
