"""Samples made by mmdet's transforms: functions of their draw alone, and clear words about bad files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from eqbench.data.base import Draw
from eqbench.data.transformed_images import TransformedImages, build_transform
from eqbench.errors import InputError

HEIGHT, WIDTH = 48, 64
LOADING: list[dict[str, Any]] = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True}]
PACKING: list[dict[str, Any]] = [{"type": "PackDetInputs"}]
FLIP: list[dict[str, Any]] = [{"type": "RandomFlip", "prob": 0.5}]
MOSAIC: list[dict[str, Any]] = [
    {"type": "Mosaic", "img_scale": (WIDTH, HEIGHT)},
    {"type": "RandomAffine", "border": (-WIDTH // 2, -HEIGHT // 2)},
    {"type": "MixUp", "img_scale": (WIDTH, HEIGHT)},
]


class Squares:
    """Four images with a bright square each, at a place of its own."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / f"{index}.png" for index in range(4)]
        for index, file in enumerate(self.files):
            pixels = np.full((HEIGHT, WIDTH, 3), 20 * index, np.uint8)
            pixels[8:24, 4 + 8 * index : 20 + 8 * index] = 255
            Image.fromarray(pixels).save(file)
        self.height = HEIGHT

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return self.record(draw.index)

    def collate(self, samples: list[Any]) -> list[Any]:
        return samples

    @property
    def image_ids(self) -> NDArray[np.int64]:
        return np.arange(len(self))

    def classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.arange(len(self) + 1), np.zeros(len(self), np.int64)

    def record(self, index: int) -> dict[str, Any]:
        box = [4.0 + 8 * index, 8.0, 20.0 + 8 * index, 24.0]
        instances = [{"bbox": box, "bbox_label": 0, "ignore_flag": 0}]
        return {
            "img_path": str(self.files[index]),
            "img_id": index,
            "height": self.height,
            "width": WIDTH,
            "instances": instances,
        }


@pytest.fixture
def squares(tmp_path: Path) -> Squares:
    return Squares(tmp_path)


def boxes(sample: dict[str, Any]) -> torch.Tensor:
    tensor: torch.Tensor = sample["data_samples"].gt_instances.bboxes.tensor
    return tensor


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return torch.equal(one["inputs"], other["inputs"]) and torch.equal(boxes(one), boxes(other))


def test_a_sample_is_a_function_of_its_draw_alone(squares: Squares) -> None:
    images, others = (TransformedImages(squares, LOADING + MOSAIC + FLIP + PACKING) for _ in range(2))
    random.seed(1), np.random.seed(1)
    first = [images[Draw(index, seed)] for index in range(4) for seed in range(3)]
    random.seed(2), np.random.seed(2)
    again = [others[Draw(index, seed)] for index in reversed(range(4)) for seed in reversed(range(3))]
    assert all(same(one, other) for one, other in zip(first, reversed(again), strict=True))
    assert len({tuple(boxes(sample).flatten().tolist()) for sample in first}) > 6


def test_the_global_random_state_is_as_it_was(squares: Squares) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    TransformedImages(squares, LOADING + FLIP + PACKING)[Draw(0, 5)]
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected


def test_a_flip_moves_the_boxes_with_the_image(squares: Squares) -> None:
    images = TransformedImages(squares, LOADING + FLIP + PACKING)
    seen = set()
    for seed in range(8):
        sample = images[Draw(1, seed)]
        [(x1, y1, x2, y2)] = boxes(sample).int().tolist()
        assert (x1, y1, x2, y2) in {(12, 8, 28, 24), (36, 8, 52, 24)}
        assert bool((sample["inputs"][:, y1:y2, x1:x2] == 255).all())
        seen.add(x1)
    assert seen == {12, 36}


def test_from_a_share_of_the_budget_on_images_are_not_mixed(squares: Squares) -> None:
    images = TransformedImages(squares, LOADING + MOSAIC + PACKING, plain_from=0.9)
    plain = TransformedImages(squares, LOADING + PACKING)
    assert same(images[Draw(2, 0, 0.9)], plain[Draw(2, 0)])
    assert not same(images[Draw(2, 0, 0.89)], plain[Draw(2, 0)])


def test_an_image_that_loses_its_objects_is_replaced_by_another(squares: Squares) -> None:
    """Only the last image's object is that far to the right."""
    keep_right = {"type": "CropRight"}
    images = TransformedImages(squares, [*LOADING, *PACKING])
    images._transforms.insert(2, keep_right)
    images.__dict__["_all"] = [build_transform(LOADING[0]), build_transform(LOADING[1]), OnlyRight(), *_built(PACKING)]
    drawn = [images[Draw(index, 3)]["data_samples"].img_id for index in range(4)]
    assert drawn == [3, 3, 3, 3]
    squares.files.pop()
    with pytest.raises(InputError, match="50 images in turn, beginning with number 0, lost all their objects"):
        images[Draw(0, 3)]


class OnlyRight:
    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        return results if results["gt_bboxes"].tensor[0, 0] > 24 else None


def _built(transforms: list[dict[str, Any]]) -> list[Any]:
    return [build_transform(transform) for transform in transforms]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (Path.unlink, "0.png: image 0 is missing"),
        (lambda file: file.write_bytes(b"no image"), "0.png: image 0 cannot be read: "),
        (lambda file: file.write_bytes(file.read_bytes()[:60]), "0.png: image 0 cannot be read: "),
    ],
    ids=["missing", "something else", "cut off"],
)
def test_a_file_that_is_no_image_is_named(squares: Squares, damage: Any, expected: str) -> None:
    damage(squares.files[0])
    with pytest.raises(InputError) as refused:
        TransformedImages(squares, LOADING + PACKING)[Draw(0, 0)]
    assert expected in str(refused.value)


def test_an_image_of_another_size_than_annotated_is_refused(squares: Squares) -> None:
    squares.height = HEIGHT + 1
    with pytest.raises(InputError, match=r"0.png: image 0 has \(48, 64\) pixels .* annotations say \(49, 64\)"):
        TransformedImages(squares, LOADING + PACKING)[Draw(0, 0)]


@pytest.mark.parametrize(
    "transform", [{"type": "RandomFlop"}, {"type": "RandomFlip", "probability": 1}], ids=["name", "argument"]
)
def test_a_transform_that_does_not_exist_is_refused(transform: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"transform '{transform['type']}' of the model's configuration: "):
        build_transform(transform)
