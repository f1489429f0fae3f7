"""The operators that torchvision serves to mmcv, each against a slow explicit reference; mmdet runs on them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from eqbench.errors import EnvironmentProblem
from eqbench.models import mmcv_ops
from eqbench.models.mmcv_ops import class_wise_nms
from eqbench.models.mmcv_ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from eqbench.models.mmcv_ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from eqbench.models.mmcv_ops.nms import nms, nms_match, softnms
from eqbench.models.mmcv_ops.roi_align import roi_align_backward, roi_align_forward

NONE = torch.empty(0)


def random_boxes(count: int, size: float = 60.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) on whole pixels, so that overlaps are often equal; scores (N,) of 20 values, so that they tie."""
    generator = torch.Generator().manual_seed(seed)
    corner = (torch.rand(count, 2, generator=generator) * size).round()
    extent = (torch.rand(count, 2, generator=generator) * 30).round()
    scores = torch.randint(1, 21, (count,), generator=generator) / 20
    return torch.cat((corner, corner + extent), 1), scores


def overlap(a: list[float], b: list[float], offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else math.nan


def slow_nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    rows, kept = boxes.tolist(), list[int]()
    for index in sorted(range(len(rows)), key=lambda index: -float(scores[index])):
        if not any(overlap(rows[index], rows[other], offset) > threshold for other in kept):
            kept.append(index)
    return kept


def slow_soft_nms(
    boxes: Tensor, scores: Tensor, threshold: float, sigma: float, least: float, method: str, offset: int
) -> list[tuple[int, float]]:
    rows, rest, chosen = boxes.tolist(), dict(enumerate(scores.tolist())), list[tuple[int, float]]()
    while rest:
        best = max(rest, key=lambda index: (rest[index], -index))
        chosen.append((best, rest.pop(best)))
        for index in list(rest):
            iou = overlap(rows[best], rows[index], offset)
            if method == "gaussian":
                rest[index] *= math.exp(-(iou**2) / sigma)
            elif iou >= threshold:
                rest[index] *= 1 - iou if method == "linear" else 0
            if rest[index] < least:
                del rest[index]
    return chosen


# -- nms ---------------------------------------------------------------------------------------------------------


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


def test_nms_match_names_each_box_once_beside_its_suppressor() -> None:
    boxes, scores = random_boxes(100, seed=2)
    boxes[:, 2:] += 1
    groups = nms_match(torch.cat((boxes, scores[:, None]), 1), iou_threshold=0.35)
    assert sorted(index for group in groups for index in group) == list(range(100))
    assert [group[0] for group in groups] == slow_nms(boxes, scores, 0.35, 0)
    rows = boxes.tolist()
    assert all(overlap(rows[kept], rows[other], 0) >= 0.35 for kept, *others in groups for other in others)


# -- nms within classes ------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("offset", [0, 1])
def test_1203_classes_take_one_call(calls: list[int], offset: int) -> None:
    boxes, scores = random_boxes(12_000, size=1_300.0)
    boxes = boxes + torch.rand(12_000, 4) * 0.1 - 50  # fractions and negative coordinates
    boxes[6_000:] = boxes[:6_000] + torch.rand(6_000, 4) * 4
    labels = torch.randint(0, 1203, (6_000,)).repeat(2)
    expected = per_class(boxes, scores, labels, iou_threshold=0.5, offset=offset)
    calls.clear()
    dets, keep = mmcv_ops.batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.5, "offset": offset})
    assert calls == [12_000]
    assert 6_000 < len(keep) < 12_000
    assert keep.tolist() == expected
    assert torch.equal(dets, torch.cat((boxes[keep], scores[keep, None]), 1))


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


# -- RoI Align ---------------------------------------------------------------------------------------------------


