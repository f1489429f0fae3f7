"""Miniatures of data sets: drawn images in the on-disk format of the real ones, made from a seed."""

from __future__ import annotations

from eqbench.data.miniatures.making import NAMES, data_folder, make, make_once
from eqbench.data.miniatures.parameters import LIMITS, Limits, Parameters

__all__ = ["LIMITS", "NAMES", "Limits", "Parameters", "data_folder", "make", "make_once"]
