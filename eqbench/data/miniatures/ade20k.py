"""Miniatures of ADEChallengeData2016: regions of texture with objects on them, and a mask of classes for each image.

Mask values are 0 for what is not labelled and 1..C for the classes in the order of their training pixels, as in
the real data set; the textured regions are the frequent classes, the objects the rarer ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eqbench.data.miniatures import stuff
from eqbench.data.miniatures.parameters import Parameters
from eqbench.data.scenes.appearance import Appearance, appearances, likeness
from eqbench.data.scenes.long_tail import eval_counts, long_tail, spread
from eqbench.data.scenes.painting import coverage, paint_item
from eqbench.data.scenes.scene import Scene, compose
from eqbench.seeding import derive_seed

FOLDERS = {"train": "training", "val": "validation"}
QUALITY = 92  # of the JPEG files
FEWEST_TRAINING_SHARE = 40  # an object's class is in at least one training image of so many
FEWEST_EVAL_IMAGES = 24
SEAM = 0.3  # of the images: a strip between the two regions is not labelled

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a split holds: masks of places in the list of classes plus 1, and the stuff above and below."""

    masks: list[Mask]
    stuff: list[tuple[int, int]]


def write(folder: Path, parameters: Parameters) -> None:
    """Fill `folder`: images/, annotations/ {training,validation}, objectInfo150.txt, sceneCategories.txt."""
    background = stuff.STUFF[: stuff.stuff_classes(parameters.classes)]
    objects = parameters.classes - len(background)
    looks = appearances(max(objects, 2), np.random.default_rng(derive_seed(parameters.seed, "ade20k", "looks")))
    counts = {"train": _training_counts(parameters.images, objects)}
    images = {"train": parameters.images, "val": eval_images(parameters.images, parameters.classes)}
    counts["val"] = eval_counts(counts["train"], images["val"])
    drawn = {
        split: _draw_split(folder, split, counts[split], images[split], background, looks, parameters)
        for split in FOLDERS
    }
    names = [each.name for each in background]
    names += [f"{look.name}, {look.colour}_{look.shape}" for look in looks[:objects]]
    order = _by_pixels(drawn["train"].masks, len(names))
    values = np.zeros(len(names) + 1, np.uint8)
    values[order + 1] = np.arange(1, len(names) + 1)
    for split, split_drawn in drawn.items():
        for number, mask in enumerate(split_drawn.masks, 1):
            split_drawn.masks[number - 1] = values[mask]
            Image.fromarray(values[mask]).save(_path(folder, "annotations", split, number))
    _write_object_info(folder, [names[place] for place in order], drawn)
    _write_scene_categories(folder, drawn, background)


def eval_images(images: int, classes: int) -> int:
    """Evaluation images for `images` training images: a fifth as many, or enough for every class.

    >>> eval_images(200, 12), eval_images(200, 150)
    (40, 150)
    """
    return max(-(-images // 5), classes, FEWEST_EVAL_IMAGES)


def _training_counts(images: int, objects: int) -> NDArray[np.int64]:
    """Training images per class of objects, most frequent first."""
    fewest = min(max(2, images // FEWEST_TRAINING_SHARE), max(1, images // objects))
    return np.maximum(long_tail(images, objects).counts, fewest)


def _draw_split(
    folder: Path,
    split: str,
    counts: NDArray[np.int64],
    images: int,
    background: Sequence[stuff.Stuff],
    looks: Sequence[Appearance],
    parameters: Parameters,
) -> Drawn:
    """Write the images of a split; give their masks."""
    rng = np.random.default_rng(derive_seed(parameters.seed, "ade20k", "layout", split))
    shown = spread(counts, images, 0, rng)
    drawn = Drawn([], stuff.choose(images, len(background), rng))
    alike = likeness(looks[: len(counts)])
    for kind in ("images", "annotations"):
        _path(folder, kind, split, 1).parent.mkdir(parents=True)
    for number, ranks in enumerate(shown, 1):
        random = np.random.default_rng(derive_seed(parameters.seed, "ade20k", "image", split, number))
        scene = compose(ranks, alike, parameters.size, random)
        above_and_below = tuple(background[place] for place in drawn.stuff[number - 1])
        picture, mask = draw(scene, above_and_below, background, looks, random)
        picture.save(_path(folder, "images", split, number), quality=QUALITY)
        drawn.masks.append(mask)
    return drawn


def draw(
    scene: Scene,
    above_and_below: tuple[stuff.Stuff, ...],
    background: Sequence[stuff.Stuff],
    looks: Sequence[Appearance],
    rng: np.random.Generator,
) -> tuple[Image.Image, Mask]:
    """The scene on two kinds of stuff, and its mask: 0, or the place in `background` followed by `looks`, plus 1."""
    width, height = scene.width, scene.height
    above, below = (stuff.paint(each, width, height, rng) for each in above_and_below)
    depth = stuff.below_horizon(width, height, rng)
    pixels = np.where(depth[:, :, None] < 0, above, below)
    places = [background.index(each) + 1 for each in above_and_below]
    mask = np.where(depth < 0, places[0], places[1]).astype(np.uint8)
    if rng.random() < SEAM:
        seam = np.abs(depth) < max(width, height) * rng.uniform(0.008, 0.02)
        pixels[seam] = rng.uniform(20, 60, 3)
        mask[seam] = 0
    for item in scene.items:
        look = looks[item.rank]
        paint_item(pixels, item, look, rng)
        inside, _ = coverage(item, item.polygons(look.shape), np.zeros(2, np.int64), width, height)
        mask[inside >= 0.5] = len(background) + item.rank + 1 if item.annotated else 0
    pixels += rng.normal(0, 4, (height, width, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), mask


def _by_pixels(masks: Sequence[Mask], classes: int) -> NDArray[np.int64]:
    """Places of the classes, most pixels first."""
    pixels = sum(np.bincount(mask.ravel(), minlength=classes + 1) for mask in masks)
    return np.argsort(-np.asarray(pixels)[1:], kind="stable")


def _path(folder: Path, kind: str, split: str, number: int) -> Path:
    suffix = "jpg" if kind == "images" else "png"
    return folder / kind / FOLDERS[split] / f"ADE_{split}_{number:08d}.{suffix}"


def _write_object_info(folder: Path, names: Sequence[str], drawn: dict[str, Drawn]) -> None:
    """Share of the labelled training pixels and images per class, under the real file's name and column heads."""
    classes = len(names)
    pixels = sum(np.bincount(mask.ravel(), minlength=classes + 1)[1:] for mask in drawn["train"].masks)
    shares = np.asarray(pixels) / np.sum(pixels)
    images = {
        split: np.sum([np.bincount(np.unique(mask), minlength=classes + 1)[1:] for mask in drawn[split].masks], axis=0)
        for split in drawn
    }
    lines = ["Idx\tRatio\tTrain\tVal\tName"]
    for place, name in enumerate(names):
        lines.append(f"{place + 1}\t{shares[place]:.4f}\t{images['train'][place]}\t{images['val'][place]}\t{name}")
    (folder / "objectInfo150.txt").write_text("\n".join(lines) + "\n")


def _write_scene_categories(folder: Path, drawn: dict[str, Drawn], background: Sequence[stuff.Stuff]) -> None:
    short = [each.name.partition(",")[0] for each in background]
    lines = [
        f"ADE_{split}_{number:08d} {short[above]}_{short[below]}"
        for split in drawn
        for number, (above, below) in enumerate(drawn[split].stuff, 1)
    ]
    (folder / "sceneCategories.txt").write_text("\n".join(lines) + "\n")
