"""Tiny data sets of labelled images, written file by file as the published ones lie on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = (5, 3, 2)
SYNSETS = ("n01440764", "n01443537", "n15075141")
SCENES = ("airfield", "stadium-soccer", "zen_garden")
SUPERS = ("Aves", "Plantae", "Aves")

Listed = Sequence[tuple[str, int]]
"""Paths and labels."""


def write_image(file: Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> None:
    """Noise, of `size` (width, height)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="JPEG")


def write_list(file: Path, listed: Listed) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{path} {label}\n" for path, label in listed))
    return file


def write_all(root: Path, splits: Mapping[str, Listed], pattern: str) -> dict[str, Listed]:
    """Lists in `root`, named by `pattern`, and every image."""
    for split, listed in splits.items():
        write_list(root / pattern.format(split), listed)
        for number, (path, _) in enumerate(listed):
            write_image(root / path, number)
    return dict(splits)


def imagenet_lists(*, flat: bool = False) -> dict[str, Listed]:
    """As in ImageNet-LT; the test images, with `flat`, directly in `val/`."""
    numbered = [(label, number) for label, count in enumerate(COUNTS) for number in range(count)]
    twice = [(label, number) for label in range(3) for number in range(2)]
    folders = ["val"] * 3 if flat else [f"val/{synset}" for synset in SYNSETS]
    return {
        "train": [(f"train/{SYNSETS[label]}/{SYNSETS[label]}_{number}.JPEG", label) for label, number in numbered],
        "val": [(f"train/{SYNSETS[label]}/{SYNSETS[label]}_9{number}.JPEG", label) for label, number in twice],
        "test": [(f"{folders[label]}/ILSVRC2012_val_{3 * number + label:08d}.JPEG", label) for label, number in twice],
    }


def write_imagenet(root: Path, *, flat: bool = False) -> dict[str, Listed]:
    return write_all(root, imagenet_lists(flat=flat), "ImageNet_LT_{}.txt")


def places_lists(*, by_letter: bool = False) -> dict[str, Listed]:
    """As in Places-LT: the easy directory structure, or that with a folder for each letter and flat test images."""
    numbered = [(label, number) for label, count in enumerate(COUNTS) for number in range(count)]
    twice = [(label, number) for label in range(3) for number in range(2)]
    train = [f"train/{scene}" for scene in SCENES]
    test = [f"val/{scene}" for scene in SCENES]
    if by_letter:
        train = [f"data_256/{scene[0]}/{scene.replace('-', '/')}" for scene in SCENES]
        test = ["val_256"] * 3
    return {
        "train": [(f"{train[label]}/{number + 1:08d}.jpg", label) for label, number in numbered],
        "val": [(f"{train[label]}/{number + 91:08d}.jpg", label) for label, number in twice],
        "test": [(f"{test[label]}/Places365_val_{3 * number + label:08d}.jpg", label) for label, number in twice],
    }


def write_places(root: Path, *, by_letter: bool = False) -> dict[str, Listed]:
    return write_all(root, places_lists(by_letter=by_letter), "Places_LT_{}.txt")


def inaturalist_lists() -> dict[str, Listed]:
    numbered = [(label, number) for label, count in enumerate(COUNTS) for number in range(count)]
    return {
        split: [
            (f"train_val2018/{SUPERS[label]}/{label}/{split}{label}{number}.jpg", label) for label, number in chosen
        ]
        for split, chosen in {"train": numbered, "val": [(label, 0) for label in (2, 0, 1)]}.items()
    }


def write_inaturalist(root: Path) -> dict[str, Listed]:
    return write_all(root, inaturalist_lists(), "iNaturalist18_{}.txt")


def annotations(listed: Listed, classes: int = 3) -> dict[str, list[dict[str, object]]]:
    """The json file of iNaturalist 2018 for the same images, with ids and annotations in another order."""
    return {
        "images": [
            {"id": 1000 - 7 * number, "file_name": path, "width": 40, "height": 32, "license": 1}
            for number, (path, _) in enumerate(listed)
        ],
        "annotations": [
            {"id": number, "image_id": 1000 - 7 * number, "category_id": label}
            for number, (_, label) in reversed(list(enumerate(listed)))
        ],
        "categories": [
            {"id": label, "name": f"Species {label}", "supercategory": "Aves"} for label in reversed(range(classes))
        ],
    }


def write_json(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file
