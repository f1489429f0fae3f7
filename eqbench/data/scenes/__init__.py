"""Miniatures of LVIS v1: generated scenes, annotated in LVIS's on-disk format, for tests, trials and the quickstart."""

from __future__ import annotations

from eqbench.data.scenes.making import make, make_once
from eqbench.data.scenes.parameters import Parameters

__all__ = ["Parameters", "make", "make_once"]
