"""What is found wrong in LVIS and COCO-format data sets before anything is trained on them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eqbench.data import coco_format, lvis
from eqbench.data.lvis_index import published
from eqbench.data.verification import Contents, Findings
from tests.data.annotation_files import Change, Content, write, write_lvis

COCO: dict[str, Any] = {"train_annotations": "train.json", "eval_annotations": "val.json"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """LVIS's layout, 12 images each, none of them in both files."""
    write_lvis(tmp_path)
    change(tmp_path, "val", give_own_ids)
    for image in json.loads((tmp_path / "annotations" / "lvis_v1_val.json").read_text())["images"]:
        tmp_path.joinpath(*image["coco_url"].split("/")[-2:]).touch()
    return tmp_path


def give_own_ids(content: Content) -> None:
    for record in content["images"]:
        record["id"] += 1
        record["coco_url"] = f"http://x.org/{'train' if record['id'] % 3 else 'val'}2017/{record['id']:012d}.jpg"
    for record in content["annotations"]:
        record["image_id"] += 1


def change(root: Path, split: str, how: Change) -> None:
    file = root / "annotations" / f"lvis_v1_{split}.json"
    content = json.loads(file.read_text())
    how(content)
    write(file, content)


def examined(root: Path) -> tuple[Contents, Findings]:
    found = Findings()
    contents = lvis.examine(root, found, miniature=True)
    assert contents is not None
    return contents, found


def test_what_a_data_set_says_it_holds(root: Path) -> None:
    contents, found = examined(root)
    data = lvis.LVIS(root=root)
    assert found.ok
    assert list(contents.class_names) == list(data.class_names)
    assert list(contents.groups) == list(data.groups)
    assert contents.digest == data.digest
    assert contents.counts["train"].tolist() == data.class_counts.tolist()
    assert {split: len(files) for split, files in contents.files.items()} == {"train": 12, "val": 12}
    assert all((root / path).is_file() for files in contents.files.values() for path in files)
    assert {path.split("/")[0] for path in contents.files["val"]} == {"train2017", "val2017"}


