"""Damaged and odd files among images and masks: named and refused, or used as documented."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eqbench.data.ade20k import ADE20K, examine
from eqbench.data.base import Draw
from eqbench.data.verification import Contents, Findings
from eqbench.errors import InputError
from tests.data.mask_files import HEIGHT, WIDTH, image_of, mask_of, mask_values, picture, write_ade20k, write_image

Damage = Callable[[Path], object]


def cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def label(value: int) -> Damage:
    def change(root: Path) -> None:
        mask = mask_values(mask_of(root))
        mask[7, 31:33] = value
        write_image(mask_of(root), mask)

    return change


def deep(root: Path) -> None:
    write_image(mask_of(root), Image.fromarray(300 * mask_values(mask_of(root)).astype(np.uint16)))


REFUSED: dict[str, tuple[Damage, str, str]] = {
    "mask of another size": (
        lambda root: write_image(mask_of(root), np.ones((HEIGHT, WIDTH - 1), np.uint8)),
        "masks of another size",
        r"00002.png: 55 x 40 pixels \(width x height\), its image has 56 x 40$",
    ),
    "label out of range": (
        label(6),
        "labels out of range",
        r"00002.png: label 6 at row 7, column 31; expected 1 to 5, or 0 for ignored$",
    ),
    "label of 255": (label(255), "labels out of range", "label 255 at row 7, column 31; .*was 1 subtracted already"),
    "RGB mask": (
        lambda root: write_image(mask_of(root), picture(mask_values(mask_of(root)))),
        "masks that cannot be used",
        "00002.png: a mask with 3 channels",
    ),
    "16-bit mask": (deep, "masks that cannot be used", "00002.png: label .*expected at most 255"),
    "JPEG as a mask": (
        lambda root: write_image(mask_of(root), mask_values(mask_of(root)), format="JPEG"),
        "masks that cannot be used",
        "00002.png: .*JPEG; expected PNG",
    ),
    "cut-off mask": (lambda root: cut(mask_of(root)), "masks that cannot be used", "00002.png: .*cut off"),
    "empty mask": (lambda root: cut(mask_of(root), 0), "masks that cannot be used", "00002.png: .*empty"),
    "mask missing": (
        lambda root: mask_of(root).unlink(),
        "masks missing",
        "annotations/training/ADE_train_00000002.png: no mask for the image ADE_train_00000002.jpg",
    ),
    "image missing": (
        lambda root: image_of(root).unlink(),
        "images missing",
        "images/training/ADE_train_00000002.jpg: no image, .*for the mask ADE_train_00000002.png",
    ),
    "not an image": (
        lambda root: image_of(root).write_text("<html>404</html>"),
        "images that cannot be read",
        "00002.jpg: not an image",
    ),
    "two images for a mask": (
        lambda root: write_image(image_of(root).with_suffix(".png"), Image.new("RGB", (WIDTH, HEIGHT))),
        "images of the same name",
        "ADE_train_00000002.* are images for one mask; expected one",
    ),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_refused_by_name(tmp_path: Path, damage: str) -> None:
    root = write_ade20k(tmp_path / "ade")
    change, kind, message = REFUSED[damage]
    change(root)
    with pytest.raises(InputError, match=message) as error:
        ADE20K(root=root)
    assert "\n" not in str(error.value)
    found = Findings()
    contents = examine(root, found, miniature=True)
    assert contents is None or (not contents.counts and not contents.digest)
    assert {name: group.number for name, group in found.problems.items()} == {kind: 1}
    assert found.problems[kind].items[0] in str(error.value)


def test_every_fault_is_found_and_the_first_is_said(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade")
    cut(mask_of(root, 1))
    write_image(mask_of(root, 2), np.ones((3, 4), np.uint8))
    cut(mask_of(root, 4), 0.3)
    with pytest.raises(
        InputError, match=r"00001.png: .*\(in all: 2 masks that cannot be used, 1 masks of another size\)"
    ):
        ADE20K(root=root)
    image_of(root, 6).unlink()
    mask_of(root, 1, "val").unlink()
    found = Findings()
    examine(root, found, miniature=True)
    assert {name: group.number for name, group in found.problems.items()} == {
        "masks that cannot be used": 2,
        "masks of another size": 1,
        "images missing": 1,
        "masks missing": 1,
    }


def test_faults_of_labels_beyond_the_first_few_are_counted_too(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade", train=25)
    for number in range(1, 26):
        write_image(mask_of(root, number), np.full((HEIGHT, WIDTH), 77, np.uint8))
    found = Findings(limit=None)
    examine(root, found, miniature=True)
    assert found.problems["labels out of range"].number == 25
    assert all("label 77" in item for item in found.problems["labels out of range"].items)


def cmyk(root: Path) -> None:
    with Image.open(image_of(root)) as image:
        write_image(image_of(root), image.convert("CMYK"))


def gray(root: Path) -> None:
    with Image.open(image_of(root)) as image:
        write_image(image_of(root), image.convert("L"))


def turned(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(image_of(root)) as image:
        write_image(image_of(root), image.copy(), exif=exif)


@pytest.mark.parametrize(
    ("change", "note"), [(cmyk, "CMYK"), (gray, "mode L"), (turned, "EXIF")], ids=["CMYK", "grayscale", "EXIF"]
)
def test_odd_images_are_used_and_noted(tmp_path: Path, change: Damage, note: str) -> None:
    root = write_ade20k(tmp_path / "ade")
    before, _ = ADE20K(root=root, distort=False, crop_size=32).train[Draw(1, 7)]
    change(root)
    image, labels = ADE20K(root=root, distort=False, crop_size=32).train[Draw(1, 7)]
    assert image.shape == (3, 32, 32)
    assert labels.shape == (32, 32)
    if change is gray:
        assert torch.equal(image[0], image[2])
    else:
        assert (image.int() - before.int()).abs().float().mean() < 16  # not turned
    name = image_of(root).relative_to(root).as_posix()
    found = described(root).decode(root, name)
    assert [kind.startswith("note:") and note in kind for kind, _ in found] == [True]


def test_a_mask_for_the_turned_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade")
    turned(root)
    write_image(mask_of(root), mask_values(mask_of(root)).T.copy())
    with pytest.raises(InputError, match=r"40 x 56 .* 56 x 40; the image's EXIF orientation 6 is not applied"):
        ADE20K(root=root)


def test_a_palette_mask_has_its_indices(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade")
    digest = ADE20K(root=root).class_counts
    image = Image.fromarray(mask_values(mask_of(root))).convert("P")
    image.putdata(mask_values(mask_of(root)).ravel().tolist())
    write_image(mask_of(root), image)
    assert ADE20K(root=root).class_counts.tolist() == digest.tolist()


def test_only_ignored_pixels(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade")
    write_image(mask_of(root), np.zeros((HEIGHT, WIDTH), np.uint8))
    data = ADE20K(root=root, crop_size=32)
    assert (data.train[Draw(1, 0)][1] == 255).all()
    offsets, _ = data.sample_classes()
    assert offsets[1] == offsets[2]
    for number in range(1, 7):
        write_image(mask_of(root, number), np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(InputError, match="annotations/training: every pixel of every mask is ignored"):
        ADE20K(root=root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (label(9), "00002.png: label 9 at row 7, column 31"),
        (lambda root: write_image(mask_of(root), np.ones((8, 8), np.uint8)), "8 x 8 pixels .* its image has 56 x 40"),
        (lambda root: image_of(root).unlink(), "00002.jpg: no such file"),
        (lambda root: cut(image_of(root)), "00002.jpg: .*(cut off|cannot be decoded)"),
        (lambda root: cut(mask_of(root)), "00002.png: .*cut off"),
    ],
    ids=["label", "size", "no image", "image cut off", "mask cut off"],
)
def test_files_damaged_after_the_index_was_built(tmp_path: Path, change: Damage, message: str) -> None:
    root = write_ade20k(tmp_path / "ade")
    data = ADE20K(root=root, crop_size=32)
    change(root)
    with pytest.raises(InputError, match=message):
        data.train[Draw(1, 0)]


def test_deep_check_of_a_damaged_image_and_mask(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade")
    decode = described(root).decode
    cut(image_of(root), 0.7)
    cut(mask_of(root))
    for file, kind in ((image_of(root), "damaged images"), (mask_of(root), "masks that cannot be used")):
        name = file.relative_to(root).as_posix()
        (found,) = decode(root, name)
        assert found[0] == kind
        assert found[1].startswith(f"{name}: ")


def test_deep_check_is_of_the_files_not_of_the_index(tmp_path: Path) -> None:
    """A check that was made for the files as they were finds how they are, in another process too."""
    root = write_ade20k(tmp_path / "ade")
    decode = pickle.loads(pickle.dumps(described(root).decode))
    image, mask = (file.relative_to(root).as_posix() for file in (image_of(root), mask_of(root)))
    assert decode(root, mask) == decode(root, image) == []
    label(6)(root)
    assert decode(root, mask) == [
        ("labels out of range", f"{mask}: label 6 at row 7, column 31; expected 1 to 5, or 0 for ignored")
    ]
    write_image(image_of(root), Image.new("RGB", (WIDTH, HEIGHT - 1)))
    write_image(mask_of(root), np.ones((HEIGHT, WIDTH), np.uint8))
    assert decode(root, mask) == [
        ("masks of another size", f"{mask}: 56 x 40 pixels (width x height), its image has 56 x 39")
    ]
    assert decode(root, image) == [
        ("images of another size than their masks", f"{image}: 56 x 39 pixels (width x height), its mask has 56 x 40")
    ]
    mask_of(root).unlink()
    assert decode(root, image) == []


def described(root: Path) -> Contents:
    contents = examine(root, Findings(), miniature=True)
    assert contents is not None
    return contents


def test_random_damage_is_never_a_crash(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade", train=2, val=1)
    intact = {file: file.read_bytes() for file in (mask_of(root, 1), image_of(root, 1))}
    rng = np.random.default_rng(0)
    refused = 0
    for file, content in intact.items():
        for _ in range(30):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), 3):
                damaged[place] = rng.integers(256)
            if rng.random() < 0.3:
                del damaged[rng.integers(len(content)) :]
            file.write_bytes(bytes(damaged))
            said = used_or_refused(root)
            assert not said or file.name in said
            refused += bool(said)
        file.write_bytes(content)
    assert refused > 20


def used_or_refused(root: Path) -> str:
    """What is said of a data set whose first pair may be damaged; empty where it can be used."""
    try:
        image, labels = ADE20K(root=root, crop_size=16).train[Draw(0, 1)]
    except InputError as error:
        return str(error)
    assert image.shape == (3, 16, 16)
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 4, 255}
    return ""
