"""Hard and soft NMS, and the names of the suppressed boxes, against plain loops."""

from __future__ import annotations

import pytest
import torch
from slow_nms import random_boxes, slow_nms, slow_nms_match, slow_soft_nms

from eqbench.models.mmcv_ops.nms import nms, nms_match, softnms


@pytest.mark.parametrize("count", [0, 1, 2, 150])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6])
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_loops(offset: int, threshold: float, count: int) -> None:
    for seed in range(3):
        boxes, scores = random_boxes(count, seed=seed)
        kept = nms(boxes, scores, iou_threshold=threshold, offset=offset)
        assert kept.dtype == torch.int64
        assert kept.tolist() == slow_nms(boxes, scores, threshold, offset)


@pytest.mark.parametrize("count", [0, 1, 80])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
def test_soft_nms_equals_loops(offset: int, method: str, count: int) -> None:
    boxes, scores = (tensor.double() for tensor in random_boxes(count, seed=1))
    boxes[:, 2:] += 1
    dets = boxes.new_empty(count, 5)
    number = ("naive", "linear", "gaussian").index(method)
    kept = softnms(boxes, scores, dets, iou_threshold=0.3, sigma=0.5, min_score=0.05, method=number, offset=offset)
    expected = slow_soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    assert kept.tolist() == [index for index, _ in expected]
    torch.testing.assert_close(dets[: len(kept), :4], boxes[kept])
    torch.testing.assert_close(dets[: len(kept), 4].tolist(), [score for _, score in expected])


@pytest.mark.parametrize("count", [0, 1, 100])
def test_nms_match_equals_loops(count: int) -> None:
    for seed in range(3):
        boxes, scores = random_boxes(count, seed=seed)
        groups = nms_match(torch.cat((boxes, scores[:, None]), 1), iou_threshold=0.35)
        assert groups == slow_nms_match(boxes, scores, 0.35)
