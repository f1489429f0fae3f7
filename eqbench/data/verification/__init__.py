"""Checking a data set on disk before anything is trained on it, and saying what it holds."""

from __future__ import annotations

from eqbench.data.verification.contents import Contents, Decode
from eqbench.data.verification.findings import Findings

__all__ = ["Contents", "Decode", "Findings"]