def bilinear(cells: Tensor, y: float, x: float) -> Tensor:
    """Value (C,) at a point of a feature map (C, H, W); 0 beyond one cell outside, the border's value within it."""
    height, width = cells.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return cells.new_zeros(len(cells))
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = cells[:, top, left] * (left + 1 - x) + cells[:, top, right] * (x - left)
    lower = cells[:, bottom, left] * (left + 1 - x) + cells[:, bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def slow_roi_align(features: Tensor, rois: Tensor, bins: int, scale: float, ratio: int, aligned: bool) -> Tensor:
    pooled = features.new_zeros(len(rois), features.shape[1], bins, bins)
    for number, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - 0.5 * aligned for corner in corners)
        width, height = ((x2 - x1), (y2 - y1)) if aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
        rows, columns = ratio or math.ceil(height / bins), ratio or math.ceil(width / bins)
        for i, j in ((i, j) for i in range(bins) for j in range(bins)):
            samples = [
                bilinear(
                    features[int(image)],
                    y1 + (i + (row + 0.5) / rows) * height / bins,
                    x1 + (j + (column + 0.5) / columns) * width / bins,
                )
                for row in range(rows)
                for column in range(columns)
            ]
            if samples:
                pooled[number, :, i, j] = torch.stack(samples).mean(0)
    return pooled


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_equals_direct_sampling(aligned: bool, ratio: int, dtype: torch.dtype) -> None:
    features = torch.randn(2, 3, 8, 9, dtype=torch.float64).to(dtype).requires_grad_()
    rois = torch.tensor([[0, 1, 2, 17, 13], [1, -3, 4, 20, 30], [1, 5, 5, 5, 5], [0, 8, 0, 9, 2]], dtype=dtype)
    common: dict[str, Any] = {"aligned_height": 2, "aligned_width": 2, "spatial_scale": 0.5, "sampling_ratio": ratio}
    common |= {"pool_mode": 1, "aligned": aligned}
    output, gradient = features.new_zeros(4, 3, 2, 2), torch.zeros_like(features)
    expected = slow_roi_align(features.double(), rois.double(), 2, 0.5, ratio, aligned)
    upstream = torch.randn_like(expected).to(dtype)
    with torch.no_grad():
        roi_align_forward(features, rois, output, NONE, NONE, **common)
        roi_align_backward(upstream, rois, NONE, NONE, gradient, **common)
    tolerance = 2e-3 if dtype == torch.float16 else 1e-5
    torch.testing.assert_close(output, expected.to(dtype), rtol=tolerance, atol=tolerance)
    (true_gradient,) = torch.autograd.grad(expected, features, upstream.double())
    torch.testing.assert_close(gradient, true_gradient.to(dtype), rtol=tolerance, atol=tolerance)


def test_maximum_of_roi_align_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match=r"'roi_align' with pool_mode='max' needs an mmcv compiled"):
        roi_align_forward(
            *(NONE,) * 5,
            aligned_height=1,
            aligned_width=1,
            spatial_scale=1.0,
            sampling_ratio=0,
            pool_mode=0,
            aligned=True,
        )


# -- sigmoid focal loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_sigmoid_focal_loss_equals_its_formula(gamma: float, weighted: bool) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(12, 5, dtype=torch.float64) * 4).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 5, 5, 0, 1, -1, 2, 3])  # 5 and -1 are background
    weight = torch.rand(5, dtype=torch.float64) if weighted else logits.new_empty(0)
    p = logits.sigmoid()
    expected = -(1 - 0.3) * p**gamma * (1 - p).log()
    rows = [(n, int(t)) for n, t in enumerate(target) if 0 <= t < 5]
    for n, t in rows:
        expected[n, t] = -0.3 * (1 - p[n, t]) ** gamma * p[n, t].log()
        expected[n] *= weight[t] if weighted else 1
    output, gradient = torch.zeros_like(logits), torch.zeros_like(logits)
    with torch.no_grad():
        sigmoid_focal_loss_forward(logits, target, weight, output, gamma=gamma, alpha=0.3)
        sigmoid_focal_loss_backward(logits, target, weight, gradient, gamma=gamma, alpha=0.3)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits)[0])


