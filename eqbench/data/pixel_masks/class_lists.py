"""Names of classes: from a list in a file, from ADE20K's table of objects, or the 150 of ADE20K."""

from __future__ import annotations

from pathlib import Path

from eqbench.data.pixel_masks.labels import INVALID
from eqbench.errors import InputError

_FIRST_NAMES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track,
apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike,
cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen,
blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor,
bulletin board, shower, radiator, glass, clock, flag
"""
ADE20K_CLASSES = tuple(name.strip() for name in _FIRST_NAMES.split(","))
"""The first name of each class in the release's objectInfo150.txt, by descending training pixels."""


def read_object_info(file: Path) -> tuple[str, ...]:
    """Class names of ADE20K's `objectInfo150.txt`: a line of column heads, then one per class, separated by tabs.

    Of several names for a class the first, where that tells all classes apart.

    Raises:
        InputError: there is no column `Idx` or `Name`, classes are not numbered from 1, or a name is missing.
    """
    lines = _lines(file)
    heads = [head.strip() for head in lines[0].split("\t")] if lines else []
    if not {"Idx", "Name"} <= set(heads):
        raise InputError(f"{file}, line 1: {lines[0] if lines else ''!r}; expected column heads with Idx and Name")
    names = []
    for number, line in enumerate(lines[1:], 1):
        row = dict(zip(heads, (field.strip() for field in line.split("\t")), strict=False))
        if (found := row.get("Idx", "")) != str(number):
            raise InputError(f"{file}, line {number + 1}: Idx {found!r}; expected {number}")
        if not row.get("Name"):
            raise InputError(
                f"{file}, line {number + 1}: {line!r}; expected a name in column {heads.index('Name') + 1}"
            )
        names.append(row["Name"])
    _check_number(file, names)
    first = [name.partition(",")[0].strip() for name in names]
    return tuple(first if len(set(first)) == len(first) else names)


def read_names(file: Path) -> tuple[str, ...]:
    """Class names, one on each line; empty lines at the end are no classes.

    Raises:
        InputError: there is no such file, it is not UTF-8, or a name is empty or there twice.
    """
    names = [line.strip() for line in _lines(file)]
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"{file}, line {number}: empty; expected the name of a class")
        if name in seen:
            raise InputError(f"{file}, line {number}: {name!r} is the name of line {seen[name]} too")
        seen[name] = number
    _check_number(file, names)
    return tuple(names)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; expected the classes' names") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error


def _check_number(file: Path, names: list[str]) -> None:
    if not 1 <= len(names) < INVALID:
        raise InputError(f"{file}: {len(names)} classes; expected 1 to {INVALID - 1}, masks have 8 bits")
