"""ADE20K: what masks mean, groups, the release that is expected, and what an examination says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eqbench.data.ade20k import ADE20K, examine, prepare
from eqbench.data.base import Draw
from eqbench.data.pixel_masks.class_lists import ADE20K_CLASSES
from eqbench.data.segmentation import GROUPS, groups_by_pixels
from eqbench.data.verification import Contents, Findings
from eqbench.errors import InputError
from tests.data.mask_files import (
    HEIGHT,
    NAMES,
    WIDTH,
    blocks,
    image_of,
    mask_of,
    mask_values,
    picture,
    write_ade20k,
    write_image,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_ade20k(tmp_path / "ade")


def small(root: Path) -> ADE20K:
    return ADE20K(root=root, crop_size=32, scale=(64, 40), eval_scale=(112, 80))


def test_zero_is_ignored_and_classes_begin_at_0_once(root: Path) -> None:
    data = small(root)
    for number in range(3):
        stored = mask_values(mask_of(root, number + 1, "val")).astype(int)
        _, labels = data.eval[Draw(number, 0)]
        assert labels.dtype == torch.uint8
        assert labels.tolist() == np.where(stored == 0, 255, stored - 1).tolist()


def test_values_of_the_150_classes(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ade", names=ADE20K_CLASSES)
    mask = np.resize(np.arange(151, dtype=np.uint8), (HEIGHT, WIDTH))
    write_image(mask_of(root, 1, "val"), mask)
    data = small(root)
    labels = data.eval[Draw(0, 0)][1].flatten()[:151].tolist()
    assert labels[0] == 255
    assert labels[1:] == list(range(150))
    assert data.num_classes == 150
    assert data.published_groups is not None
    assert [list(data.published_groups).count(group) for group in GROUPS] == [20, 55, 75]
    assert data.published_groups[19] == "head"
    assert data.published_groups[20] == data.published_groups[74] == "body"
    assert data.published_groups[75] == "tail"


def test_counts_are_those_of_the_training_masks(root: Path) -> None:
    data = small(root)
    masks = [mask_values(mask_of(root, number)) for number in range(1, 7)]
    pixels = [sum(int((mask == value).sum()) for mask in masks) for value in range(1, 6)]
    shown = [sum(int((mask == value).any()) for mask in masks) for value in range(1, 6)]
    assert data.class_counts.tolist() == pixels
    assert data.image_counts.tolist() == shown
    assert data.class_frequency.tolist() == pytest.approx([number / 6 for number in shown])
    offsets, classes = data.sample_classes()
    for number, mask in enumerate(masks):
        expected = [value - 1 for value in np.unique(mask).tolist() if value]
        assert classes[offsets[number] : offsets[number + 1]].tolist() == expected


def test_class_names_are_the_first_of_each_row(root: Path) -> None:
    assert small(root).class_names == NAMES
    (root / "objectInfo150.txt").unlink()
    data = small(root)
    assert data.class_names == ADE20K_CLASSES
    assert len(set(ADE20K_CLASSES)) == 150
    assert [ADE20K_CLASSES[place - 1] for place in (1, 44, 90, 131, 150)] == [
        "wall", "signboard", "television", "screen", "flag",
    ]  # fmt: skip


def test_names_that_begin_alike_are_kept_whole(root: Path) -> None:
    rows = ["1\tblock, red", "2 \tblock, blue ", "3\tbar", "4\tball", "5\tlamp"]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tName", *rows]))
    assert small(root).class_names == ("block, red", "block, blue", "bar", "ball", "lamp")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Idx\tRatio", "1\t0.5"], "line 1: 'Idx\\\\tRatio'; expected column heads with Idx and Name"),
        (["Idx\tName", "1\twall", "3\ttree"], "line 3: Idx '3'; expected 2"),
        (["Idx\tName", "1\twall", "2"], "line 3: '2'; expected a name in column 2"),
        (["Name\tIdx", "wall\t1", "tree"], "line 3: Idx ''; expected 2"),
        (["Idx\tName"], "0 classes; expected 1 to 253"),
        ([], "line 1: ''; expected column heads"),
    ],
)
def test_bad_tables_of_objects(root: Path, lines: list[str], message: str) -> None:
    (root / "objectInfo150.txt").write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"objectInfo150.txt.*{message}"):
        small(root)


def test_groups_by_pixels() -> None:
    counts = torch.arange(150, 0, -1)
    groups = groups_by_pixels(counts)
    assert groups == ["head"] * 20 + ["body"] * 55 + ["tail"] * 75
    assert groups_by_pixels(counts.flip(0)) == groups[::-1]
    assert groups_by_pixels(torch.tensor([7, 7, 7])) == ["head", "body", "tail"]
    assert groups_by_pixels(torch.tensor([1, 2])) == ["tail", "head"]


def test_evaluation_keeps_the_ratio_and_the_labels_size(root: Path) -> None:
    write_image(image_of(root, 1, "val"), picture(blocks(np.random.default_rng(3), 5, 20, 80)))
    write_image(mask_of(root, 1, "val"), np.ones((20, 80), np.uint8))
    data = small(root)
    images, labels = data.eval.collate([data.eval[Draw(number, 0)] for number in range(3)])
    assert [tuple(image.shape) for image in images] == [(3, 28, 112), (3, 80, 112), (3, 80, 112)]
    assert [tuple(mask.shape) for mask in labels] == [(20, 80), (HEIGHT, WIDTH), (HEIGHT, WIDTH)]
    assert data.eval.names == tuple(f"ADE_val_{number:08d}" for number in (1, 2, 3))
    assert data.eval.collate([]) == ([], [])


def test_batches_of_crops(root: Path) -> None:
    data = small(root)
    images, labels = data.train.collate([data.train[Draw(number, number)] for number in range(4)])
    assert (images.shape, images.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert (labels.shape, labels.dtype) == ((4, 32, 32), torch.uint8)
    images, labels = data.train.collate([])
    assert (images.shape, images.dtype) == ((0, 3, 32, 32), torch.uint8)
    assert (labels.shape, labels.dtype) == ((0, 32, 32), torch.uint8)


def test_digest_is_of_what_is_learned_not_of_where_or_how(root: Path, tmp_path: Path) -> None:
    digest = small(root).digest
    assert len(digest) <= 36
    assert ADE20K(root=root, crop_size=16, flip=0.0).digest == digest
    other = tmp_path / "elsewhere"
    shutil.copytree(root, other)
    assert small(other).digest == digest
    mask = mask_values(mask_of(other))
    mask[0, 0] = mask[0, 0] % 5 + 1
    write_image(mask_of(other), mask)
    assert small(other).digest != digest
    shutil.rmtree(other)
    shutil.copytree(root, other)
    (other / "objectInfo150.txt").write_text((root / "objectInfo150.txt").read_text().replace("lamp", "light"))
    assert small(other).digest != digest


def test_the_full_set_is_refused(tmp_path: Path) -> None:
    full = tmp_path / "ADE20K_2021_17_01"
    scene = full / "images/ADE/training/urban/street"
    scene.mkdir(parents=True)
    (scene / "ADE_train_00000001_seg.png").touch()
    reason = "whose masks tell 3,000 classes .*expected the release with 150 classes .*ADEChallengeData2016[.]zip"
    with pytest.raises(InputError, match=f"full ADE20K .there is images/ADE/.*00001_seg[.]png., {reason}"):
        small(full)
    with pytest.raises(InputError, match=f"full ADE20K .there is ADE20K_2021_17_01., {reason}"):
        small(tmp_path)
    (full / "index_ade20k.pkl").touch()
    with pytest.raises(InputError, match=f"full ADE20K .there is index_ade20k[.]pkl., {reason}"):
        small(full)


def test_folders_that_are_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="aed: no such folder; did you mean 'ade'"):
        small(tmp_path / "aed")
    shutil.move(root, tmp_path / "data" / "ADEChallengeData2016")
    with pytest.raises(InputError, match=r"images/training: no such folder; did you mean .*/data/ADEChallengeData2016"):
        small(tmp_path / "data")
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no such folder \(in .* there is pictures\)"):
        small(tmp_path / "other")


def examined(root: Path, *, miniature: bool = True) -> tuple[Contents | None, Findings]:
    found = Findings()
    return examine(root, found, miniature=miniature), found


def test_examination(root: Path) -> None:
    contents, found = examined(root)
    data = small(root)
    assert found.ok
    assert contents is not None
    assert contents.digest == data.digest
    assert contents.counts["train"].tolist() == data.class_counts.tolist()
    assert list(contents.groups) == list(data.groups)
    assert {split: len(files) for split, files in contents.files.items()} == {"train": 12, "val": 6}
    assert all((root / path).is_file() for files in contents.files.values() for path in files)
    assert [contents.decode(root, path) for path in contents.files["train"]] == [[]] * 12


def test_counts_of_the_real_one_are_expected(root: Path) -> None:
    _, found = examined(root, miniature=False)
    assert found.problems["counts"].items == [
        "5 classes; expected 150",
        "train: 6 images; expected 20,210",
        "val: 3 images; expected 2,000",
    ]


def test_examination_finds_leaks(root: Path) -> None:
    shutil.copy(mask_of(root), mask_of(root, 1, "val"))
    _, found = examined(root)
    assert found.ok
    assert found.notes["masks in both splits"].items == [f"{mask_of(root, 1, 'val')} is {mask_of(root)}"]
    for of in (image_of, mask_of):
        shutil.copy(of(root), of(root, 1, "val").with_name(of(root).name))
    _, found = examined(root)
    assert found.problems["images in both splits"].items == [
        f"{image_of(root, 1, 'val').with_name(image_of(root).name)} is {image_of(root)}"
    ]
    with Image.open(image_of(root)) as image:
        write_image(image_of(root, 1, "val").with_name(image_of(root).name), image.copy(), quality=50)
    _, found = examined(root)
    assert found.problems["images in both splits"].number == 1
    assert "00002.jpg has name and mask of " in found.problems["images in both splits"].items[0]


def test_examination_finds_the_same_mask_under_several_names(root: Path) -> None:
    shutil.copy(mask_of(root, 1), mask_of(root, 6))
    namesake = image_of(root, 1, "val").with_name(image_of(root, 1).name)
    write_image(namesake, Image.new("RGB", (WIDTH, HEIGHT)))
    shutil.copy(mask_of(root, 1), mask_of(root, 1, "val").with_name(mask_of(root, 1).name))
    _, found = examined(root)
    assert found.problems["images in both splits"].items == [f"{namesake} has name and mask of {image_of(root, 1)}"]


def test_examination_finds_images_with_masks_of_one_value_in_both_splits(root: Path) -> None:
    for split in ("train", "val"):
        for number in (1, 2):
            write_image(mask_of(root, number, split), np.full((HEIGHT, WIDTH), 2, np.uint8))
    _, found = examined(root)
    assert found.ok
    assert not found.notes.keys() & {"masks in both splits"}
    for of in (image_of, mask_of):
        shutil.copy(of(root), of(root, 1, "val").with_name(of(root).name))
    _, found = examined(root)
    assert found.problems["images in both splits"].number == 1


def test_nothing_to_learn_from(root: Path) -> None:
    for number in range(1, 7):
        write_image(mask_of(root, number), np.zeros((HEIGHT, WIDTH), np.uint8))
    _, found = examined(root)
    (said,) = found.problems["nothing to learn from"].items
    assert said.endswith("annotations/training: every pixel of every mask is ignored; there is nothing to learn")
    with pytest.raises(InputError, match="every pixel of every mask is ignored"):
        prepare(root)


def test_examination_notes_classes_without_pixels(root: Path) -> None:
    for number in range(1, 4):
        write_image(mask_of(root, number, "val"), np.full((HEIGHT, WIDTH), 2, np.uint8))
    write_image(mask_of(root), np.zeros((HEIGHT, WIDTH), np.uint8))
    _, found = examined(root)
    assert found.ok
    assert found.notes["classes without a pixel in val"].items == ["wall", "bed", "lamp", "clock"]
    assert found.notes["masks with ignored pixels only"].items == [str(mask_of(root))]


def test_examination_of_what_is_none(tmp_path: Path) -> None:
    contents, found = examined(tmp_path)
    assert contents is None
    assert "no such folder" in found.problems["layout"].items[0]


def test_preparation(root: Path) -> None:
    lines = "\n".join(prepare(root))
    assert f"{root}/images/training: 6 images, each with its mask" in lines
    assert f"{root}/annotations/training.index" in lines
    assert "classes: 5 (1 head, 1 body, 3 tail" in lines
