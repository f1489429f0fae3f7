"""mmcv's own functions on the operators that torchvision serves.

Run by test_mmcv_ops.py in a process of its own, since modules put into `sys.modules` would reach other tests. mmcv's
compiled extension is there, but does not load. Prints what is warned of, and what the call of an operator says that
nobody serves.
"""

from __future__ import annotations

import importlib.abc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from slow_nms import random_boxes, slow_nms, slow_nms_match, slow_soft_nms
from torch import Tensor

from eqbench.errors import EnvironmentProblem
from eqbench.models import mmcv_ops

EXTENSION = "mmcv._ext"


class Broken(importlib.abc.MetaPathFinder):
    """Finds an extension that was compiled for another torch."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == EXTENSION:
            raise ImportError("undefined symbol: _ZN3c10")


def a_compiled_extension_that_does_not_load_is_reported() -> str:
    sys.meta_path.insert(0, Broken())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mmcv_ops.install()
    import mmcv.ops

    assert mmcv.ops.get_compiler_version() == "n/a"
    return " ".join(str(warning.message) for warning in caught if "mmcv" in str(warning.message))


def installing_again_does_nothing() -> None:
    mmcv_ops.install()
    placed = sys.modules[EXTENSION]
    mmcv_ops.install()
    assert sys.modules[EXTENSION] is placed
    assert not hasattr(placed, "__path__")


def batched_nms_is_ours_everywhere() -> None:
    import mmcv.ops
    import mmdet.models
    import mmdet.structures.mask.structures  # noqa: F401
    from mmcv.ops.nms import batched_nms

    assert batched_nms is mmcv.ops.batched_nms is mmcv_ops.batched_nms
    mmcv_ops.install()
    assert mmcv.ops.get_compiling_cuda_version() == "n/a"


def differentiable(function: Callable[..., Tensor], *tensors: Tensor) -> None:
    leaves = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(function, leaves, eps=1e-7, atol=1e-5, nondet_tol=1e-9, fast_mode=True)


def gradients_are_derivatives() -> None:
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d, roi_align, sigmoid_focal_loss

    torch.manual_seed(0)
    x, w, b = torch.randn(2, 4, 5, 5), torch.randn(6, 2, 3, 3), torch.randn(6)
    offset, mask = torch.randn(2, 36, 5, 5), torch.rand(2, 18, 5, 5)
    differentiable(lambda x, o, w: deform_conv2d(x, o, w, 1, 1, 1, 2, 2), x, offset, w)

    def modulated(x: Tensor, o: Tensor, m: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
        return modulated_deform_conv2d(x, o, m, w, b, 1, 1, 1, 2, 2)

    differentiable(modulated, x, offset, mask, w, b)
    differentiable(modulated, x, offset, mask, w)
    rois = torch.tensor([[0, 1.2, 0.3, 4.4, 3.9], [1, 0.1, 0.2, 2.2, 4.1]]).double()
    for aligned, samples in ((True, 0), (False, 2)):
        differentiable(lambda x, a=aligned, s=samples: roi_align(x, rois, 2, 1.0, s, "avg", a), x)
    labels, weight = torch.tensor([0, 3, 2]), torch.rand(3).double()
    for each in (None, weight):
        differentiable(lambda s, each=each: sigmoid_focal_loss(s, labels, 2.0, 0.25, each, "mean"), torch.randn(3, 3))


def suppression_equals_loops() -> None:
    from mmcv.ops import batched_nms, nms, nms_match, soft_nms

    boxes, scores = random_boxes(60)
    boxes[:, 2:] += 1
    for offset in (0, 1):
        expected = slow_nms(boxes, scores, 0.5, offset)
        assert nms(boxes, scores, 0.5, offset=offset)[1].tolist() == expected
        assert nms(boxes.numpy(), scores.numpy(), 0.5, offset=offset)[1].tolist() == expected
        assert nms(boxes, scores, 0.5, offset=offset, score_threshold=0.5, max_num=3)[1].tolist() == expected[:3]
        dets, kept = soft_nms(boxes, scores, 0.3, min_score=0.05, method="linear", offset=offset)
        slow = slow_soft_nms(boxes.double(), scores.double(), 0.3, 0.5, 0.05, "linear", offset)
        assert kept.tolist() == [index for index, _ in slow]
        assert dets[:, 4].tolist() == pytest.approx([score for _, score in slow], abs=1e-6)
    expected = slow_soft_nms(boxes.double(), scores.double(), 0.3, 0.5, 1e-3, "linear", 0)
    options = {"type": "soft_nms", "iou_threshold": 0.3, "class_agnostic": True}
    assert batched_nms(boxes, scores, torch.arange(60), options)[1].tolist() == [index for index, _ in expected]
    found = nms_match(np.c_[boxes.numpy(), scores.numpy()], 0.5)
    assert [group.tolist() for group in found] == slow_nms_match(boxes, scores, 0.5)


def other_kinds_go_to_mmcv() -> None:
    from mmcv.ops import batched_nms

    boxes, scores = random_boxes(4)
    rotated = torch.cat((boxes, scores[:, None]), 1)
    with pytest.raises(EnvironmentProblem, match="mmcv's operator 'nms_rotated' is compiled code"):
        batched_nms(rotated, scores, torch.arange(4), {"type": "nms_rotated", "iou_threshold": 0.5})


def a_missing_operator_fails_when_called() -> str:
    from mmcv.ops import roi_pool

    with pytest.raises(EnvironmentProblem) as caught:
        roi_pool(torch.randn(2, 4, 5, 5), torch.zeros(1, 5), 2)
    return str(caught.value)


if __name__ == "__main__":
    print(a_compiled_extension_that_does_not_load_is_reported())
    installing_again_does_nothing()
    batched_nms_is_ours_everywhere()
    gradients_are_derivatives()
    suppression_equals_loops()
    other_kinds_go_to_mmcv()
    print(a_missing_operator_fails_when_called())
