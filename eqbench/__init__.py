"""eqbench: a benchmark of losses for long-tailed visual recognition."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eqbench import leaderboard as leaderboard

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """`eqbench.leaderboard` is there after `import eqbench`, and imported when it is used."""
    if name == "leaderboard":
        return importlib.import_module("eqbench.leaderboard")
    raise AttributeError(f"module 'eqbench' has no attribute {name!r}")
