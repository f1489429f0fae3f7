"""Making a miniature on disk: all of it or nothing, and once, however many processes ask for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eqbench.data.miniatures import manifest
from eqbench.data.miniatures.whole_folder import write_if_absent
from eqbench.data.scenes import lvis_format
from eqbench.data.scenes.appearance import Appearance, appearances, likeness
from eqbench.data.scenes.long_tail import LongTail, eval_counts, eval_images, long_tail, spread
from eqbench.data.scenes.painting import paint
from eqbench.data.scenes.parameters import FORMAT, Parameters
from eqbench.data.scenes.scene import Scene, compose
from eqbench.errors import InputError
from eqbench.seeding import derive_seed

QUALITY = 92  # of the JPEG files
EMPTY = 50  # one training image in so many has no annotation
ELSEWHERE = 4  # one evaluation image in so many is stored in train2017
LARGEST_GAP = 40  # between the ids of two images


def make(folder: Path, *, images: int, classes: int, seed: int, size: int = 128) -> None:
    """Write a miniature of LVIS v1 with `images` training images; equal arguments give equal bytes.

    Writes `annotations/lvis_v1_{train,val}.json`, `train2017/*.jpg`, `val2017/*.jpg` and `manifest.json`. As in LVIS,
    some evaluation images are in `train2017`. There are a quarter as many of them, or enough for three of every class,
    on which the classes are less unevenly distributed.

    Args:
        folder: is made; it must not exist.
        images: training images.
        classes: with the largest number, they differ in nothing but small details.
        seed: decides everything.
        size: the longer side of an image in pixels.

    Raises:
        ValueError: an argument is out of range.
        InputError: `folder` exists.
    """
    parameters = Parameters(images=images, classes=classes, seed=seed, size=size)
    if not _make_if_absent(folder, parameters):
        raise InputError(f"{folder}: exists; a miniature is written to a new folder only")


def make_once(root: Path, parameters: Parameters) -> Path:
    """The folder of this miniature in `root`; makes it if there is none, in one process if several ask for it."""
    folder = root / parameters.name
    _make_if_absent(folder, parameters)
    return folder


def _make_if_absent(folder: Path, parameters: Parameters) -> bool:
    """Whether this process made it."""

    def write(unfinished: Path) -> None:
        _write(unfinished, parameters)
        manifest.write(unfinished, "lvis", {"edition": FORMAT, **asdict(parameters)})

    return write_if_absent(folder, write)


def _write(folder: Path, parameters: Parameters) -> None:
    tail = long_tail(parameters.images, parameters.classes)
    looks = appearances(parameters.classes, _random(parameters, "appearance"))
    counts = {"train": tail.counts}
    counts["val"] = eval_counts(tail.counts, eval_images(parameters.images, parameters.classes))
    images = {"train": parameters.images, "val": eval_images(parameters.images, parameters.classes)}
    scenes, alike = {}, likeness(looks)
    for split in ("train", "val"):
        rng = _random(parameters, "layout", split)
        empty = images[split] // EMPTY if split == "train" else 0
        shown = spread(counts[split], images[split], empty, rng)
        scenes[split] = [compose(ranks, alike, parameters.size, rng) for ranks in shown]
    ids = _image_ids(len(scenes["train"]), len(scenes["val"]), _random(parameters, "ids"))
    for name in ("annotations", "train2017", "val2017"):
        (folder / name).mkdir(parents=True)
    for split in ("train", "val"):
        documents = _documents(scenes[split], ids[split], split, looks)
        for scene, document in zip(scenes[split], documents["images"], strict=True):
            picture = paint(scene, looks, _random(parameters, "painting", document["id"]))
            picture.save(folder.joinpath(*document["coco_url"].split("/")[-2:]), quality=QUALITY)
        _write_json(folder, split, documents, scenes["train"], looks, parameters, tail)


def _documents(scenes: list[Scene], image_ids: list[int], split: str, looks: Sequence[Appearance]) -> dict[str, Any]:
    """The images and annotations of one file, by ascending id."""
    ids = lvis_format.category_ids(looks)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (scene, image_id) in enumerate(zip(scenes, image_ids, strict=True), 1):
        stored = "train2017" if split == "train" or number % ELSEWHERE == 0 else "val2017"
        images.append(lvis_format.image(scene, image_id, stored, ids))
        for item in scene.items:
            if item.annotated:
                shape = looks[item.rank].shape
                identifier = len(annotations) + 1
                annotations.append(lvis_format.annotation(item, shape, identifier, image_id, ids[item.rank]))
    return {"annotations": annotations, "images": images}


def _write_json(
    folder: Path,
    split: str,
    documents: dict[str, Any],
    train: list[Scene],
    looks: Sequence[Appearance],
    parameters: Parameters,
    tail: LongTail,
) -> None:
    content = {
        "info": lvis_format.info(parameters, tail),
        **documents,
        "licenses": lvis_format.LICENSES,
        "categories": lvis_format.categories(train, looks, tail),
    }
    path = folder / "annotations" / f"lvis_v1_{split}.json"
    path.write_text(json.dumps(content, separators=(",", ":")))


def _image_ids(train: int, val: int, rng: np.random.Generator) -> dict[str, list[int]]:
    """Ascending ids with gaps, of which no image of the other file has one."""
    ids = np.cumsum(rng.integers(1, LARGEST_GAP, train + val))
    of_val = np.zeros(len(ids), bool)
    of_val[rng.permutation(len(ids))[:val]] = True
    return {"train": ids[~of_val].tolist(), "val": ids[of_val].tolist()}


def _random(parameters: Parameters, *purpose: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(parameters.seed, *purpose))
