"""Writes an annotation file of the size and shape of LVIS v1's training set, from a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGES = 100_170
ANNOTATIONS = 1_270_141
CLASSES = 1_203
COORDINATES = (34, 54)
"""Numbers in a polygon, at least and at most; with them the file has about 600 MB, as LVIS's own."""
WIDTH, HEIGHT = 640, 480
TEXTS = [repr(hundredths / 100) for hundredths in range(100 * WIDTH + 1)]
"""All coordinates that there are, as json."""
ANNOTATIONS_AT_ONCE = 20_000


def write_lvis_size_file(path: Path, seed: int = 0) -> None:
    """Zipf frequencies, federated fields, `coco_url`, polygons with two decimals: what LVIS v1 has."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, CLASSES + 1)
    classes = rng.choice(CLASSES, ANNOTATIONS, p=frequency / frequency.sum()) + 1
    image_ids = np.sort(rng.choice(600_000, IMAGES, replace=False)) + 1
    owners = image_ids[rng.integers(0, IMAGES, ANNOTATIONS)]
    with path.open("w") as file:
        file.write('{"info": {"description": "the size of LVIS v1"}, "annotations": [')
        for start in range(0, ANNOTATIONS, ANNOTATIONS_AT_ONCE):
            end = min(start + ANNOTATIONS_AT_ONCE, ANNOTATIONS)
            file.write(", " if start else "")
            file.write(", ".join(_annotations(start, owners[start:end], classes[start:end], rng)))
        file.write('], "images": ' + json.dumps(_images(image_ids, rng)))
        file.write(', "licenses": [], "categories": ' + json.dumps(_categories(owners, classes)) + "}")


def _annotations(
    first: int, owners: NDArray[np.int64], classes: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[str]:
    """Polygons around an ellipse, as json text; coordinates are looked up among all numbers with two decimals."""
    number = len(owners)
    points = rng.integers(COORDINATES[0] // 2, COORDINATES[1] // 2 + 1, number)
    size = np.exp(rng.uniform(np.log(8), np.log(200), (number, 2)))
    corner = rng.random((number, 2)) * ([WIDTH, HEIGHT] - size)
    for each in range(number):
        angles = np.linspace(0, 2 * np.pi, points[each], endpoint=False)
        radius = 0.5 * rng.uniform(0.7, 1.0, points[each])
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + 0.5
        hundredths = np.rint(100 * (corner[each] + size[each] * outline)).astype(np.int64)
        (left, top), (right, bottom) = hundredths.min(0).tolist(), hundredths.max(0).tolist()
        polygon = ", ".join([TEXTS[value] for value in hundredths.ravel().tolist()])
        box = f"{TEXTS[left]}, {TEXTS[top]}, {TEXTS[right - left]}, {TEXTS[bottom - top]}"
        area = 0.7 * (right - left) * (bottom - top) / 10_000
        yield (
            f'{{"area": {area:.2f}, "id": {first + each + 1}, "segmentation": [[{polygon}]], '
            f'"image_id": {owners[each]}, "bbox": [{box}], "category_id": {classes[each]}}}'
        )


def _images(image_ids: NDArray[np.int64], rng: np.random.Generator) -> list[dict[str, object]]:
    return [
        {
            "date_captured": "2013-11-14 16:28:13",
            "neg_category_ids": (rng.choice(CLASSES, 8, replace=False) + 1).tolist(),
            "id": image_id,
            "license": 4,
            "height": HEIGHT,
            "width": WIDTH,
            "flickr_url": f"http://farm7.staticflickr.com/6153/{image_id:010d}_8f2b5c1d0e_z.jpg",
            "coco_url": f"http://images.cocodataset.org/train2017/{image_id:012d}.jpg",
            "not_exhaustive_category_ids": (rng.choice(CLASSES, 2, replace=False) + 1).tolist(),
        }
        for image_id in image_ids.tolist()
    ]


def _categories(owners: NDArray[np.int64], classes: NDArray[np.int64]) -> list[dict[str, object]]:
    pairs = np.unique(np.stack([classes, owners]), axis=1)
    image_counts = np.bincount(pairs[0], minlength=CLASSES + 1).tolist()
    instance_counts = np.bincount(classes, minlength=CLASSES + 1).tolist()
    return [
        {
            "id": category,
            "name": f"class_{category}",
            "synset": f"class.n.{category}",
            "synonyms": [f"class_{category}"],
            "def": "something that can be seen in a photograph",
            "frequency": "r" if image_counts[category] <= 10 else "c" if image_counts[category] <= 100 else "f",
            "image_count": image_counts[category],
            "instance_count": instance_counts[category],
        }
        for category in range(1, CLASSES + 1)
    ]
