"""mmdet's detectors on the operators that torchvision serves: they train, their gradients are right, they predict."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

NAMES = ["faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet", "atss", "fcos", "paa", "gfl", "yolox", "tood"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CLASSES, MOST = 5, 12

# What serves one level of the feature pyramid only; no object and no sampled anchor may fall on that level.
OF_ONE_LEVEL = re.compile(r"\.(scales|fpn_convs|multi_level_\w+)\.[1-4]\.")


@pytest.fixture(scope="module", params=DEVICES)
def seen(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """By name of the detector; one process for all of them, since importing mmdet takes most of the time."""
    program = str(Path(__file__).with_name("mmcv_detectors.py"))
    command = [sys.executable, "-W", "ignore", program, request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])  # mmdet prints too
    return answers


@pytest.fixture
def facts(seen: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    assert "error" not in seen[name], seen[name]["error"]
    return seen[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_a_training_step(facts: dict[str, Any], name: str) -> None:
    step = facts["step"]
    assert step["losses"]["loss"] > 0
    assert all(math.isfinite(value) for value in step["losses"].values()), step["losses"]
    assert all(math.isfinite(value) for value in facts["without_objects"].values())
    assert len(step["gradients"]) > 40
    assert [parameter for parameter, norm in step["gradients"].items() if norm is None or not math.isfinite(norm)] == []
    still = {parameter for parameter, norm in step["gradients"].items() if norm == 0}
    assert [parameter for parameter in still if not OF_ONE_LEVEL.search(parameter)] == []
    assert step["gradients"].keys() - step["moved"] <= still


@pytest.mark.parametrize("name", NAMES)
def test_its_gradients_are_difference_quotients(facts: dict[str, Any], name: str) -> None:
    parts = {"backbone", "neck", "rpn_head", "roi_head"} if "rcnn" in name else {"backbone", "neck", "bbox_head"}
    assert facts["derivatives"].keys() == parts
    for part, (derivative, quotient, norm) in facts["derivatives"].items():
        assert norm > 0
        assert abs(derivative - quotient) <= 1e-5 * norm, (part, derivative, quotient, norm)


@pytest.mark.parametrize("name", NAMES)
def test_it_predicts(facts: dict[str, Any], name: str) -> None:
    for image in facts["many"]:
        count, (height, width) = len(image["scores"]), image["size"]
        assert (0 < count <= MOST) or (count and name == "yolox")  # which has no limit
        assert len(image["boxes"]) == len(image["labels"]) == count
        assert all(0 <= score <= 1 for score in image["scores"])
        if name != "paa":  # which moves boxes and rates them anew after the suppression
            assert image["scores"] == sorted(image["scores"], reverse=True)
        assert set(image["labels"]) <= set(range(CLASSES))
        assert all(math.isfinite(value) for box in image["boxes"] for value in box)
        if name not in ("yolox", "tood"):  # which do not cut boxes off at the border
            assert all(-1e-3 <= x <= z <= width + 1e-3 for x, _, z, _ in image["boxes"])
            assert all(-1e-3 <= y <= w <= height + 1e-3 for _, y, _, w in image["boxes"])
        assert image["masks"] == ([count, height, width] if name in ("mask_rcnn", "cascade_rcnn") else None)


@pytest.mark.parametrize("name", NAMES)
def test_it_predicts_nothing_where_no_score_is_high_enough(facts: dict[str, Any], name: str) -> None:
    for image in facts["none"]:
        assert image["scores"] == image["labels"] == image["boxes"] == []
        assert image["masks"] == ([0, *image["size"]] if name in ("mask_rcnn", "cascade_rcnn") else None)
