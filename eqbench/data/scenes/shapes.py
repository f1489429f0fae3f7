"""The shape families of a miniature: polygons around the origin within the unit circle.

A shape is a list of polygons (k, 2) that do not overlap: a ring, which one polygon without a hole cannot be, is two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]


def _arc(radius: float, start: float, stop: float, points: int) -> Polygon:
    """Points at angles in turns."""
    angles = np.linspace(start, stop, points) * 2 * np.pi
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _regular(corners: int) -> Polygon:
    return _arc(1.0, 0, 1 - 1 / corners, corners)


def _star() -> Polygon:
    star = _regular(10)
    star[1::2] *= 0.48
    return star


def _half_ring(start: float) -> Polygon:
    return np.concatenate([_arc(1.0, start, start + 0.5, 13), _arc(0.55, start + 0.5, start, 13)])


def _crescent() -> Polygon:
    outer = _arc(1.0, 0.12, 0.88, 17)
    tip_x, tip_y = outer[0]
    centre = tip_x + 0.15
    angle = np.arctan2(tip_y, tip_x - centre) / (2 * np.pi)
    inner = _arc(float(np.hypot(tip_x - centre, tip_y)), 1 - angle, angle, 15)[1:-1]
    return np.concatenate([outer, inner + np.array([centre, 0.0])])


def _rectangle(length: float) -> Polygon:
    width = np.sqrt(1 - length**2)
    return np.array([(length, width), (-length, width), (-length, -width), (length, -width)])


def _cross() -> Polygon:
    arm, half = 0.94, 0.32
    quarter = np.array([(arm, half), (half, half), (half, arm)])
    turn = np.array([(0.0, 1.0), (-1.0, 0.0)])  # row vectors by 90 degrees
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _arrow() -> Polygon:
    half = [(1.0, 0.0), (0.1, 0.75), (0.1, 0.28), (-0.95, 0.28)]
    return np.array(half + [(x, -y) for x, y in reversed(half[1:])])


SHAPES: dict[str, Callable[[], list[Polygon]]] = {
    "disc": lambda: [_regular(24)],
    "ring": lambda: [_half_ring(0.0), _half_ring(0.5)],
    "star": lambda: [_star()],
    "square": lambda: [_regular(4)],
    "triangle": lambda: [_regular(3)],
    "cross": lambda: [_cross()],
    "bar": lambda: [_rectangle(0.94)],
    "crescent": lambda: [_crescent()],
    "arrow": lambda: [_arrow()],
    "hexagon": lambda: [_regular(6)],
}


def area(polygon: Polygon) -> float:
    """Area of a polygon that does not cross itself.

    >>> area(np.array([(0.0, 0.0), (2.0, 0.0), (2.0, 3.0)]))
    3.0
    """
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
