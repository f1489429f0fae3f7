"""Weights that a network starts from, made elsewhere."""

from __future__ import annotations

from eqbench.models.pretrained.weights import (
    TORCHVISION,
    check_weights,
    content_digest,
    find_weights,
    load_weights,
)

__all__ = ["TORCHVISION", "check_weights", "content_digest", "find_weights", "load_weights"]
