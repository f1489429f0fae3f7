"""Small folders of images with masks for tests, written by hand in the layout of ADE20K or of `mask_folder`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 40, 56
NAMES = ("wall", "tree", "bed", "lamp", "clock")
FOLDERS = {"train": "training", "val": "validation"}
Values = NDArray[np.uint8]


def blocks(rng: np.random.Generator, values: int, height: int = HEIGHT, width: int = WIDTH) -> Values:
    """A mask of 8 x 8 blocks with values from 0 to `values` - 1, small ones more often."""
    rows, columns = -(-height // 8), -(-width // 8)
    drawn = (values * rng.random((rows, columns)) ** 2).astype(np.uint8)
    return np.kron(drawn, np.ones((8, 8), np.uint8))[:height, :width]


def picture(mask: Values) -> Image.Image:
    """An image that tells its mask: 10 times the value in red, 100 in green, 200 - 10 times the value in blue."""
    red = 10 * mask
    return Image.fromarray(np.stack([red, np.full_like(mask, 100), 200 - red], axis=2))


def write_image(path: Path, image: Image.Image | Values, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def write_ade20k(root: Path, train: int = 6, val: int = 3, names: tuple[str, ...] = NAMES) -> Path:
    """A data set in the layout of ADEChallengeData2016 whose objectInfo150.txt has fewer rows; returns `root`."""
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val)):
        for place in range(1, number + 1):
            mask = blocks(rng, len(names) + 1)
            name = f"{FOLDERS[split]}/ADE_{split}_{place:08d}"
            write_image(root / "images" / f"{name}.jpg", picture(mask), quality=95)
            write_image(root / "annotations" / f"{name}.png", mask)
    rows = [f"{place}\t0.1\t9\t3\t{name}, thing like a {name}" for place, name in enumerate(names, 1)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    return root


def image_of(root: Path, number: int = 2, split: str = "train") -> Path:
    return root / "images" / FOLDERS[split] / f"ADE_{split}_{number:08d}.jpg"


def mask_of(root: Path, number: int = 2, split: str = "train") -> Path:
    return root / "annotations" / FOLDERS[split] / f"ADE_{split}_{number:08d}.png"


def mask_values(path: Path) -> Values:
    return np.array(Image.open(path))


def write_mask_folder(root: Path, train: int = 4, val: int = 2, first: int = 0) -> Path:
    """A data set in the layout of `mask_folder` with classes from `first`; returns `root`."""
    rng = np.random.default_rng(1)
    for split, number in (("train", train), ("val", val)):
        for place in range(number):
            mask = blocks(rng, len(NAMES)) + np.uint8(first)
            mask[:3, :5] = 255
            write_image(root / "images" / split / f"{split}{place}.png", picture(mask % 16))
            write_image(root / "masks" / split / f"{split}{place}.png", mask)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    return root