def test_sigmoid_focal_loss_of_extreme_and_no_logits_is_finite() -> None:
    for logits in (torch.tensor([[-200.0, 200.0], [200.0, -200.0]]), torch.empty(0, 2)):
        target, output, gradient = torch.ones(len(logits)).long(), torch.ones_like(logits), torch.ones_like(logits)
        sigmoid_focal_loss_forward(logits, target, NONE, output, gamma=2.0, alpha=0.25)
        sigmoid_focal_loss_backward(logits, target, NONE, gradient, gamma=2.0, alpha=0.25)
        expected = torch.tensor([[0.0, 0.0], [150.0, 50.0]])[: len(logits)]
        torch.testing.assert_close(output, expected)
        assert gradient.isfinite().all()


# -- deformable convolution --------------------------------------------------------------------------------------


PLAIN: dict[str, Any] = {"kW": 3, "kH": 3, "dW": 2, "dH": 1, "padW": 1, "padH": 2, "dilationW": 1, "dilationH": 2}
PLAIN |= {"group": 2, "deformable_group": 2, "im2col_step": 1}
MODULATED: dict[str, Any] = {"kernel_h": 3, "kernel_w": 3, "stride_h": 1, "stride_w": 2, "pad_h": 2, "pad_w": 1}
MODULATED |= {"dilation_h": 2, "dilation_w": 1, "group": 2, "deformable_group": 2}
TENSORS = {"input": (2, 4, 6, 7), "offset": (2, 36, 6, 4), "mask": (2, 18, 6, 4), "weight": (6, 2, 3, 3), "bias": (6,)}


def convolution_inputs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in TENSORS.items()}


def plain(values: dict[str, Tensor]) -> Tensor:
    output = torch.empty(2, 6, 6, 4, dtype=values["input"].dtype)
    deform_conv_forward(values["input"], values["weight"], values["offset"], output, NONE, NONE, **PLAIN)
    return output


def modulated(values: dict[str, Tensor]) -> Tensor:
    output = torch.empty(2, 6, 6, 4, dtype=values["input"].dtype)
    tensors = (values["input"], values["weight"], values["bias"], NONE, values["offset"], values["mask"])
    modulated_deform_conv_forward(*tensors, output, NONE, with_bias=True, **MODULATED)
    return output


