"""Our losses in the heads of mmdet's detectors: which fit, how heads call them, with which bias they begin."""

from __future__ import annotations

from eqbench.losses.sigmoid import is_sigmoid
from eqbench.models.mmdet_heads.activation import check_activation
from eqbench.models.mmdet_heads.adapters import ClassificationLoss, DenseLoss, RegionLoss
from eqbench.models.mmdet_heads.bias import set_bias
from eqbench.models.mmdet_heads.divisors import attach
from eqbench.models.mmdet_heads.rows import class_rows
from eqbench.models.mmdet_heads.rules import adapter_for, fit

__all__ = [
    "ClassificationLoss",
    "DenseLoss",
    "RegionLoss",
    "adapter_for",
    "attach",
    "check_activation",
    "class_rows",
    "fit",
    "is_sigmoid",
    "set_bias",
]
