"""RoI Align on torchvision against direct sampling."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from eqbench.errors import EnvironmentProblem
from eqbench.models.mmcv_ops.roi_align import roi_align_backward, roi_align_forward

NONE = torch.empty(0)


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