def plain_gradients(values: dict[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    into = {name: torch.zeros_like(values[name]) for name in ("input", "offset", "weight")}
    tensors = (values["input"], values["offset"], upstream)
    deform_conv_backward_input(*tensors, into["input"], into["offset"], values["weight"], NONE, **PLAIN)
    deform_conv_backward_parameters(*tensors, into["weight"], NONE, NONE, scale=1, **PLAIN)
    return into


def modulated_gradients(values: dict[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    into = {name: torch.zeros_like(tensor) for name, tensor in values.items()}
    given = (values["input"], values["weight"], values["bias"], NONE, values["offset"], values["mask"], NONE)
    wanted = (into[name] for name in ("input", "weight", "bias", "offset", "mask"))
    modulated_deform_conv_backward(*given, *wanted, upstream, with_bias=True, **MODULATED)
    return into


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_without_offsets_it_is_a_convolution(dtype: torch.dtype) -> None:
    values = {name: tensor.to(dtype) for name, tensor in convolution_inputs().items()}
    values["offset"].zero_()
    values["mask"].fill_(0.5)
    expected = conv2d(values["input"].double(), values["weight"].double(), None, (1, 2), (2, 1), (2, 1), 2)
    tolerance = 1e-2 if dtype == torch.float16 else 1e-9
    torch.testing.assert_close(plain(values).double(), expected, rtol=tolerance, atol=tolerance)
    biased = 0.5 * expected + values["bias"].double()[:, None, None]
    torch.testing.assert_close(modulated(values).double(), biased, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("forward", "backward"), [(plain, plain_gradients), (modulated, modulated_gradients)])
def test_gradients_equal_finite_differences(
    forward: Callable[[dict[str, Tensor]], Tensor], backward: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]
) -> None:
    values = convolution_inputs()
    upstream = torch.randn(2, 6, 6, 4, dtype=torch.float64)
    for name, gradient in backward(values, upstream).items():
        for _ in range(5):
            direction = torch.randn_like(values[name])
            step = 1e-7  # so small that hardly a sample crosses from one cell into another, where it has a kink
            ahead, behind = (forward({**values, name: values[name] + sign * step * direction}) for sign in (1, -1))
            slope = ((ahead - behind) * upstream).sum() / (2 * step)
            torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-5)


# -- in the place of mmcv's extension ------------------------------------------------------------------------------


def run(script: str) -> str:
    """What a fresh interpreter prints that runs `script`: modules put into sys.modules do not reach other tests."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("operator", ["batched_nms", "roi_align"])
def test_it_comes_before_mmdet(monkeypatch: pytest.MonkeyPatch, operator: str) -> None:
    early = ModuleType("mmdet.imported.early")
    exec(f"def {operator}(): pass", vars(early))
    monkeypatch.setitem(sys.modules, early.__name__, early)
    with pytest.raises(EnvironmentProblem, match=r"mmdet\.imported\.early was imported before .*install"):
        mmcv_ops.install()


THROUGH_MMCV = """
import sys
from eqbench.models import mmcv_ops
mmcv_ops.install()
placed = sys.modules["mmcv._ext"]
mmcv_ops.install()
assert sys.modules["mmcv._ext"] is placed

import torch, numpy, mmcv.ops
from mmcv.ops.nms import batched_nms
from eqbench.errors import EnvironmentProblem
assert batched_nms is mmcv.ops.batched_nms is mmcv_ops.batched_nms
assert mmcv_ops.class_wise_nms.other_kinds.__module__ == "mmcv.ops.nms"

def differentiable(function, *tensors):
    tensors = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(function, tensors, eps=1e-7, atol=1e-5, nondet_tol=1e-9, fast_mode=True)

torch.manual_seed(0)
x, w, b = torch.randn(2, 4, 5, 5), torch.randn(6, 2, 3, 3), torch.randn(6)
offset, mask = torch.randn(2, 36, 5, 5), torch.rand(2, 18, 5, 5)
differentiable(lambda x, o, w: mmcv.ops.deform_conv2d(x, o, w, 1, 1, 1, 2, 2), x, offset, w)
modulated = lambda x, o, m, w, b=None: mmcv.ops.modulated_deform_conv2d(x, o, m, w, b, 1, 1, 1, 2, 2)
differentiable(modulated, x, offset, mask, w, b)
differentiable(modulated, x, offset, mask, w)
rois = torch.tensor([[0, 1.2, 0.3, 4.4, 3.9], [1, 0.1, 0.2, 2.2, 4.1]]).double()
differentiable(lambda x: mmcv.ops.roi_align(x, rois, 2, 1.0, 0, "avg", True), x)
labels = torch.tensor([0, 3, 2])
differentiable(lambda s: mmcv.ops.sigmoid_focal_loss(s, labels, 2.0, 0.25, None, "mean"), torch.randn(3, 3))

boxes = numpy.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], dtype=numpy.float32)
scores = numpy.array([0.5, 0.9, 0.7], dtype=numpy.float32)
assert mmcv.ops.nms(boxes, scores, 0.5, offset=1)[1].tolist() == [1, 2]
assert mmcv.ops.soft_nms(boxes, scores, 0.5)[1].tolist() == [1, 2, 0]
assert mmcv.ops.nms_match(numpy.c_[boxes, scores], 0.5)[0].tolist() == [1, 0]
classes = torch.tensor([0, 1, 1])
soft = {"type": "soft_nms", "iou_threshold": 0.5}
assert batched_nms(torch.tensor(boxes), torch.tensor(scores), classes, soft)[1].tolist() == [1, 2, 0]
import mmdet.models, mmdet.structures.mask.structures
mmcv_ops.install()
assert mmcv.ops.get_compiling_cuda_version() == "n/a"
assert not hasattr(placed, "__path__")
try:
    mmcv.ops.roi_pool(x, rois.float(), 2)
