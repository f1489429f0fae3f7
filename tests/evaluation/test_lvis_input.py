"""Annotations and results that are not as expected: each is one message with the file and the record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lvis_scenes
import pytest
from lvis_scenes import RIGHT, SCORES, Json

from eqbench.errors import InputError
from eqbench.evaluation.failure import EvaluationFailed
from eqbench.evaluation.lvis import evaluate
from eqbench.evaluation.predictions import ShardWriter


def without(part: str, key: str, place: int = 1) -> Callable[[Json], object]:
    return lambda content: content[part][place].pop(key)


def having(part: str, place: int = 1, **values: Any) -> Callable[[Json], object]:
    return lambda content: content[part][place].update(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            without("images", "neg_category_ids"),
            "image {image}: neg_category_ids is missing, expected a list; LVIS files",
        ),
        (without("images", "not_exhaustive_category_ids"), "image {image}: not_exhaustive_category_ids is missing"),
        (having("images", neg_category_ids=None), "image {image}: neg_category_ids is null, expected a list"),
        (having("images", not_exhaustive_category_ids=3), "image {image}: not_exhaustive_category_ids is 3"),
        (without("categories", "frequency"), "category {category}: frequency is missing, expected r, c or f"),
        (having("categories", frequency="x"), "category {category}: frequency is 'x', expected r, c or f"),
        (having("annotations", iscrowd=1), "annotation {annotation}: iscrowd is 1, but LVIS has no crowd regions"),
        (having("annotations", ignore=1), "annotation {annotation} is to be ignored"),
        (having("annotations", category_id=2), "annotation {annotation}: category_id 2 is no category's"),
        (having("annotations", image_id=2), "1 annotation(s) have an image_id that is no image's"),
        (having("annotations", bbox=[0, 0, math.nan, 1]), ""),
        (without("annotations", "area"), "annotation {annotation}: area is missing or empty"),
        (having("annotations", segmentation=[]), "annotation {annotation}: segmentation is missing or empty"),
        (lambda content: content["annotations"].append(content["annotations"][0]), "occurs more than once"),
        (lambda content: content.update(images=[], annotations=[]), "has 0 images and 12 categories"),
        (lambda content: content.update(annotations=3), "cannot be read as annotations in LVIS or COCO format"),
    ],
)
def test_annotations_that_are_not_as_expected(tmp_path: Path, damage: Callable[[Json], object], message: str) -> None:
    content = lvis_scenes.annotated(8)
    results = lvis_scenes.detected(content, 8, masks=True)
    parts = {"image": "images", "annotation": "annotations", "category": "categories"}
    ids = {name: content[part][1]["id"] for name, part in parts.items()}
    damage(content)
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    for source in (tmp_path / "annotations.json", content):
        with pytest.raises(InputError) as caught:
            evaluate(source, results, "segm")
        assert message.format(**ids) in str(caught.value)
        assert str(caught.value).startswith(str(source) if isinstance(source, Path) else "annotations: ")


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    text = json.dumps(lvis_scenes.annotated(8))
    for length in (0, 1, len(text) // 2):
        (tmp_path / "annotations.json").write_text(text[:length])
        with pytest.raises(InputError, match=r"annotations\.json: cannot be read as annotations"):
            evaluate(tmp_path / "annotations.json", [])


def test_the_official_package_knows_no_crowd_regions() -> None:
    content = lvis_scenes.scene()
    content["annotations"][0]["iscrowd"] = 1
    with pytest.raises(
        InputError, match="annotation 1 is a crowd region, which the official lvis package does not know"
    ):
        evaluate(content, SCORES, evaluator="lvis", exhaustive=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "a prediction has image_id 5, which the annotation file does not have"),
        ({"category_id": 5}, "a prediction has category_id 5"),
        ({"score": math.nan}, "image 1: the score of a prediction is not finite"),
        ({"bbox": [0, 0, math.inf, 1]}, "image 1: the box of a prediction is not finite"),
        ({"bbox": [0, 0, 1]}, "four as bbox in every result"),
        ({"score": None}, "image 1: the score of a prediction is not finite"),
        ({"score": "high"}, "a number as score"),
    ],
)
def test_results_that_are_not_as_expected(tmp_path: Path, change: Json, message: str) -> None:
    results = [*SCORES, SCORES[0] | change]
    with pytest.raises(InputError, match=message):
        evaluate(lvis_scenes.scene(), results, exhaustive=True)


def shard_of(path: Path, category: int) -> Path:
    with ShardWriter(path, masks=False) as writer:
        writer.add(1, [RIGHT], [0.5], [category])
        writer.add(2, [], [], [])
    return path


def test_results_without_what_is_judged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="results: result 0 has no 'segmentation'"):
        evaluate(lvis_scenes.scene(), SCORES, "segm", exhaustive=True)
    with pytest.raises(InputError, match=r"result 0: segmentation .*, expected a run-length encoding"):
        evaluate(lvis_scenes.scene(), [SCORES[0] | {"segmentation": [[1, 1, 2, 2, 3, 1]]}], "segm", exhaustive=True)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"results\.json: holds a dict, expected a list"):
        evaluate(lvis_scenes.scene(), tmp_path / "results.json", exhaustive=True)
    with ShardWriter(tmp_path / "boxes.arrow", masks=False) as writer:
        writer.add(2, [], [], [])
    with pytest.raises(EvaluationFailed, match="written without masks"):
        evaluate(lvis_scenes.scene(), tmp_path / "boxes.arrow", "segm", exhaustive=True)
    with pytest.raises(EvaluationFailed, match=r"1 of 2 images were not predicted, e\.g\. 1; is a shard missing"):
        evaluate(lvis_scenes.scene(), [tmp_path / "boxes.arrow"], exhaustive=True)
    with pytest.raises(EvaluationFailed, match="prediction has category_id 9"):
        evaluate(lvis_scenes.scene(), [shard_of(tmp_path / "other.arrow", category=9)], exhaustive=True)


@pytest.mark.parametrize("wrong", [{"iou_type": "masks"}, {"evaluator": "coco"}, {"max_dets": 0}])
def test_arguments_that_are_not_as_expected(wrong: Json) -> None:
    with pytest.raises(ValueError, match="expected bbox or segm, hotcoco or lvis, at least 1"):
        evaluate(lvis_scenes.scene(), [], **wrong)
