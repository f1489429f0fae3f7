"""Whether a detector's backbone can start from given weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eqbench.errors import InputError
from eqbench.models.pretrained import TORCHVISION, find_weights, load_weights

__all__ = ["check_weights", "load_weights"]


def check_weights(name: str, backbone: Mapping[str, Any]) -> None:
    """Whether weights are there, and of the kind that a backbone's configuration wants. Does not open the file.

    Raises:
        InputError: they are not.
    """
    find_weights(name)
    if name.startswith(TORCHVISION) and backbone.get("style") == "caffe":
        raise InputError(
            f"backbone_weights: {name!r}: the configuration's backbone is of style caffe, which strides elsewhere "
            "and takes other colours; choose the configuration of style pytorch, or weights of style caffe from a file"
        )
