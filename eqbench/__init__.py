"""eqbench: a benchmark of losses for long-tailed visual recognition."""

__version__ = "0.1.0"
