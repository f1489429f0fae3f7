"""Detectors by the name of mmdet's configuration: found, changed as the user asks, fitted to data and loss.

Nothing here imports mmdet, except to judge an override that adds a key.
"""

from __future__ import annotations

from eqbench.models.mmdet_config.configuration import Configuration, read
from eqbench.models.mmdet_config.weights import check_weights, load_weights

__all__ = ["Configuration", "check_weights", "load_weights", "read"]
