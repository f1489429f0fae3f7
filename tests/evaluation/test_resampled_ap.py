"""Average precision of samples of the images against that of files that hold the images so often."""

from __future__ import annotations

import math
from typing import Any

import lvis_scenes
import numpy as np
import pytest
from lvis_scenes import Json
from numpy.typing import NDArray

from eqbench.evaluation import resampled_ap
from eqbench.evaluation.ground_truth import GroundTruth
from eqbench.evaluation.lvis import IouType, evaluate
from eqbench.evaluation.matched_detections import match
from eqbench.evaluation.resampled_ap import ResampledAP

NAMES = {"ap", "ap50", "ap75", "ap_f", "ap_c", "ap_r", "ap50_f", "ap50_c", "ap50_r", "ar"}


def resampled(content: Json, results: Any, iou_type: IouType = "bbox", exhaustive: bool = False) -> ResampledAP:
    frequency = {category["id"]: category["frequency"] for category in content["categories"]}
    matches = match(GroundTruth(content, exhaustive), results, iou_type)
    return ResampledAP({"": matches}, [frequency[key] for key in sorted(frequency)])


def assert_same(found: dict[str, float], expected: Json) -> None:
    assert set(found) == NAMES
    for name, value in found.items():
        assert value == pytest.approx(100 * expected[name], abs=1e-9, rel=0, nan_ok=True), name


def drawn(content: Json, results: list[Json], times: NDArray[Any]) -> tuple[Json, list[Json]]:
    """Every image as often as `times` says, by ascending id, as an image of its own."""
    copies = [
        (image, copy)
        for image, number in zip(sorted(content["images"], key=lambda each: each["id"]), times, strict=True)
        for copy in range(int(number))
    ]
    images: list[Json] = []
    annotations: list[Json] = []
    found: list[Json] = []
    for number, (image, _) in enumerate(copies, 1):
        images.append({**image, "id": number})
        here = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        annotations += [
            {**each, "image_id": number, "id": len(annotations) + place} for place, each in enumerate(here, 1)
        ]
        found += [{**each, "image_id": number} for each in results if each["image_id"] == image["id"]]
    return {**content, "images": images, "annotations": annotations}, found


def without_ties(results: list[Json]) -> list[Json]:
    """Of equal scores in an image it matters which comes first, and copies of the image are not in order."""
    return [{**each, "score": each["score"] + 1e-6 * place} for place, each in enumerate(results)]


@pytest.mark.parametrize(
    ("seed", "iou_type", "exhaustive"), [(0, "bbox", False), (1, "segm", False), (2, "bbox", True), (3, "segm", True)]
)
def test_every_image_once_is_the_average_precision_of_the_evaluation(
    seed: int, iou_type: IouType, exhaustive: bool
) -> None:
    """Scores with many ties; with `exhaustive`, crowd regions too."""
    content = lvis_scenes.annotated(seed)
    results = lvis_scenes.detected(content, seed, masks=iou_type == "segm")
    if exhaustive:
        content["annotations"] = [{**each, "iscrowd": each["id"] % 5 == 0} for each in content["annotations"]]
    expected = evaluate(content, results, iou_type, exhaustive=exhaustive)
    found = resampled(content, results, iou_type, exhaustive)
    assert_same(found.of_all(), expected)
    assert found.number == len(content["images"])


@pytest.mark.parametrize("exhaustive", [False, True])
def test_samples_are_as_files_that_hold_the_images_so_often(exhaustive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampled_ap, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(resampled_ap, "NUMBERS_AT_ONCE", 15)
    content = lvis_scenes.annotated(4, images=12)
    results = without_ties(lvis_scenes.detected(content, 4, 20, masks=False))
    times = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=7)
    found = resampled(content, results, exhaustive=exhaustive).resampled(times)
    for place, row in enumerate(times):
        expected = evaluate(*drawn(content, results, row), exhaustive=exhaustive)
        assert_same({name: float(values[place]) for name, values in found.items()}, expected)


def test_shares_that_no_multiple_of_a_hundredth_is_equal_to() -> None:
    """Recalls of k / 7 and k / 100, where rounding decides whether a recall is reached."""
    for number in (7, 100):
        content = lvis_scenes.scene(neg_category_ids=[], not_exhaustive_category_ids=[])
        boxes = [[10.0 * place, 10.0, 5.0, 5.0] for place in range(number)]
        content["annotations"] = [
            {"id": place, "image_id": 1, "category_id": 1, "bbox": box, "area": 25.0}
            for place, box in enumerate(boxes, 1)
        ]
        scores = np.linspace(0.9, 0.1, number)
        results = [lvis_scenes.found(float(score), box) for score, box in zip(scores, boxes, strict=True)][: number - 2]
        assert_same(resampled(content, results).of_all(), evaluate(content, results))


def test_without_detections_and_without_annotations() -> None:
    content = lvis_scenes.annotated(0)
    none: list[Json] = []
    assert resampled(content, none).of_all()["ap"] == 0
    results = lvis_scenes.detected(content, 0, masks=False)
    content["annotations"] = []
    assert all(math.isnan(value) for value in resampled(content, results).of_all().values())


def test_a_group_that_is_in_no_drawn_image_has_no_number() -> None:
    content = lvis_scenes.scene(neg_category_ids=[], not_exhaustive_category_ids=[])
    found = resampled(content, lvis_scenes.SCORES).resampled(np.array([[2, 0], [0, 2]]))
    assert math.isnan(found["ap"][1])
    assert found["ap"][0] == found["ap_r"][0] > 0
    assert np.isnan(found["ap_f"]).all()


def test_the_same_images_have_the_same_annotations() -> None:
    content = lvis_scenes.annotated(0)
    runs = [resampled(content, lvis_scenes.detected(content, seed, masks=False)) for seed in (0, 1)]
    assert runs[0].same_images(runs[1])
    del content["annotations"][0]
    assert not runs[0].same_images(resampled(content, []))


def test_more_detections_are_resampled_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    content = lvis_scenes.annotated(0)
    run = resampled(content, lvis_scenes.detected(content, 0, masks=False))
    assert run.resamples == resampled_ap.MOST
    monkeypatch.setattr(resampled_ap, "WORK", 10**7)
    assert resampled_ap.LEAST < run.resamples < resampled_ap.MOST
    monkeypatch.setattr(resampled_ap, "WORK", 1)
    assert run.resamples == resampled_ap.LEAST
