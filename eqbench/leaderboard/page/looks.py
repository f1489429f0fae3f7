"""How losses and class groups look on the page: a loss the same on the whole board, in the colours of the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.plots import palette
from eqbench.run_folder import SuiteFolder

LINE = 2
"""Width of a line, in which the palette counts dashes."""


def places(board: Leaderboard, folders: Sequence[SuiteFolder]) -> dict[str, int]:
    """The place of each loss by its first run in the plans, whatever its results; losses of no plan come last."""
    planned = [run_id for folder in folders for run_id in folder.read_plan()]
    order = {run_id: at for at, run_id in enumerate(planned)}
    entries = [(label, entry) for column in board.columns for label, entry in column.entries.items()]
    if not order:
        return palette.places(label for label, _ in entries)
    first: dict[str, float] = {}
    for label, entry in entries:
        at = min((order.get(record.spec.run_id, math.inf) for record in entry.records), default=math.inf)
        first[label] = min(first.get(label, math.inf), at)
    return palette.places(sorted(first, key=lambda label: first[label]))


def looks(places: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Numbers of the style sheet's classes `tone-` and `dash-`, and the mark, of each loss."""
    return {
        label: {
            "tone": place % len(palette.LOSSES),
            "dash": place % len(palette.DASHES),
            "mark": palette.mark(place),
        }
        for label, place in places.items()
    }


def style() -> str:
    """Colours and dashes as declarations of a style sheet; a printed page has those of light ground."""
    tones = [f".tone-{at} {{ --tone: var(--t{at}); }}" for at in range(len(palette.LOSSES))]
    tones += [f".group-{at} {{ --tone: var(--g{at}); }}" for at in range(len(palette.GROUPS))]
    dashes = [
        f"svg .line.dash-{at} {{ stroke-dasharray: {' '.join(f'{LINE * length:g}' for length in lengths)}; }}"
        for at, lengths in enumerate(palette.DASHES)
        if lengths
    ]
    light, dark = palette.variables("light"), palette.variables("dark")
    grounds = f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return "\n".join([grounds, *tones, *dashes, ""])
