"""NMS within classes: as one call per class decides, in few calls."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from slow_nms import random_boxes, slow_nms, slow_soft_nms
from torch import Tensor

from eqbench.models import mmcv_ops
from eqbench.models.mmcv_ops import class_wise_nms
from eqbench.models.mmcv_ops.nms import nms


def per_class(boxes: Tensor, scores: Tensor, labels: Tensor, **options: Any) -> list[int]:
    """Positions kept, best first, one nms call per class."""
    kept = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        kept += members[nms(boxes[members], scores[members], **options)].tolist()
    return sorted(kept, key=lambda index: (-float(scores[index]), index))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Boxes in each call of torchvision's nms, from here on."""
    import torchvision

    counted, real = list[int](), torchvision.ops.nms

    def counting(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Any:
        counted.append(len(boxes))
        return real(boxes, scores, iou_threshold)

    monkeypatch.setattr(torchvision.ops, "nms", counting)
    return counted


def lvis_image(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes in pairs that overlap, of the same one of 1,203 classes; fractions and negative coordinates."""
    torch.manual_seed(0)
    boxes, scores = random_boxes(count, size=1_300.0)
    boxes = boxes + torch.rand(count, 4) * 0.1 - 50
    boxes[count // 2 :] = boxes[: count // 2] + torch.rand(count // 2, 4) * 4
    return boxes, scores, torch.randint(0, 1203, (count // 2,)).repeat(2)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("count", "most_calls"), [(16_384, 1), (16_386, 9)])
def test_1203_classes_take_few_calls(calls: list[int], count: int, most_calls: int, offset: int) -> None:
    boxes, scores, labels = lvis_image(count)
    expected = per_class(boxes, scores, labels, iou_threshold=0.5, offset=offset)
    calls.clear()
    options = {"type": "nms", "iou_threshold": 0.5, "offset": offset, "split_thr": 10_000}
    dets, keep = mmcv_ops.batched_nms(boxes, scores, labels, options)
    assert len(calls) <= most_calls
    assert max(calls) <= 16_384  # a GPU takes memory by the square of it
    assert sum(calls) == count
    assert count // 2 < len(keep) < count
    assert keep.tolist() == expected
    assert torch.equal(dets, torch.cat((boxes[keep], scores[keep, None]), 1))
    fewer = mmcv_ops.batched_nms(boxes, scores, labels, options | {"max_num": 300})
    assert torch.equal(fewer[0], dets[:300])
    assert torch.equal(fewer[1], keep[:300])


def test_one_class_of_many_boxes_takes_one_call(calls: list[int]) -> None:
    boxes, scores, labels = lvis_image(17_000)
    expected = nms(boxes.double(), scores, iou_threshold=0.5, offset=0).tolist()
    calls.clear()
    options = {"iou_threshold": 0.5, "split_thr": 10_000, "max_num": 1_000}
    assert mmcv_ops.batched_nms(boxes, scores, labels, options, class_agnostic=True)[1].tolist() == expected[:1_000]
    assert calls == [17_000]


def test_more_boxes_take_several_calls_of_whole_classes(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_wise_nms, "ONE_CALL", 100)
    monkeypatch.setitem(class_wise_nms.BOXES_PER_CALL, "cpu", 100)
    boxes, scores = random_boxes(1_000)
    labels = torch.randint(0, 40, (1_000,))
    labels[:300] = 7  # more than one call may have
    expected = per_class(boxes, scores, labels, iou_threshold=0.5, offset=0)
    calls.clear()
    _, keep = mmcv_ops.batched_nms(boxes, scores, labels, {"iou_threshold": 0.5})
    assert keep.tolist() == expected
    assert len(calls) <= 10
    assert sum(calls) == 1_000


def test_options_of_batched_nms() -> None:
    boxes, scores = random_boxes(400)
    labels = torch.arange(400) % 5
    everything = per_class(boxes, scores, labels, iou_threshold=0.5, offset=0)

    def keep(**options: Any) -> list[int]:
        return mmcv_ops.batched_nms(boxes, scores, labels, options)[1].tolist()

    assert keep(iou_threshold=0.5, max_num=7, split_thr=10) == everything[:7]
    assert keep(iou_thr=0.5) == everything
    confident = [index for index in everything if scores[index] > 0.5]
    assert keep(iou_threshold=0.5, score_threshold=0.5) == confident
    assert keep(iou_threshold=0.5, class_agnostic=True) == slow_nms(boxes, scores, 0.5, 0)
    dets, order = mmcv_ops.batched_nms(boxes, scores, labels, None)
    assert order.tolist() == scores.argsort(descending=True, stable=True).tolist()
    assert torch.equal(dets[:, 4], scores[order])
    dets, kept = mmcv_ops.batched_nms(boxes[:0], scores[:0], labels[:0], {"iou_threshold": 0.5})
    assert (dets.shape, kept.shape) == ((0, 5), (0,))


def test_a_box_that_is_not_finite_does_not_change_the_others() -> None:
    boxes, scores = random_boxes(100)
    labels = torch.arange(100) % 3
    expected = per_class(boxes[1:], scores[1:], labels[1:], iou_threshold=0.5, offset=0)
    boxes[0] = torch.tensor([math.nan, 0, math.inf, 4])
    _, keep = mmcv_ops.batched_nms(boxes, scores, labels, {"iou_threshold": 0.5})
    assert [index - 1 for index in keep.tolist() if index] == expected


def soft_per_class(boxes: Tensor, scores: Tensor, labels: Tensor, method: str, offset: int) -> dict[int, float]:
    """Decayed score of each position kept, best first, one class at a time."""
    decayed = dict[int, float]()
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        kept = slow_soft_nms(boxes[members], scores[members], 0.3, 0.5, 0.02, method, offset)
        decayed |= {int(members[index]): score for index, score in kept if score >= 0.02}
    return dict(sorted(decayed.items(), key=lambda item: (-item[1], item[0])))


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
def test_soft_nms_of_1203_classes_equals_loops(offset: int, method: str, class_agnostic: bool) -> None:
    boxes, scores, labels = lvis_image(400)
    labels[:200] += torch.arange(200) % 2  # pairs of one class, and pairs of two
    labels[50:90] = 1202
    boxes, scores = boxes.double(), scores.double()
    boxes[:, 2:] += 1
    expected = soft_per_class(boxes, scores, labels * (not class_agnostic), method, offset)
    options = {"type": "soft_nms", "iou_thr": 0.3, "min_score": 0.02, "method": method, "offset": offset}
    dets, keep = mmcv_ops.batched_nms(boxes, scores, labels, options, class_agnostic)
    assert keep.tolist() == list(expected)
    torch.testing.assert_close(dets[:, 4].tolist(), list(expected.values()))
    assert torch.equal(dets[:, :4], boxes[keep])
    fewer = mmcv_ops.batched_nms(boxes, scores, labels, options | {"max_num": 9}, class_agnostic)
    assert torch.equal(fewer[0], dets[:9])


def test_soft_nms_keeps_the_best_box_or_none_of_none() -> None:
    boxes, scores = random_boxes(5)
    options = {"type": "soft_nms", "min_score": 2.0}
    dets, keep = mmcv_ops.batched_nms(boxes, scores, torch.arange(5), options)
    assert keep.tolist() == [scores.argmax()]
    dets, keep = mmcv_ops.batched_nms(boxes[:0], scores[:0], torch.arange(0), options)
    assert (dets.shape, keep.shape) == ((0, 5), (0,))
