"""The palette: told apart by everyone, on both grounds, and the same wherever a loss is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eqbench.plots import palette

Floats = NDArray[np.float64]
VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
"""Of linear RGB (Machado, Oliveira and Fernandes 2009, severity 1)."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
GROUNDS = {
    "light": ("#ffffff", palette.LOSSES, palette.GROUPS),
    "dark": ("#17191d", palette.LOSSES_ON_DARK, palette.GROUPS_ON_DARK),
}


def linear(colours: Any) -> Floats:
    """(N, 3) linear RGB of hexadecimal colours."""
    encoded = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in colours]) / 255
    result: Floats = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return result


def lab(rgb: Floats) -> Floats:
    xyz = np.clip(rgb, 0, 1) @ TO_XYZ.T / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def distance(first: Floats, second: Floats) -> Floats:
    """CIEDE2000 (Sharma, Wu and Dalal 2005) of two colours in L*a*b*."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1 * stretch)) % 360, np.degrees(np.arctan2(b2, a2 * stretch)) % 360
    turn = np.where(c1 * c2 == 0, 0.0, (h2 - h1 + 180) % 360 - 180)
    hue_change = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    light, c = (l1 + l2) / 2, (c1 + c2) / 2
    hue = np.where(np.abs(h1 - h2) > 180, (h1 + h2 + 360) / 2 % 360, (h1 + h2) / 2)
    waves = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.2, 4, -63))
    t = 1 + sum(weight * np.cos(np.radians(times * hue + shift)) for weight, times, shift in waves)
    turned = -np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))) * 2 * np.sqrt(c**7 / (c**7 + 25.0**7))
    dl = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    dc, dh = (c2 - c1) / (1 + 0.045 * c), hue_change / (1 + 0.015 * c * t)
    result: Floats = np.sqrt(dl**2 + dc**2 + dh**2 + turned * dc * dh)
    return result


def closest(first: Any, second: Any, vision: str) -> float:
    """The smallest distance between different colours of two lists."""
    seen = [lab(linear(colours) @ VISIONS[vision].T) for colours in (first, second)]
    between = distance(seen[0][:, None], seen[1][None])
    same = np.array([[a == b for b in second] for a in first])
    return float(between[~same].min())


def contrast(colours: Any, ground: str) -> Floats:
    own, other = (linear(each) @ TO_XYZ[1] + 0.05 for each in (colours, [ground]))
    result: Floats = np.maximum(own, other) / np.minimum(own, other)
    return result


def test_the_distance_is_the_published_one() -> None:
    """Pairs 1, 7 and 17 of the paper's test data."""
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ]
    for first, second, expected in pairs:
        assert float(distance(np.array(first, float), np.array(second, float))) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("vision", VISIONS)
def test_colours_are_told_apart(vision: str, ground: str) -> None:
    _, losses, groups = GROUNDS[ground]
    assert len(set(losses)) == 8
    assert closest(losses, losses, vision) > (20 if vision == "normal" else 15)
    assert closest(groups, groups, vision) > (25 if vision == "normal" else 20)


@pytest.mark.parametrize("ground", GROUNDS)
def test_no_group_looks_like_a_loss_and_all_stand_out(ground: str) -> None:
    paper, losses, groups = GROUNDS[ground]
    assert closest(losses, groups, "normal") > 14
    assert contrast([*losses, *groups], paper).min() > 2.4


def test_dashes_and_marks_change_with_the_colour() -> None:
    lines = [(palette.loss_colour(place), str(palette.dashes(place))) for place in range(40)]
    marks = [(palette.loss_colour(place), palette.mark(place)) for place in range(64)]
    assert len(set(lines)) == 40
    assert len(set(marks)) == 64
    assert all(palette.dashes(place) != palette.dashes(place + 1) for place in range(12))
    assert len({palette.mark(place) for place in range(8)}) == 8


def test_a_page_has_a_variable_for_every_colour() -> None:
    for ground in ("light", "dark"):
        declared = palette.variables(ground)
        for variable in palette.by_variable().values():
            assert f"{variable[4:8]}: #" in declared
