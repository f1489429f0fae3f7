"""Masks: what their values mean, and random crops of image and mask together."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from eqbench.data.pixel_masks import augmentation
from eqbench.data.pixel_masks.augmentation import Augmentation
from eqbench.data.pixel_masks.labels import LabelMap
from tests.data.mask_files import blocks, picture

PLAIN = Augmentation(crop_size=48, scale=(96, 64), distort=False)


def pair(seed: int = 0, height: int = 64, width: int = 88) -> tuple[Tensor, Tensor]:
    mask = blocks(np.random.default_rng(seed), 15, height, width)
    return torch.from_numpy(np.array(picture(mask))).permute(2, 0, 1), torch.from_numpy(mask)


def inside(labels: Tensor, margin: int = 2) -> Tensor:
    """Pixels around which, `margin` in each direction, there is one label."""
    padded = torch.nn.functional.pad(labels[None, None].float(), (margin,) * 4, mode="replicate")
    size = 2 * margin + 1
    largest = torch.nn.functional.max_pool2d(padded, size, 1)
    smallest = -torch.nn.functional.max_pool2d(-padded, size, 1)
    return (largest == smallest)[0, 0] & (labels != 255)


# -- values ------------------------------------------------------------------------------------------------------


def test_values_become_classes() -> None:
    mask = torch.tensor([[0, 1, 2, 3, 255]], dtype=torch.uint8)
    assert LabelMap(4, ignore=255).apply(mask, "a").tolist() == [[0, 1, 2, 3, 255]]
    assert LabelMap(3, zero_ignored=True, ignore=255).apply(mask, "a").tolist() == [[255, 0, 1, 2, 255]]
    assert LabelMap(3, ignore=3).apply(mask[:, :4], "a").tolist() == [[0, 1, 2, 255]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes 0: expected 1 to 254"),
        ({"num_classes": 254, "zero_ignored": True}, "num_classes 254: expected 1 to 253"),
        ({"num_classes": 4, "ignore": 3}, "ignore 3: expected a value that is no class, those are 0 to 3"),
        ({"num_classes": 4, "ignore": 256}, "ignore 256: expected 0 to 255"),
    ],
)
def test_values_that_cannot_be(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelMap(**arguments)  # type: ignore[arg-type]


# -- crops -------------------------------------------------------------------------------------------------------


def test_image_and_mask_are_cropped_alike() -> None:
    shapes, shares = set(), []
    for seed in range(60):
        image, labels = PLAIN.apply(*pair(seed), seed)
        certain = inside(labels)
        told = torch.stack([10 * labels, torch.full_like(labels, 100), 200 - 10 * labels]).int()
        assert ((image.int() - told).abs() <= 1)[:, certain].all(), seed
        shares.append(float(certain.float().mean()))
        shapes.add(int((labels != 255).sum()))
    assert np.mean(shares) > 0.2
    assert len(shapes) > 5  # scaled by different ratios


@pytest.mark.parametrize("ratio", [0.4, 1.5])
def test_a_crop_is_that_of_the_scaled_image(ratio: float) -> None:
    """Without choice of place, cutting first gives what scaling the whole image gives."""
    image, labels = pair()
    image += torch.randint(0, 40, image.shape, dtype=torch.uint8)
    fixed = Augmentation(crop_size=200, scale=(96, 64), ratio_range=(ratio, ratio), flip=0.0, distort=False)
    cropped, cropped_labels = fixed.apply(image, labels, 3)
    factor = ratio * min(96 / 88, 64 / 64)
    size = round(64 * factor), round(88 * factor)
    whole = interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    whole_labels = interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]
    assert torch.equal(cropped[:, : size[0], : size[1]], whole)
    assert torch.equal(cropped_labels[: size[0], : size[1]], whole_labels)
    assert (cropped_labels[size[0] :] == 255).all()
    assert (cropped_labels[:, size[1] :] == 255).all()
    assert cropped[:, -1, -1].tolist() == [124, 116, 104]


def test_a_crop_depends_on_its_seed_alone() -> None:
    crops = Augmentation(crop_size=48, scale=(96, 64))
    image, labels = pair()
    first = [crops.apply(image, labels, seed) for seed in range(8)]
    torch.manual_seed(5)
    random.seed(9)
    state = torch.get_rng_state(), random.getstate()
    again = [crops.apply(image, labels, seed) for seed in reversed(range(8))][::-1]
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == random.getstate()
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert len({crop.numpy().tobytes() for crop, _ in first}) == 8


def test_what_is_given_is_not_changed() -> None:
    image, labels = pair()
    before = image.clone(), labels.clone()
    for seed in range(10):
        Augmentation(crop_size=64, scale=(88, 64), ratio_range=(1.0, 1.0)).apply(image, labels, seed)
    assert torch.equal(image, before[0])
    assert torch.equal(labels, before[1])


def test_half_of_the_crops_are_mirrored() -> None:
    labels = torch.arange(64, dtype=torch.uint8).repeat(64, 1)
    image = labels.repeat(3, 1, 1)
    crops = Augmentation(crop_size=16, scale=(64, 64), ratio_range=(1.0, 1.0), distort=False)
    mirrored = 0
    for seed in range(200):
        crop, crop_labels = crops.apply(image, labels, seed)
        steps = crop_labels[0].int().diff().unique().tolist()
        assert steps in ([1], [-1])
        assert torch.equal(crop[0], crop_labels)
        mirrored += steps == [-1]
    assert 70 < mirrored < 130


def test_one_class_rarely_fills_a_crop() -> None:
    """A small patch of a second class in a corner: crops are drawn again until it is a quarter of them."""
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[:24, :24] = 1
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)

    def varied(cat_max_ratio: float) -> int:
        crops = Augmentation(
            crop_size=24, scale=(64, 64), ratio_range=(1.0, 1.0), cat_max_ratio=cat_max_ratio, distort=False
        )
        cropped = [crops.apply(image, labels, seed)[1] for seed in range(100)]
        return sum(0.25 < float((crop == 1).float().mean()) < 0.75 for crop in cropped)

    assert varied(1.0) < 25
    assert varied(0.75) > 50


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 0, 1], False),
        ([0, 0, 1, 1], True),
        ([0, 0, 255, 255], False),
        ([0, 1, 255, 255], True),
        ([255, 255, 255, 255], False),
    ],
)
def test_what_a_varied_crop_is(labels: list[int], expected: bool) -> None:
    assert augmentation.is_varied(torch.tensor([labels], dtype=torch.uint8), 0.75) is expected


def test_a_mask_with_only_ignored_pixels_is_cropped() -> None:
    image, labels = pair()
    crop, cropped = PLAIN.apply(image, torch.full_like(labels, 255), 0)
    assert (cropped == 255).all()
    assert crop.shape == (3, 48, 48)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (400, 401)])
def test_images_of_every_shape(size: tuple[int, int]) -> None:
    for seed in range(5):
        image = torch.full((3, *size), 9, dtype=torch.uint8)
        crop, labels = PLAIN.apply(image, torch.zeros(size, dtype=torch.uint8), seed)
        assert crop.shape == (3, 48, 48)
        assert (crop[:, labels == 0] == 9).all()
        assert (labels == 0).any()


def test_labels_are_resized_to_the_nearest_pixel() -> None:
    labels = torch.randint(0, 9, (37, 53), dtype=torch.uint8)
    for size in ((37, 53), (74, 106), (19, 80), (5, 7), (100, 20)):
        expected = interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]
        assert torch.equal(augmentation.resize_labels(labels, size), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 0}, "crop_size 0: expected at least 1"),
        ({"scale": (512, 2048)}, r"scale \[512, 2048\]: expected the longer and then the shorter side"),
        ({"ratio_range": (2.0, 0.5)}, r"ratio_range \[2.0, 0.5\]: expected two numbers above 0, the smaller first"),
        ({"ratio_range": (0.0, 0.5)}, "ratio_range"),
        ({"cat_max_ratio": 0.0}, "cat_max_ratio 0.0: expected above 0 and up to 1"),
        ({"flip": 1.5}, "flip 1.5: expected 0 to 1"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)  # type: ignore[arg-type]


# -- colours -----------------------------------------------------------------------------------------------------


def test_colours_are_as_plainly_computed() -> None:
    image = torch.randint(0, 256, (3, 300, 301), dtype=torch.uint8)
    matrix = 1.2 * augmentation.colour_matrix(0.7, 0.4)
    expected = np.clip(np.floor(matrix @ image.reshape(3, -1).numpy() - 7.0 + 0.5), 0, 255)
    mapped = augmentation.affine(image, matrix, -7.0)
    difference = np.abs(mapped.reshape(3, -1).numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_hue_and_saturation_leave_gray_and_luma() -> None:
    matrix = augmentation.colour_matrix(1.4, 0.5)
    assert matrix @ [90, 90, 90] == pytest.approx([90, 90, 90], abs=0.5)
    luma = augmentation.TO_LUMA_CHROMA[0]
    assert luma @ matrix @ [10, 200, 90] == pytest.approx(luma @ [10, 200, 90])
    assert augmentation.colour_matrix(1.0, 0.0) == pytest.approx(np.eye(3))


def test_colours_change_as_often_as_they_should() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    same = sum(torch.equal(augmentation.distort(image, random.Random(seed)), image) for seed in range(400))
    assert 8 < same < 50  # 1 in 16, and changes too small for bytes
