"""Average precision of LVIS: hotcoco against the official package, against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lvis_scenes
import numpy as np
import pytest
from lvis_scenes import SCORES, Json

from eqbench.evaluation.lvis import IouType, evaluate
from eqbench.evaluation.predictions import ShardWriter

AVERAGES = ["ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ap_r", "ap_c", "ap_f", "ap50_r", "ap50_c", "ap50_f", "ar"]
NUMBERS = [*AVERAGES, "per_class"]


def compare(content: Json, results: Any, iou_type: IouType, max_dets: int = 300, **options: Any) -> Json:
    """Both evaluators; their numbers must agree. Returns those of hotcoco."""
    ours: Json = evaluate(content, results, iou_type, max_dets, **options)
    official = evaluate(content, results, iou_type, max_dets, evaluator="lvis", **options)
    assert sorted(ours) == sorted(official) == sorted(NUMBERS)
    assert list(ours["per_class"]) == list(official["per_class"])
    assert list(ours["per_class"]) == sorted(category["id"] for category in content["categories"])
    for name in NUMBERS:
        assert ours[name] == pytest.approx(official[name], abs=1e-9, rel=0, nan_ok=True), name
    return ours


def flat(numbers: Json) -> Json:
    """With the AP of each category beside the other numbers."""
    return {**numbers, **numbers["per_class"], "per_class": 0}


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize(
    ("seed", "per_image", "max_dets", "exhaustive"),
    [(0, 60, 300, False), (1, 60, 20, False), (2, 400, 300, False), (3, 60, 300, True), (4, 60, 20, True)],
)
def test_both_evaluators_agree(seed: int, per_image: int, max_dets: int, exhaustive: bool, iou_type: IouType) -> None:
    content = lvis_scenes.annotated(seed)
    results = lvis_scenes.detected(content, seed, per_image, masks=iou_type == "segm")
    numbers = compare(content, results, iou_type, max_dets, exhaustive=exhaustive)
    by_class = list(numbers["per_class"].values())
    assert 0.05 < numbers["ap"] < 0.95
    assert sum(map(math.isnan, by_class)) >= 2  # categories without annotations
    assert by_class[-1] == 0 or math.isnan(by_class[-1])  # never predicted
    everything = evaluate(content, results, iou_type, 10**6, exhaustive=exhaustive)
    assert (everything["ap"] == numbers["ap"]) == (per_image < max_dets)  # the limit matters where it is reached


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("exhaustive", [False, True])
def test_no_detection_at_all(iou_type: IouType, exhaustive: bool) -> None:
    numbers = compare(lvis_scenes.annotated(0), [], iou_type, exhaustive=exhaustive)
    assert (numbers["ap"], numbers["ar"]) == (0, 0)
    assert set(numbers["per_class"].values()) >= {0}


def test_no_annotation_at_all() -> None:
    content = lvis_scenes.annotated(0)
    results = lvis_scenes.detected(content, 0, masks=False)
    content["annotations"] = []
    for given in (results, []):
        numbers = compare(content, given, "bbox")
        assert math.isnan(numbers["ap"])
        assert math.isnan(numbers["ar"])


def test_shards_in_any_order_give_the_numbers_of_both(tmp_path: Path) -> None:
    content = lvis_scenes.annotated(5)
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    results = lvis_scenes.detected(content, 5, masks=False)
    masks = lvis_scenes.detected(content, 5, masks=True)
    shards = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    for shard, images in zip(shards, (content["images"][::2], content["images"][1::2]), strict=True):
        with ShardWriter(shard, masks=True) as writer:
            for image in images:
                here = [place for place, each in enumerate(results) if each["image_id"] == image["id"]]
                boxes = np.array([results[place]["bbox"] for place in here]).reshape(-1, 4)
                boxes[:, 2:] += boxes[:, :2]
                writer.add(
                    image["id"],
                    boxes,
                    [results[place]["score"] for place in here],
                    [results[place]["category_id"] for place in here],
                    [masks[place]["segmentation"] for place in here],
                )
    kinds: list[IouType] = ["bbox", "segm"]
    for kind in kinds:
        numbers = compare(content, shards, kind)
        assert flat(evaluate(file, shards[::-1], kind)) == pytest.approx(flat(numbers), nan_ok=True)
        in_memory = evaluate(file, results if kind == "bbox" else masks, kind)
        assert numbers["ap"] == pytest.approx(in_memory["ap"], abs=0.01)  # boxes and scores in float32


def test_results_in_a_file(tmp_path: Path) -> None:
    content = lvis_scenes.annotated(6)
    results = lvis_scenes.detected(content, 6, masks=True)
    for result in results:
        result["segmentation"]["counts"] = result["segmentation"]["counts"].decode()
        result["bbox"] = [0, 0, 5, 5]  # says nothing about the size of the mask
    (tmp_path / "results.json").write_text(json.dumps(results))
    numbers = compare(content, tmp_path / "results.json", "segm")
    without_boxes = evaluate(content, lvis_scenes.detected(content, 6, masks=True), "segm")
    assert flat(numbers) == pytest.approx(flat(without_boxes), nan_ok=True)
    assert numbers["ap_l"] > 0


def test_ids_from_zero_match_too() -> None:
    content = lvis_scenes.annotated(7)
    results = lvis_scenes.detected(content, 7, masks=False)
    numbers = evaluate(content, results)
    for annotation in content["annotations"]:
        annotation["id"] -= 1
    assert flat(compare(content, results, "bbox")) == pytest.approx(flat(numbers), nan_ok=True)


# -- by hand -----------------------------------------------------------------------------------------------------


def precision_half_way(at_the_end: float) -> float:
    """AP with precision 1 up to recall 0.5, which is 51 of the 101 points, and this one from there."""
    return (51 + 50 * at_the_end) / 101


@pytest.mark.parametrize(
    ("negative", "unfinished", "ap"),
    [
        ([], [], precision_half_way(2 / 3)),  # nothing is known of image 2
        ([1], [], precision_half_way(2 / 4)),  # category 1 is absent from image 2: its detection there is false
        ([1], [1], 1),  # what is not annotated may still be there: no detection without a match is false
        ([1, 2], [], precision_half_way(2 / 4)),  # category 2 has no annotation and so no AP
    ],
)
def test_federated_annotations(negative: list[int], unfinished: list[int], ap: float) -> None:
    content = lvis_scenes.scene(neg_category_ids=negative, not_exhaustive_category_ids=unfinished)
    numbers = compare(content, SCORES, "bbox")
    assert numbers["per_class"] == pytest.approx({1: ap, 2: math.nan}, nan_ok=True)
    assert (numbers["ap"], numbers["ap_r"], numbers["ar"]) == pytest.approx((ap, ap, 1))
    assert math.isnan(numbers["ap_f"])


def test_exhaustive_annotations_have_no_unknown() -> None:
    numbers = compare(lvis_scenes.scene(), SCORES, "bbox", exhaustive=True)
    assert numbers["ap"] == pytest.approx(precision_half_way(2 / 4))


def test_the_limit_is_over_all_categories() -> None:
    numbers = compare(lvis_scenes.scene(), SCORES, "bbox", max_dets=2, exhaustive=True)
    assert numbers["ap"] == pytest.approx(51 / 101)
    assert numbers["ar"] == pytest.approx(0.5)


def with_masks(box: Json) -> Json:
    """The same with the box's rectangle as mask: run-length encoded, of annotations that are no crowd a polygon."""
    from hotcoco import mask

    x, y, width, height = box["bbox"]
    if "score" in box or box.get("iscrowd"):
        return {**box, "segmentation": mask.fr_bbox([x, y, width, height], 100, 100)}
    return {**box, "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]]}


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize(("iscrowd", "ap"), [(1, precision_half_way(2 / 4)), (0, 67 / 101 / 3)])
def test_detections_in_a_crowd_region_are_left_out(iscrowd: int, ap: float, iou_type: IouType) -> None:
    """As in COCO: any number of them, if half of each is inside, and the region itself need not be found.

    As an ordinary annotation the region is the third of category 1, and too large for any detection: the best two are
    false, the third is right, the sixth and last too. Precision is 1/3 at recall 1/3 and at 2/3.
    """
    content = lvis_scenes.scene()
    region = {"id": 3, "image_id": 1, "category_id": 1, "bbox": [40, 0, 60, 50], "area": 3000, "iscrowd": iscrowd}
    content["annotations"] = [with_masks(each) for each in [*content["annotations"], region]]
    inside = [lvis_scenes.found(0.95, [45, 5, 10, 10]), lvis_scenes.found(0.96, [60, 20, 20, 20])]
    results = [with_masks(each) for each in SCORES + inside]
    assert evaluate(content, results, iou_type, exhaustive=True)["ap"] == pytest.approx(ap)


def test_ignore_flags_mean_nothing_in_coco_format() -> None:
    content = lvis_scenes.scene()
    content["annotations"][0]["ignore"] = 1
    assert compare(content, SCORES, "bbox", exhaustive=True)["ap"] == pytest.approx(precision_half_way(2 / 4))


def test_groups_of_a_file_without() -> None:
    content = lvis_scenes.scene()
    for category in content["categories"]:
        del category["frequency"]
    numbers = compare(content, SCORES, "bbox", exhaustive=True, groups={1: "c", 2: "c"})
    assert numbers["ap_c"] == numbers["ap"]
    nothing = compare(content, SCORES, "bbox", exhaustive=True)
    assert nothing["ap"] == numbers["ap"]
    assert math.isnan(nothing["ap_c"])
