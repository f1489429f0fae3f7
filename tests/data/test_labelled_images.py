"""Images with labels: samples equal torchvision's transforms, whoever loads them; mixing; groups; digests."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from eqbench.data.base import Draw
from eqbench.data.image_files.normalization import IMAGENET
from eqbench.data.labelled_images.color_jitter import ColorJitter
from eqbench.data.labelled_images.dataset import LabelledImages
from eqbench.data.labelled_images.image_list import ImageList, PathColumn
from eqbench.data.sampling.order import hashed
from eqbench.errors import InputError

SIZE = 32
LABELS = [0] * 5 + [1] * 3 + [2] * 2
SIZES = [(70, 50), (50, 70), (64, 64), (41, 90), (33, 33)]


class Pictures(LabelledImages):
    """Ten pictures of three classes; the first six are evaluated on too."""

    class_names = ("zero", "one", "two")

    def __init__(self, root: Path, labels: Sequence[int] = LABELS, **options: Any) -> None:
        super().__init__(**{"image_size": SIZE, "resize": 40, "many_above": 4, "few_below": 3, **options})
        paths = PathColumn.from_strings(f"pictures/{number}.jpg" for number in range(len(labels)))
        self._train = ImageList(root, paths, torch.tensor(labels))
        self._eval = ImageList(root, PathColumn.from_strings(list(paths)[:6]), torch.tensor(labels[:6]))

    @property
    def train_images(self) -> ImageList:
        return self._train

    @property
    def eval_images(self) -> ImageList:
        return self._eval


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(len(LABELS)):
        width, height = SIZES[number % len(SIZES)]
        coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        image = coarse.resize((width, height), Image.Resampling.BICUBIC)
        image = image.convert("L") if number == 1 else image.convert("CMYK") if number == 2 else image
        image.save(folder / "pictures" / f"{number}.jpg", quality=95)
    return folder


def opened(root: Path, number: int) -> Tensor:
    """As Pillow reads it, contiguous."""
    with Image.open(root / "pictures" / f"{number}.jpg") as image:
        return functional.pil_to_tensor(image.convert("RGB"))


# -- samples -----------------------------------------------------------------------------------------------------

AUGMENTATIONS: dict[str, tuple[dict[str, Any], Callable[[], list[Any]]]] = {
    "plain": ({}, lambda: [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip(0.5)]),
    "recipe": (
        {"color_jitter": (0.4, 0.4, 0.4, 0.0)},
        lambda: [
            v2.RandomResizedCrop(SIZE, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.0),
        ],
    ),
    "all": (
        {"color_jitter": (0.2, 0.3, 0.4, 0.1), "scale": (0.3, 0.6), "flip": 1.0},
        lambda: [
            v2.RandomResizedCrop(SIZE, scale=(0.3, 0.6), antialias=True),
            v2.RandomHorizontalFlip(1.0),
            v2.ColorJitter(0.2, 0.3, 0.4, 0.1),
        ],
    ),
    "crop only": ({"flip": 0.0}, lambda: [v2.RandomResizedCrop(SIZE, antialias=True)]),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_training_samples_equal_torchvision_s_transforms_with_the_same_seed(root: Path, name: str) -> None:
    options, steps = AUGMENTATIONS[name]
    train = Pictures(root, **options).train
    transform = v2.Compose(steps())
    for seed in range(40):
        number = seed % len(LABELS)
        image, label, _ = train[Draw(number, 2**62 + seed)]
        torch.manual_seed(2**62 + seed)
        assert torch.equal(image, transform(opened(root, number)))
        assert label == LABELS[number]


@pytest.mark.parametrize("shape", [(3, 224, 224), (3, 37, 53), (1, 9, 9)])
def test_color_jitter_is_torchvision_s_bit_for_bit(shape: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, *shape), dtype=torch.uint8, generator=random)
    reference, ours = v2.ColorJitter(0.4, 0.4, 0.4), ColorJitter(0.4, 0.4, 0.4)
    for seed, image in enumerate([*images, images[0].float() / 255, images[0].expand(2, *shape)]):
        torch.manual_seed(seed)
        expected = reference(image)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)
    untouched = images[0].clone()
    ours(images[0])
    assert torch.equal(images[0], untouched)


def test_evaluation_samples_equal_torchvision_s_transforms(root: Path) -> None:
    evaluation = Pictures(root).eval
    transform = v2.Compose([v2.Resize(40, antialias=True), v2.CenterCrop(SIZE)])
    for number in range(len(evaluation)):
        assert torch.equal(evaluation[Draw(number, 0)][0], transform(opened(root, number)))


def test_a_sample_depends_on_its_draw_alone(root: Path) -> None:
    train = Pictures(root, color_jitter=(0.4, 0.4, 0.4, 0.1)).train
    before = torch.get_rng_state()
    first = train[Draw(3, 77)][0]
    assert torch.equal(torch.get_rng_state(), before)
    others = [train[Draw(3, seed)][0] for seed in range(5)]
    assert torch.equal(train[Draw(3, 77)][0], first)
    assert not any(torch.equal(other, first) for other in others)


@pytest.mark.parametrize("options", [{}, {"mixup": 0.2, "cutmix": 1.0}])
def test_batches_are_the_same_with_and_without_loader_processes(root: Path, options: dict[str, Any]) -> None:
    train = Pictures(root, **options).train
    batches = [[Draw(number, 100 + number) for number in part] for part in ([0, 1, 2], [3, 4], [], [9])]
    alone, loaded = (
        list(DataLoader(train, batch_sampler=batches, collate_fn=train.collate, num_workers=processes))  # type: ignore[arg-type, var-annotated]
        for processes in (0, 1)
    )
    assert len(alone) == len(loaded) == len(batches)
    for (images, labels), (other_images, other_labels) in zip(alone, loaded, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
        assert images.dtype is (torch.float32 if options else torch.uint8)


def test_batches_of_zero_samples_have_the_shape_of_others(root: Path) -> None:
    data = Pictures(root)
    for samples in (data.train, data.eval):
        images, labels = samples.collate([])
        assert (images.shape, images.dtype) == ((0, 3, SIZE, SIZE), torch.uint8)
        assert (labels.shape, labels.dtype) == ((0,), torch.int64)
    images, labels = Pictures(root, mixup=0.2).train.collate([])
    assert (images.shape, images.dtype) == ((0, 3, SIZE, SIZE), torch.float32)
    assert (labels.shape, labels.dtype) == ((0, 3), torch.float32)


def test_a_damaged_image_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(len(LABELS)):
        content = (root / "pictures" / f"{number}.jpg").read_bytes()
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(content[: len(content) // 2] if number == 4 else content)
    data = Pictures(tmp_path)
    for samples in (data.train, data.eval):
        with pytest.raises(InputError, match=r"pictures/4\.jpg: the image is cut off"):
            samples[Draw(4, 0)]
        samples[Draw(3, 0)]
        loader = DataLoader(samples, batch_sampler=[[Draw(4, 0)]], collate_fn=samples.collate, num_workers=1)  # type: ignore[arg-type, var-annotated]
        with pytest.raises(InputError, match=r"pictures/4\.jpg: the image is cut off") as caught:
            next(iter(loader))
        traceback.clear_frames(caught.tb)  # what they hold would let the loader process wait for seconds


# -- mixing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "kind"), [({"mixup": 0.4}, v2.MixUp), ({"cutmix": 1.0}, v2.CutMix)])
def test_mixing_is_torchvision_s_with_the_seed_of_the_first_sample(
    root: Path, options: dict[str, float], kind: type[Any]
) -> None:
    draws = [Draw(number, 50 + number) for number in range(6)]
    plain, mixed = Pictures(root), Pictures(root, **options)
    assert (plain.mixes, mixed.mixes) == (False, True)
    images, labels = plain.train.collate([plain.train[draw] for draw in draws])
    samples = [mixed.train[draw] for draw in draws]
    before = torch.get_rng_state()
    found_images, found_labels = mixed.train.collate(samples)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(hashed(50, 1))
    (alpha,) = options.values()
    expected_images, expected_labels = kind(alpha=alpha, num_classes=3)(IMAGENET.apply(images), labels)
    assert torch.equal(found_images, expected_images)
    assert torch.equal(found_labels, expected_labels)
    torch.testing.assert_close(found_labels.sum(dim=1), torch.ones(6))
    assert not torch.equal(found_images, IMAGENET.apply(images))


def test_with_both_kinds_of_mixing_each_batch_has_one_of_them(root: Path) -> None:
    both = Pictures(root, mixup=1.0, cutmix=1.0).train
    image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    kinds = set()
    for seed in range(12):
        images, _ = both.collate([(image, 0, seed), (image + 255, 1, seed)])
        kinds.add(len(images[0, 0].unique()))
    assert kinds == {1, 2}  # mixup gives one gray, a box of another image two values


# -- counts, groups, digest, options -----------------------------------------------------------------------------


def test_counts_groups_and_classes_of_samples(root: Path) -> None:
    data = Pictures(root)
    assert data.class_counts.tolist() == [5, 3, 2]
    assert list(data.groups) == ["many", "medium", "few"]
    offsets, classes = data.sample_classes()
    assert offsets.tolist() == list(range(11))
    assert classes.tolist() == LABELS


def test_the_digest_is_of_what_is_listed(root: Path, tmp_path: Path) -> None:
    digest = Pictures(root).digest
    assert len(digest) <= 36
    assert Pictures(tmp_path).digest == digest
    assert Pictures(root, image_size=16, mixup=0.5, color_jitter=(0.1, 0, 0, 0)).digest == digest
    assert Pictures(root, few_below=2).digest != digest
    assert Pictures(root, [0] * 4 + [1] * 4 + [2] * 2).digest != digest
    assert Pictures(root, [*LABELS, 2]).digest != digest


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"image_size": 0}, "image_size 0: expected at least 1"),
        ({"resize": 31}, "resize 31: expected at least image_size, 32"),
        ({"scale": (0.5, 0.2)}, r"scale \(0.5, 0.2\): expected"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"flip": 1.5}, "flip 1.5: expected a probability"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.6)}, "color_jitter"),
        ({"mixup": -0.1}, "mixup -0.1: expected a number of at least 0"),
        ({"cutmix": float("inf")}, "cutmix inf"),
        ({"many_above": 5, "few_below": 7}, "few_below 7, many_above 5: expected"),
    ],
)
def test_options_out_of_range_are_refused(root: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Pictures(root, **options)


# -- lists -------------------------------------------------------------------------------------------------------


def test_a_column_of_paths_gives_back_what_it_was_made_of() -> None:
    strings = ["a/1.jpg", "", "ordner/ä b.jpg", "byte\udcff.jpg"]
    column = PathColumn.from_strings(strings)
    copy = pickle.loads(pickle.dumps(column))
    assert list(column) == list(copy) == strings
    assert column[2] == strings[2]
    assert column.digest() == copy.digest()
    assert PathColumn.from_strings(["ab", "c"]).digest() != PathColumn.from_strings(["a", "bc"]).digest()
    assert list(PathColumn.from_strings([])) == []
    for index in (4, -1):
        with pytest.raises(IndexError):
            column[index]


def test_a_list_has_a_label_for_each_path() -> None:
    paths = PathColumn.from_strings(["a", "b"])
    for labels in (torch.tensor([1]), torch.tensor([1.0, 2.0])):
        with pytest.raises(ValueError, match=r"expected \(2,\), torch.int64"):
            ImageList(Path("/data"), paths, labels)
