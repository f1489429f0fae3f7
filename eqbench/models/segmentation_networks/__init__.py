"""The parts of a segmentation network: a backbone with feature maps of several depths, and heads on them."""

from __future__ import annotations

from eqbench.models.segmentation_networks.backbones import (
    BackboneName,
    FeatureMaps,
    build_backbone,
    check_backbone_weights,
    check_width,
)
from eqbench.models.segmentation_networks.heads import (
    ArchitectureName,
    build_auxiliary_head,
    build_head,
    set_bias,
)
from eqbench.models.segmentation_networks.normalization import (
    bear_single_values,
    group_normalized,
)

__all__ = [
    "ArchitectureName",
    "BackboneName",
    "FeatureMaps",
    "bear_single_values",
    "build_auxiliary_head",
    "build_backbone",
    "build_head",
    "check_backbone_weights",
    "check_width",
    "group_normalized",
    "set_bias",
]
