"""Folders of images with label masks: their index, their samples, and what data sets of them have in common."""

from __future__ import annotations

from eqbench.data.pixel_masks.dataset import MaskDataset
from eqbench.data.pixel_masks.labels import LabelMap
from eqbench.data.pixel_masks.layout import Layout, Pairs

__all__ = ["LabelMap", "Layout", "MaskDataset", "Pairs"]
