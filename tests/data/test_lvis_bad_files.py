"""Records of an annotation file that are not as they have to be: one message that names file and record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eqbench.data.lvis_index import open_index
from eqbench.errors import InputError
from tests.data.annotation_files import Change, Content, lvis_content, write


def put(key: str, position: int, **fields: Any) -> Change:
    """Change fields of one record; `None` removes a field."""

    def change(content: Content) -> None:
        content[key][position] |= fields
        for name in [name for name, value in fields.items() if value is ...]:
            del content[key][position][name]

    return change


FAULTS: dict[str, tuple[Change, str]] = {
    "no annotations": (lambda c: c.pop("annotations"), "no 'annotations' .*of image information only"),
    "misspelt": (lambda c: c.update(category=c.pop("categories")), "no 'categories'; did you mean 'category'?"),
    "not a list": (lambda c: c.update(images={}), "'images' is dict, expected a list"),
    "no images": (lambda c: c.update(images=[]), "'images' is an empty list"),
    "no categories": (lambda c: c.update(categories=[]), "'categories' is an empty list"),
    "not a record": (lambda c: c["annotations"].insert(3, 17), r"annotations\[3\]: 17, expected an object"),
    "image that is none": (
        put("annotations", 4, id=900, image_id=12345),
        r"annotations\[4\] \(id 900\): image_id 12345 is none of the 12 images \(ids 7 to 117\)",
    ),
    "category that is none": (
        put("annotations", 39, id=900, category_id=3),
        r"annotations\[39\] \(id 900\): category_id 3 is none of the 5 categories \(ids 2 to 14\)",
    ),
    "annotation twice": (
        lambda c: c["annotations"][7].update(id=c["annotations"][2]["id"]),
        r"annotations\[2\] and annotations\[7\] have the same id \d+$",
    ),
    "annotations twice": (
        lambda c: c["annotations"].extend([c["annotations"][9], c["annotations"][4]]),
        r"annotations\[9\] and annotations\[40\] have the same id \d+; 2 duplicates in all",
    ),
    "image twice": (
        lambda c: c["images"].append(c["images"][0]),
        r"images\[0\] and images\[12\] have the same id",
    ),
    "category twice": (
        lambda c: c["categories"].append(c["categories"][1]),
        r"categories\[1\] and categories\[5\] have the same id",
    ),
    "NaN in a box": (
        put("annotations", 6, id=900, bbox=[1, float("nan"), 3, 4]),
        r"annotations\[6\] \(id 900\): bbox \[1, nan, 3, 4\], expected finite numbers",
    ),
    "infinite box": (put("annotations", 6, bbox=[1, 2, 3, float("inf")]), r"annotations\[6\] .*finite numbers"),
    "three numbers": (
        put("annotations", 6, id=900, bbox=[1, 2, 3]),
        r"annotations\[6\] \(id 900\): bbox \[1, 2, 3\], expected 4 numbers",
    ),
    "three and five numbers": (
        lambda c: [c["annotations"][8].update(bbox=[1, 2, 3]), c["annotations"][9].update(bbox=[1, 2, 3, 4, 5])],
        r"annotations\[8\] .*expected 4 numbers",
    ),
    "texts in a box": (put("annotations", 6, bbox=["1", "2", "3", "4"]), "bbox .*expected 4 numbers"),
    "box is a text": (put("annotations", 6, bbox="1234"), "bbox '1234', expected 4 numbers"),
    "huge number": (put("annotations", 6, bbox=[10**400, 2, 3, 4]), "bbox .*expected 4 numbers"),
    "far away": (put("annotations", 6, bbox=[1, 2, 1e39, 4]), r"annotations\[6\] .*finite numbers of pixels"),
    "huge crowd": (put("annotations", 6, iscrowd=2**70), r"annotations\[6\] .*iscrowd .*expected 0 or 1"),
    "no box": (put("annotations", 6, bbox=...), r"annotations\[6\] \(id \d+\): no 'bbox'"),
    "negative width": (put("annotations", 6, bbox=[1, 2, -3, 4]), r"\[6\] .*a width and height of at least 0"),
    "id is a text": (put("annotations", 6, id="x"), r"annotations\[6\] \(id 'x'\): id 'x', expected a whole number"),
    "no id": (put("annotations", 6, id=...), r"annotations\[6\]: no 'id'"),
    "crowd is a text": (put("annotations", 6, iscrowd="no"), "iscrowd 'no', expected 0 or 1"),
    "area is null": (put("annotations", 6, area=None), "area null, expected a number"),
    "flat polygon": (put("annotations", 6, segmentation=[1, 2, 3]), r"segmentation\[0\] 1, expected a list of finite"),
    "NaN in a polygon": (
        put("annotations", 6, segmentation=[[1, 2, 3, 4, 5, float("nan")]]),
        r"annotations\[6\] .* segmentation\[0\] .*finite",
    ),
    "segmentation is a text": (put("annotations", 6, segmentation="x"), "segmentation 'x', expected a list of poly"),
    "no height": (put("images", 2, id=900, height=...), r"images\[2\] \(id 900\): no 'height'"),
    "height 0": (put("images", 2, height=0), r"images\[2\] .* height 0, expected at least 1"),
    "no path": (put("images", 2, coco_url=...), "neither coco_url nor file_name"),
    "path is a number": (put("images", 2, coco_url=5), "coco_url 5, expected a text"),
    "absent class that is none": (
        put("images", 2, id=900, neg_category_ids=[2, 3]),
        r"images\[2\] \(id 900\): neg_category_ids has 3, which is not the id of a category",
    ),
    "absent classes are no list": (put("images", 2, neg_category_ids=5), "neg_category_ids 5, expected a list"),
    "frequency": (put("categories", 1, frequency="x"), r"categories\[1\] .*frequency 'x', expected 'r', 'c' or 'f'"),
    "some frequencies": (put("categories", 1, frequency=...), r"categories\[1\] .*no `frequency`, which other"),
    "no name": (put("categories", 1, name=""), r"categories\[1\] .*name '', expected a text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_records_are_named(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    content = lvis_content()
    change(content)
    path = write(tmp_path / "a.json", content)
    with pytest.raises(InputError, match=message) as error:
        open_index(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "instances_train.json", {})
    with pytest.raises(InputError, match=r"instances_trian\.json: no such file; did you mean 'instances_train\.json'"):
        open_index(tmp_path / "instances_trian.json")
