"""Random annotations in LVIS format, and detections of which some are right, for comparing evaluators."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 150, 200
GROUPS = "rcf"
Json = dict[str, Any]


def corners(box: NDArray[np.float64], angle: float) -> list[float]:
    """Polygon of a box (x, y, width, height) turned around its centre, inside the image."""
    x, y, width, height = box
    shape = np.array([[-1, -1], [1, -1], [1.2, 0.1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    turned = shape @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    inside: list[float] = (
        np.clip(turned + np.array([x + width / 2, y + height / 2]), 0, [WIDTH, HEIGHT]).ravel().tolist()
    )
    return inside


def encoding(box: NDArray[np.float64], angle: float) -> Json:
    from hotcoco import mask

    found: Json = mask.fr_poly(corners(box, angle), HEIGHT, WIDTH)
    return found


def annotated(seed: int, images: int = 25, categories: int = 12) -> Json:
    """Annotations of an LVIS file: ids out of order, images with none, empty and missing lists of every kind.

    Of every four images one has no annotation; categories 4 and 8 are never annotated.
    """
    random = np.random.default_rng(seed)
    category_ids = (3 + 2 * random.permutation(categories)).tolist()
    annotated = sorted(set(category_ids) - {sorted(category_ids)[place] for place in (4, 8)})
    content: Json = {"images": [], "annotations": [], "categories": []}
    for place, key in enumerate(category_ids):
        content["categories"].append({"id": key, "name": f"category {key}", "frequency": GROUPS[place % 3]})
    for image_id in (7 * random.permutation(images) + 1).tolist():
        present = set()
        for _ in range(0 if random.random() < 0.25 else random.integers(1, 12)):
            box = np.round(np.append(random.uniform(0, 100, 2), np.exp(random.uniform(1.5, 4.9, 2))), 2)
            present.add(category := int(random.choice(annotated[: 1 + random.integers(len(annotated))])))
            angle = random.uniform(-0.5, 0.5)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": box.tolist(),
                    "area": float(np.prod(box[2:])) if random.random() > 0.03 else 0.0,
                    "segmentation": [corners(box, angle)],
                    "angle": angle,
                }
            )
        absent = sorted(set(category_ids) - present)
        content["images"].append(
            {
                "id": image_id,
                "height": HEIGHT,
                "width": WIDTH,
                "neg_category_ids": random.permutation(absent)[: random.integers(0, 4)].tolist(),
                "not_exhaustive_category_ids": [key for key in sorted(present) if random.random() < 0.3],
            }
        )
    random.shuffle(content["annotations"])
    return content


def detected(content: Json, seed: int, per_image: int = 60, *, masks: bool) -> list[Json]:
    """Detections: shifted annotations, repeated, some of another category, and random ones; scores with many ties.

    Of every five images one has none; the last category is never predicted; a few have no area.
    """
    random = np.random.default_rng(seed)
    category_ids = sorted(category["id"] for category in content["categories"])[:-1]
    found = []
    for image in content["images"]:
        if random.random() < 0.2:
            continue
        here = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        for _ in range(per_image):
            box = np.append(random.uniform(0, 100, 2), np.exp(random.uniform(1.5, 4.9, 2)))
            category, score, angle = random.choice(category_ids), random.random() ** 2, 0.0
            if here and random.random() < 0.5:
                source = here[random.integers(len(here))]
                box = np.array(source["bbox"]) + random.normal(0, 0.08, 4) * np.tile(source["bbox"][2:], 2)
                score, angle = random.random(), source["angle"]
                category = source["category_id"] if random.random() < 0.8 else category
                category = category if category in category_ids else category_ids[0]
            box[2:] = np.maximum(box[2:], 1) * (random.random() > 0.02)
            result = {"image_id": image["id"], "category_id": int(category), "score": round(float(score), 1)}
            judged = {"segmentation": encoding(box, angle)} if masks else {"bbox": box.tolist()}
            found.append(result | judged)
    random.shuffle(found)  # type: ignore[arg-type]
    return found


def scene(**fields: Any) -> Json:
    """Two images; in image 1 two annotations of category 1, nothing of category 2."""
    boxes = {1: [10, 10, 20, 20], 2: [60, 60, 30, 30]}
    return {
        "images": [{"id": number, "height": 100, "width": 100, **fields} for number in (1, 2)],
        "categories": [{"id": 1, "name": "one", "frequency": "r"}, {"id": 2, "name": "two", "frequency": "f"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
            for number, box in boxes.items()
        ],
    }


def found(score: float, box: list[float], image: int = 1, category: int = 1) -> Json:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


RIGHT, NOWHERE = [10.0, 10.0, 20.0, 20.0], [0.0, 60.0, 20.0, 20.0]
SCORES = [
    found(0.9, RIGHT),
    found(0.8, NOWHERE),
    found(0.7, NOWHERE, image=2),
    found(0.5, [60, 60, 30, 30]),
    found(0.99, NOWHERE, category=2),
]
