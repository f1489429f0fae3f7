"""LVIS v1's annotation files, as the real ones are laid out: every field, and identifiers from 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from eqbench.data.scenes.appearance import Appearance
from eqbench.data.scenes.long_tail import LongTail
from eqbench.data.scenes.parameters import FORMAT, Parameters
from eqbench.data.scenes.scene import Item, Scene
from eqbench.data.scenes.shapes import area

HOST = "http://miniature.invalid"  # a name that is reserved for not existing: nothing is to be downloaded
DATE = "2020-01-01 00:00:00"
LICENSES = [{"id": 1, "name": "No Copyright", "url": "http://creativecommons.org/publicdomain/zero/1.0/"}]


def category_ids(appearances: Sequence[Appearance]) -> list[int]:
    """The id of each frequency rank: 1..C in the order of the names, as in LVIS."""
    order = sorted(range(len(appearances)), key=lambda rank: appearances[rank].name)
    ids = {rank: position for position, rank in enumerate(order, 1)}
    return [ids[rank] for rank in range(len(appearances))]


def info(parameters: Parameters, tail: LongTail) -> dict[str, Any]:
    return {
        "year": 2020,
        "version": "1.0",
        "description": (
            f"Miniature (edition {FORMAT}) in the format of LVIS v1: generated scenes; "
            f"{parameters.images} training images, {parameters.classes} categories, "
            f"seed {parameters.seed}, {parameters.size} pixels. "
            f"frequency: f above {tail.frequent_above} training images, c above {tail.common_above}, else r"
        ),
        "contributor": "eqbench",
        "url": HOST,
        "date_created": DATE,
    }


def categories(train: Sequence[Scene], appearances: Sequence[Appearance], tail: LongTail) -> list[dict[str, Any]]:
    """All categories; their counts and groups are those of the training images, in both files."""
    images = Counter(rank for scene in train for rank in scene.annotated_classes())
    instances = Counter(item.rank for scene in train for item in scene.items if item.annotated)
    described = [
        {
            "frequency": tail.group(images[rank]),
            "id": identifier,
            "synset": f"{appearance.name}.n.01",
            "image_count": images[rank],
            "instance_count": instances[rank],
            "synonyms": [appearance.name, f"{appearance.colour}_{appearance.shape}"],
            "def": appearance.definition,
            "name": appearance.name,
        }
        for rank, (identifier, appearance) in enumerate(zip(category_ids(appearances), appearances, strict=True))
    ]
    return sorted(described, key=lambda category: category["id"])


def image(scene: Scene, identifier: int, folder: str, ids: Sequence[int]) -> dict[str, Any]:
    """An image that is stored in `folder` (`train2017` or `val2017`); `ids` by frequency rank."""
    return {
        "date_captured": DATE,
        "neg_category_ids": sorted(ids[rank] for rank in scene.negative),
        "id": identifier,
        "license": 1,
        "height": scene.height,
        "width": scene.width,
        "flickr_url": f"{HOST}/{identifier}",
        "coco_url": f"{HOST}/{folder}/{identifier:012d}.jpg",
        "not_exhaustive_category_ids": sorted(ids[rank] for rank in scene.not_exhaustive),
    }


def annotation(item: Item, shape: str, identifier: int, image_id: int, category_id: int) -> dict[str, Any]:
    """An object: polygons, their area, and the box [x, y, width, height] around them, in pixels."""
    polygons = item.polygons(shape)
    points = np.concatenate(polygons)
    low, high = points.min(0), points.max(0)
    return {
        "area": round(sum(map(area, polygons)), 2),
        "id": identifier,
        "segmentation": [polygon.flatten().tolist() for polygon in polygons],
        "image_id": image_id,
        "bbox": np.round([*low, *(high - low)], 2).tolist(),
        "category_id": category_id,
    }