def test_numbers_of_the_published_files_are_asserted(root: Path) -> None:
    found = Findings()
    assert lvis.examine(root, found) is not None
    kind = found.problems[published.WRONG_NUMBER]
    file = root / "annotations" / "lvis_v1_train.json"
    assert f"{file}: 12 images, LVIS v1 has 100,170" in kind.items
    assert f"{file}: 5 classes, LVIS v1 has 1,203" in kind.items
    assert any("classes of frequency r, LVIS v1 has 337" in item for item in kind.items)
    assert any("lvis_v1_val.json: 12 images, LVIS v1 has 19,809" in item for item in kind.items)
    assert "coco_format" in kind.advice
    assert found.problems[published.WRONG_FREQUENCY].items


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda c: c.pop("annotations"), "no 'annotations'"),
        (lambda c: c["categories"][0].update(name="another"), "different categories"),
        (lambda c: c["images"][0].pop("neg_category_ids"), "not LVIS v1"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_problem_not_an_error(how: Change, said: str, root: Path) -> None:
    change(root, "val", how)
    found = Findings()
    assert lvis.examine(root, found) is None
    assert said in found.problems["annotation files"].items[0]


def test_an_image_in_both_files_is_a_leak(root: Path) -> None:
    def take_one(content: Content) -> None:
        trained = json.loads((root / "annotations" / "lvis_v1_train.json").read_text())["images"][3]
        shared.append("/".join(trained["coco_url"].split("/")[-2:]))
        content["images"][0]["coco_url"] = trained["coco_url"]

    shared: list[str] = []
    change(root, "val", take_one)
    _, found = examined(root)
    assert found.problems["images that are trained on and evaluated on"].items == shared


def test_paths_that_lead_out_and_shared_files_are_named(root: Path) -> None:
    def lead_out(content: Content) -> None:
        content["images"][0]["coco_url"] = "http://x.org/../1.jpg"
        content["images"][1]["coco_url"] = content["images"][2]["coco_url"]

    change(root, "val", lead_out)
    _, found = examined(root)
    assert found.problems["paths that lead out of the folder of the images"].items == ["../1.jpg (val)"]
    assert found.problems["image files that several images share"].items[0].endswith("(val): 2 images")


def test_what_is_not_learned_from_and_classes_without_any_are_notes(root: Path) -> None:
    def spoil(content: Content) -> None:
        absent = content["categories"][0]["id"]
        content["annotations"] = [each for each in content["annotations"] if each["category_id"] != absent]
        content["annotations"][0]["segmentation"] = []
        names.append(content["categories"][0]["name"])

    names: list[str] = []
    change(root, "train", spoil)
    _, found = examined(root)
    assert found.ok
    assert "without a polygon" in found.notes["annotations that are not learned from"].items[0]
    assert found.notes["classes without a training instance"].items == names


# -- looking into an image ---------------------------------------------------------------------------------------


def look(root: Path, image: Image.Image, **options: Any) -> list[tuple[str, str]]:
    """Stores the image as the first of val, whose annotations are for 64 x 48 pixels."""
    contents, _ = examined(root)
    path = contents.files["val"][0]
    image.save(root / path, "JPEG", **options)
    decode = pickle.loads(pickle.dumps(contents.decode))  # as another process gets it
    return [(kind, what.replace(path, "FILE")) for kind, what in decode(root, path)]


def test_an_image_of_the_right_size_has_no_findings(root: Path) -> None:
    assert look(root, Image.new("RGB", (64, 48))) == []


def test_an_image_of_another_size_is_named(root: Path) -> None:
    kind = "images of another size than their annotations say"
    assert look(root, Image.new("RGB", (60, 48))) == [(kind, "FILE: 60 x 48 pixels, its annotations are for 64 x 48")]
    ((_, what),) = look(root, Image.new("RGB", (48, 64)))
    assert what.endswith("64 x 48; it is turned by a quarter")


def test_what_is_unusual_is_a_note(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [kind for kind, _ in look(root, Image.new("CMYK", (64, 48)), exif=exif)]
    assert len(kinds) == 2
    assert all(kind.startswith("note:") for kind in kinds)


def test_a_damaged_image_is_named(root: Path) -> None:
    contents, _ = examined(root)
    path = contents.files["train"][0]
    assert contents.decode(root, path) == [("damaged images", f"{path}: the file is empty")]


# -- COCO format -------------------------------------------------------------------------------------------------


def write_coco(root: Path, shared: str | None = None) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        box = {"bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0, "segmentation": [[1, 1, 5, 1, 5, 5]]}
        content = {
            "images": [{"id": 7, "width": 64, "height": 48, "file_name": shared or f"{split}/a.jpg"}],
            "annotations": [{"id": number, "image_id": 7, "category_id": 3, **box} for number in range(3)],
            "categories": [{"id": 3, "name": "cup"}, {"id": 5, "name": "dog"}],
        }
        write(root / f"{split}.json", content)
        image = root / "pictures" / (shared or f"{split}/a.jpg")
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(image)


def test_a_data_set_in_coco_format(tmp_path: Path) -> None:
    write_coco(tmp_path)
    options = {**COCO, "train_images": "pictures", "eval_images": "pictures"}
    found = Findings()
    contents = coco_format.examine(tmp_path, found, **options)
    assert contents is not None
    assert contents.digest == coco_format.CocoFormat(root=tmp_path, **options).digest
    assert contents.files == {"train": ["pictures/train/a.jpg"], "val": ["pictures/val/a.jpg"]}
    assert contents.counts["train"].tolist() == [3, 0]
    assert list(contents.groups) == ["r", "r"]
    assert found.ok  # ids and names of the two images are the same, but they are two files
    assert contents.decode(tmp_path, "pictures/val/a.jpg") == []


def test_an_image_of_both_files_in_coco_format_is_a_leak(tmp_path: Path) -> None:
    write_coco(tmp_path, "a.jpg")
    found = Findings()
    coco_format.examine(tmp_path, found, **COCO, train_images="pictures", eval_images="pictures")
    assert found.problems["images that are trained on and evaluated on"].items == ["pictures/a.jpg"]


def test_a_missing_file_in_coco_format_is_a_problem(tmp_path: Path) -> None:
    found = Findings()
    assert coco_format.examine(tmp_path, found, **COCO) is None
    assert "train.json: no such file" in found.problems["annotation files"].items[0]
