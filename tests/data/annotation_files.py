"""Small annotation files for tests: LVIS v1, and what is changed in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Content = dict[str, Any]
Change = Callable[[Content], object]


def lvis_content(seed: int = 0, images: int = 12, classes: int = 5, annotations: int = 40) -> Content:
    """An LVIS v1 file; ids have gaps, nothing is in order, the last image has no annotation."""
    rng = np.random.default_rng(seed)
    image_ids = (10 * rng.permutation(images) + 7).tolist()
    category_ids = (3 * rng.permutation(classes) + 2).tolist()
    return {
        "info": {"description": 'braces } ] , { in a "text", and ünïcödé'},
        "licenses": [],
        "annotations": [
            annotation(rng, 5 * number + 1, int(rng.choice(image_ids[:-1])), int(rng.choice(category_ids)))
            for number in rng.permutation(annotations).tolist()
        ],
        "images": [
            {
                "id": image_id,
                "height": 48,
                "width": 64,
                "coco_url": f"http://x.org/{'train' if image_id % 3 else 'val'}2017/{image_id:012d}.jpg",
                "neg_category_ids": rng.choice(category_ids, 2, replace=False).tolist(),
                "not_exhaustive_category_ids": category_ids[:1] if image_id % 2 else [],
            }
            for image_id in image_ids
        ],
        "categories": [
            {"id": category_id, "name": f"thing {category_id}", "frequency": "rcf"[category_id % 3]}
            for category_id in category_ids
        ],
    }


def annotation(rng: np.random.Generator, annotation_id: int, image_id: int, category_id: int) -> Content:
    """A box within 64 x 48 pixels, and one or two polygons of 3 to 6 points in it."""
    left, top = rng.integers(0, 40, 2) + 0.25
    width, height = rng.integers(1, 24, 2) / 4
    polygons = [
        np.round(rng.random((points, 2)) * [width, height] + [left, top], 2).ravel().tolist()
        for points in rng.integers(3, 7, rng.integers(1, 3))
    ]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [float(left), float(top), float(width), float(height)],
        "area": float(width * height / 2),
        "segmentation": polygons,
    }


def write(path: Path, content: object, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, **options))
    return path


def write_lvis(root: Path, version: str = "v1", change: Change = lambda content: None) -> Content:
    """A data set of two files under `root`, with empty image files; returns the training file's content."""
    contents = {}
    for seed, split in enumerate(("train", "val")):
        content = lvis_content(seed)
        content["categories"] = lvis_content()["categories"]
        if version == "v0.5":
            for image in content["images"]:
                image["file_name"] = f"COCO_{split}2014_{image['id']:012d}.jpg"
        change(content)
        write(root / "annotations" / f"lvis_{version}_{split}.json", content)
        for image in content["images"]:
            file = root / "/".join(image["coco_url"].split("/")[-2:])
            file.parent.mkdir(exist_ok=True)
            file.touch()
        contents[split] = content
    return contents["train"]
