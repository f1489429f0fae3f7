"""Colours, dashes and marks of all pictures: files, figures of sweeps, and pages, on light and on dark ground.

Losses and class groups have colours of their own, at the same place of both grounds. They are told apart with
deuteranopia and protanopia too, and no colour stands alone: dashes and marks change from place to place with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

LOSSES = ("#035dbf", "#ca9623", "#1db685", "#ac5d3c", "#c470a1", "#0da7fa", "#3e2400", "#2d027b")
LOSSES_ON_DARK = ("#76abff", "#ec9b08", "#609f75", "#cb4f18", "#b583a0", "#91eaff", "#feff06", "#766bc8")
GROUPS = ("#7322f9", "#77adb2", "#98ab06", "#9d0f33")
GROUPS_ON_DARK = ("#d1b6ff", "#b8eacb", "#958204", "#d70784")
BLUE, ORANGE, GREEN, RED, PURPLE = LOSSES[:5]

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5), (9, 2))
"""Lengths of strokes and gaps, in widths of the line; the first is solid."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""As matplotlib names them: circle, square, triangle, diamond, triangle pointing down, plus, cross, to the left."""
PLACES_OF_GROUPS = {1: (0,), 2: (0, 3), 3: (0, 1, 3)}
"""Of few groups, the colours that differ most; from frequent to rare."""
Ground = Literal["light", "dark"]


def places(labels: Iterable[str]) -> dict[str, int]:
    """The place of each loss, which decides how it looks everywhere in a page or command: first come, first served.

    >>> places(["cross_entropy", "efl", "cross_entropy"])
    {'cross_entropy': 0, 'efl': 1}
    """
    return {label: place for place, label in enumerate(dict.fromkeys(labels))}


def loss_colour(place: int) -> str:
    """On light ground."""
    return LOSSES[place % len(LOSSES)]


def dashes(place: int) -> Any:
    """The line style of a loss or group, for matplotlib; with the colour, no two of the first 40 look the same."""
    lengths = DASHES[place % len(DASHES)]
    return (0, lengths) if lengths else "solid"


def mark(place: int) -> str:
    """The mark of a loss, for matplotlib; with the colour, no two of the first 64 look the same."""
    return MARKS[(place + place // len(LOSSES)) % len(MARKS)]


def group_place(place: int, number: int) -> int:
    """Which colour of `GROUPS` the group at a place, from frequent to rare, has among `number` groups.

    >>> [group_place(place, 3) for place in range(3)]
    [0, 1, 3]
    """
    chosen = PLACES_OF_GROUPS.get(number, range(len(GROUPS)))
    return chosen[place % len(chosen)]


def group_colour(place: int, number: int) -> str:
    """On light ground."""
    return GROUPS[group_place(place, number)]


def variables(ground: Ground) -> str:
    """Declarations for a style sheet: `--t0` to `--t7` for losses, `--g0` to `--g3` for groups.

    >>> variables("light")[:27]
    '--t0: #035dbf; --t1: #ca962'
    """
    losses, groups = (LOSSES, GROUPS) if ground == "light" else (LOSSES_ON_DARK, GROUPS_ON_DARK)
    named = [
        *((f"--t{at}", each) for at, each in enumerate(losses)),
        *((f"--g{at}", each) for at, each in enumerate(groups)),
    ]
    return " ".join(f"{name}: {colour};" for name, colour in named)


def by_variable() -> dict[str, str]:
    """Each colour of a drawn figure, and what stands for it inside a page: `variables`, or itself without them."""
    named = {colour: f"var(--t{at}, {colour})" for at, colour in enumerate(LOSSES)}
    return named | {colour: f"var(--g{at}, {colour})" for at, colour in enumerate(GROUPS)}