except EnvironmentProblem as problem:
    print(problem)
"""


def test_mmcv_calls_them_and_names_what_is_missing() -> None:
    message = run(THROUGH_MMCV)
    assert message.startswith("mmcv's operator 'roi_pool_forward' is compiled code")
    assert "install an mmcv compiled with its operators" in message


COMPILED = """
import sys, types, warnings
class Compiled(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: "compiled"
compiled = sys.modules["mmcv._ext"] = Compiled("mmcv._ext")
from eqbench.models import mmcv_ops
mmcv_ops.install()
import mmcv.ops
assert sys.modules["mmcv._ext"] is compiled
assert mmcv.ops.get_compiler_version() == "compiled"
assert mmcv.ops.batched_nms is mmcv_ops.batched_nms
"""

BROKEN = """
import importlib.abc, sys, warnings
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "mmcv._ext":
            raise ImportError("undefined symbol: _ZN3c10")
sys.meta_path.insert(0, Broken())
from eqbench.models import mmcv_ops
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    mmcv_ops.install()
print(*(warning.message for warning in caught if "mmcv" in str(warning.message)))
import mmcv.ops
assert mmcv.ops.get_compiler_version() == "n/a"
"""


def test_a_compiled_extension_is_left_alone() -> None:
    run(COMPILED)


def test_a_compiled_extension_that_does_not_load_is_reported() -> None:
    expected = "mmcv's compiled operators do not load (undefined symbol: _ZN3c10); torchvision's are used"
    assert expected in run(BROKEN)


DETECTORS = """
import pathlib
from eqbench.models import mmcv_ops
mmcv_ops.install()
import mmdet, torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
register_all_modules()

def sample():
    objects = InstanceData(bboxes=torch.tensor([[8.0, 8, 60, 70], [40, 30, 90, 90]]), labels=torch.tensor([0, 3]))
    shape = {"img_shape": (96, 96), "ori_shape": (96, 96), "batch_input_shape": (96, 96)}
    shape |= {"pad_shape": (96, 96), "scale_factor": (1.0, 1.0)}
    return DetDataSample(metainfo=shape, gt_instances=objects)

configs = pathlib.Path(mmdet.__file__).parent / ".mim" / "configs"
for name in NAMES:
    torch.manual_seed(0)
    config = Config.fromfile(configs / name).model
    config.backbone.update(init_cfg=None)
    head = config.roi_head.bbox_head if "roi_head" in config else config.bbox_head
    head.num_classes = 4
    (config.test_cfg.get("rcnn") or config.test_cfg).score_thr = 0.0
    model = MODELS.build(config).train()
    images = torch.rand(1, 3, 96, 96)
    losses = model.loss(images, [sample()])
    total = sum(torch.as_tensor(v).sum() if torch.is_tensor(v) else sum(v) for k, v in losses.items() if "loss" in k)
    assert total.isfinite() and total > 0, losses
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 50 and all(g.isfinite().all() for g in gradients)
    optimizer.step()
    with torch.no_grad():
        found = model.eval().predict(images, [sample()])[0].pred_instances
    assert len(found) > 0 and found.bboxes.isfinite().all() and found.scores.isfinite().all()
    print(name, "ok")
"""


@pytest.mark.parametrize(
    "name", ["faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "retinanet/retinanet_r50_fpn_1x_coco.py"]
)
def test_mmdet_trains_and_predicts(name: str) -> None:
    pytest.importorskip("mmdet")
    assert f"{name} ok" in run(f"NAMES = [{name!r}]" + DETECTORS)
