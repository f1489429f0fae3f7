"""RoI Align (He et al., ICCV 2017) as mmcv's extension has it; the mean of each bin's samples, on torchvision.

Legend: B images, R regions, C channels, H x W feature map. Regions are (R, 5): image, x1, y1, x2, y2 in pixels of
the image, of which `spatial_scale` makes cells of the feature map. Half precision is computed in float32, as
torchvision itself does under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eqbench.errors import EnvironmentProblem

__all__ = ["roi_align_backward", "roi_align_forward"]

MEAN = 1


def roi_align_forward(
    input: Tensor,  # noqa: A002
    rois: Tensor,
    output: Tensor,
    _argmax_y: Tensor,
    _argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the pooled regions (R, C, aligned_height, aligned_width) of `input` (B, C, H, W) to `output`.

    Args:
        sampling_ratio: samples per bin and axis; 0: one per cell that the bin covers.
        pool_mode: 1, the mean. `_argmax_y` and `_argmax_x` belong to the maximum and stay as they are.
        aligned: move regions by half a cell, so that a cell's value is that of its centre.

    Raises:
        EnvironmentProblem: `pool_mode` 0, the maximum, which torchvision does not have.
    """
    import torchvision  # noqa: F401

    _refuse_maximum(pool_mode)
    dtype = torch.promote_types(input.dtype, torch.float32)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input.to(dtype), rois.to(dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    _argmax_y: Tensor,
    _argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the gradient (B, C, H, W) to `grad_input`, given that of the pooled regions; see the forward."""
    import torchvision  # noqa: F401

    _refuse_maximum(pool_mode)
    dtype = torch.promote_types(grad_output.dtype, torch.float32)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output.to(dtype),
            rois.to(dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _refuse_maximum(pool_mode: int) -> None:
    if pool_mode != MEAN:
        raise EnvironmentProblem(
            "mmcv's operator 'roi_align' with pool_mode='max' needs an mmcv compiled with its operators; "
            "torchvision's has pool_mode='avg' only"
        )
