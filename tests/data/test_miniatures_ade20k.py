"""Miniatures of ADE20K: the masks, the order of the classes, what is not labelled, and the data set plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from eqbench import plugins
from eqbench.data import ade20k
from eqbench.data.ade20k_miniature import ADE20KMiniature
from eqbench.data.base import Draw
from eqbench.data.miniatures import Parameters, make
from eqbench.data.miniatures.stuff import STUFF, choose, stuff_classes
from eqbench.data.verification import Findings

SMALL: dict[str, Any] = {"images": 60, "classes": 9, "size": 64}
Mask = NDArray[np.uint8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ade20k") / "miniature"
    make("ade20k", folder, **SMALL, seed=2)
    return folder


@pytest.fixture(scope="module")
def masks(folder: Path) -> dict[str, list[Mask]]:
    return {
        split: [np.asarray(Image.open(path)) for path in sorted((folder / "annotations" / split).glob("*.png"))]
        for split in ("training", "validation")
    }


def pixels(masks: list[Mask]) -> NDArray[np.int64]:
    """(C + 1,)"""
    return np.asarray(sum(np.bincount(mask.ravel(), minlength=10) for mask in masks), np.int64)


def object_info(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "objectInfo150.txt").read_text().splitlines()]


# -- format ------------------------------------------------------------------------------------------------------


def test_each_image_has_its_mask(folder: Path, masks: dict[str, list[Mask]]) -> None:
    assert {split: len(of_split) for split, of_split in masks.items()} == {"training": 60, "validation": 24}
    for split, prefix in (("training", "ADE_train_"), ("validation", "ADE_val_")):
        images = sorted((folder / "images" / split).iterdir())
        paths = sorted((folder / "annotations" / split).iterdir())
        assert [path.stem for path in images] == [path.stem for path in paths]
        assert [path.stem for path in images] == [f"{prefix}{number:08d}" for number in range(1, len(paths) + 1)]
        for image_path, mask_path in zip(images, paths, strict=True):
            with Image.open(image_path) as image, Image.open(mask_path) as mask:
                assert (image.format, image.mode, mask.format, mask.mode) == ("JPEG", "RGB", "PNG", "L")
                assert image.size == mask.size
                assert max(image.size) == 64
    assert len({mask.shape for mask in masks["training"]}) > 5


def test_classes_are_in_the_order_of_their_training_pixels(folder: Path, masks: dict[str, list[Mask]]) -> None:
    counts = pixels(masks["training"])
    assert len(counts) == 10
    assert (np.diff(counts[1:]) <= 0).all()
    assert counts[1] > 50 * counts[-1] > 0, "a long tail"
    rows = object_info(folder)
    assert rows[0] == ["Idx", "Ratio", "Train", "Val", "Name"]
    assert [int(row[0]) for row in rows[1:]] == list(range(1, 10))
    assert [float(row[1]) for row in rows[1:]] == pytest.approx(counts[1:] / counts[1:].sum(), abs=1e-4)
    for value, row in enumerate(rows[1:], 1):
        shown = [sum((mask == value).any() for mask in masks[split]) for split in ("training", "validation")]
        assert [int(row[2]), int(row[3])] == shown


def test_textures_are_frequent_and_objects_rare(folder: Path) -> None:
    names = [row[4] for row in object_info(folder)[1:]]
    assert set(names[: stuff_classes(9)]) == {stuff.name for stuff in STUFF[: stuff_classes(9)]}
    assert all(len(name.split(", ")) == 2 for name in names[stuff_classes(9) :]), "a name and another one"


def test_every_class_is_in_several_validation_images(masks: dict[str, list[Mask]]) -> None:
    for value in range(1, 10):
        assert sum((mask == value).any() for mask in masks["validation"]) >= 3


@pytest.mark.parametrize("split", ["training", "validation"])
def test_some_pixels_are_not_labelled(masks: dict[str, list[Mask]], split: str) -> None:
    share = pixels(masks[split])[0] / sum(mask.size for mask in masks[split])
    assert 0.002 < share < 0.1
    assert 0.2 < np.mean([(mask == 0).any() for mask in masks[split]]) < 0.8


def test_scene_categories_name_every_image(folder: Path) -> None:
    lines = [line.split(" ") for line in (folder / "sceneCategories.txt").read_text().splitlines()]
    images = sorted(path.stem for path in (folder / "images").glob("*/*.jpg"))
    assert [name for name, _ in lines] == images


def test_masks_are_where_the_objects_are(folder: Path, masks: dict[str, list[Mask]]) -> None:
    """Objects are more colourful than the textures."""
    inside, outside = [], []
    for number, mask in enumerate(masks["validation"], 1):
        image = np.asarray(Image.open(folder / f"images/validation/ADE_val_{number:08d}.jpg")).astype(int)
        colourfulness = image.max(2) - image.min(2)
        if (mask > stuff_classes(9)).any():
            inside.append(colourfulness[mask > stuff_classes(9)].mean())
        outside.append(colourfulness[(mask > 0) & (mask <= stuff_classes(9))].mean())
    assert np.median(inside) > 1.4 * np.median(outside)


# -- stuff -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "count"), [(200, 4), (24, 10), (24, 3), (150, 2)])
def test_every_texture_is_in_three_images(images: int, count: int) -> None:
    chosen = choose(images, count, np.random.default_rng(0))
    assert len(chosen) == images
    above, below = (np.bincount(places, minlength=count) for places in zip(*chosen, strict=True))
    assert (above[::2] >= 3).all()
    assert (below[1::2] >= 3).all()
    assert above[1::2].sum() == below[::2].sum() == 0
    assert above[0] >= above[2::2].max(initial=0)


@pytest.mark.parametrize("classes", [4, 150])
def test_fewest_and_most_classes(tmp_path: Path, classes: int) -> None:
    make("ade20k", tmp_path / "new", images=75, classes=classes, seed=0, size=64)
    data = ade20k.ADE20K(root=tmp_path / "new", crop_size=32)
    assert data.num_classes == classes
    assert (data.class_counts > 0).all()
    found = Findings()
    contents = ade20k.examine(tmp_path / "new", found, miniature=True)
    assert found.problems == {}
    assert contents is not None
    assert (np.asarray(contents.counts["val"]) > 0).all()


# -- as a data set -----------------------------------------------------------------------------------------------


def test_the_data_set_is_made_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_DATA", str(tmp_path / "here"))
    data = ADE20KMiniature(**SMALL, seed=2)
    folder = tmp_path / "here" / Parameters.of("ade20k", **SMALL, seed=2).folder
    rows = object_info(folder)[1:]
    assert [row[4].split(",")[0] for row in rows] == [name.split(",")[0] for name in data.class_names]
    assert set(data.groups) == {"head", "body", "tail"}
    assert (len(data.train), len(data.eval)) == (60, 24)
    assert ADE20KMiniature(**SMALL, seed=2, root=tmp_path / "there", crop_size=32).digest == data.digest
    assert ADE20KMiniature(**SMALL, seed=3, root=tmp_path / "there").digest != data.digest
    assert plugins.load("dataset", "ade20k_miniature") is ADE20KMiniature
    assert {"images", "classes", "crop_size", "cat_max_ratio"} <= set(plugins.parameters(ADE20KMiniature))


def test_pixels_come_as_they_were_made(folder: Path, masks: dict[str, list[Mask]]) -> None:
    data = ade20k.ADE20K(root=folder, crop_size=48, scale=(64, 64), eval_scale=(64, 64))
    counts = pixels(masks["training"])
    assert data.class_counts.tolist() == counts[1:].tolist()
    images, labels = data.train.collate([data.train[Draw(index, index)] for index in range(8)])
    assert (images.shape, labels.shape) == ((8, 3, 48, 48), (8, 48, 48))
    assert set(labels.flatten().tolist()) <= {*range(9), 255}
    for index, mask in enumerate(masks["validation"]):
        _, label = data.eval[Draw(index, 0)]
        assert torch.equal(label.long(), torch.from_numpy(mask.astype(np.int64) - 1) % 256)
