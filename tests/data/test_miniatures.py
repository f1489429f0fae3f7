"""Miniatures of the classification sets: the on-disk formats, the counts, and that the loaders open them."""

from __future__ import annotations

import importlib
import json
import pickle
import pickletools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eqbench.data.base import Draw
from eqbench.data.cifar_lt import CIFARLT
from eqbench.data.imagenet_lt import ImageNetLT
from eqbench.data.inaturalist2018 import INaturalist2018
from eqbench.data.miniatures import Parameters, make
from eqbench.data.miniatures.classified import class_counts
from eqbench.data.miniatures.long_tail import long_tail
from eqbench.data.miniatures.python2_pickle import dumps
from eqbench.data.places_lt import PlacesLT
from eqbench.data.verification import Findings

SMALL: dict[str, dict[str, int]] = {
    "imagenet_lt": {"images": 60, "classes": 6, "size": 48},
    "places_lt": {"images": 60, "classes": 6, "size": 48},
    "inaturalist2018": {"images": 60, "classes": 9, "size": 48},
    "cifar_lt": {"images": 200, "classes": 10, "size": 32},
}
LISTS = {
    "imagenet_lt": ("ImageNet_LT_train.txt", "ImageNet_LT_val.txt", "ImageNet_LT_test.txt"),
    "places_lt": ("Places_LT_train.txt", "Places_LT_val.txt", "Places_LT_test.txt"),
    "inaturalist2018": ("iNaturalist18_train.txt", "iNaturalist18_val.txt"),
}
Lines = list[tuple[str, int]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a miniature of each data set."""
    root = tmp_path_factory.mktemp("miniatures")
    for name, options in SMALL.items():
        make(name, root / name, **options, seed=4)
    return root


def read_lists(root: Path, name: str) -> dict[str, Lines]:
    """Paths and labels by split."""
    splits: dict[str, Lines] = {}
    for file in LISTS[name]:
        lines = [line.rsplit(" ", 1) for line in (root / name / file).read_text().splitlines()]
        splits[file.rpartition("_")[2][:-4]] = [(path, int(label)) for path, label in lines]
    return splits


def load(path: Path) -> Any:
    return pickle.loads(path.read_bytes(), encoding="bytes")


# -- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTS)
def test_every_line_has_its_file_and_every_file_one_line(root: Path, name: str) -> None:
    listed = [path for lines in read_lists(root, name).values() for path, _ in lines]
    there = [path for path in (root / name).rglob("*") if path.suffix in (".jpg", ".JPEG")]
    assert sorted(listed) == sorted(path.relative_to(root / name).as_posix() for path in there)
    assert len(set(listed)) == len(listed)
    for path in there:
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, max(picture.size)) == ("JPEG", "RGB", 48)


@pytest.mark.parametrize(("name", "evaluated"), [("imagenet_lt", 5), ("places_lt", 5), ("inaturalist2018", 3)])
def test_training_is_long_tailed_and_evaluation_balanced(root: Path, name: str, evaluated: int) -> None:
    splits = {split: Counter(label for _, label in lines) for split, lines in read_lists(root, name).items()}
    classes = SMALL[name]["classes"]
    assert sum(splits["train"].values()) == 60
    assert sorted(splits["train"].values(), reverse=True) == long_tail(60, classes, 64).tolist()
    assert splits["val"] == dict.fromkeys(range(classes), evaluated)
    assert splits.get("test", splits["val"]) == dict.fromkeys(range(classes), 10 if "test" in splits else 3)


def test_layout_of_imagenet_lt(root: Path) -> None:
    splits = read_lists(root, "imagenet_lt")
    wnids: dict[int, set[str]] = {label: set() for label in range(6)}
    for split, lines in splits.items():
        for path, label in lines:
            folder, wnid, file = path.split("/")
            wnids[label].add(wnid)
            assert folder == ("val" if split == "test" else "train"), "the validation images are in train/"
            assert file.startswith("ILSVRC2012_val_" if split == "test" else f"{wnid}_")
            assert file.endswith(".JPEG")
    assert all(len(names) == 1 for names in wnids.values())
    ordered = [next(iter(wnids[label])) for label in range(6)]
    assert ordered == sorted(ordered)
    assert ordered[0] == "n01440764"
    assert all(len(wnid) == 9 and wnid[1:].isdigit() for wnid in ordered)
    assert sorted(path[-13:-5] for path, _ in splits["test"]) == [f"{number:08d}" for number in range(1, 61)]


def test_layout_of_places_lt(root: Path) -> None:
    splits = read_lists(root, "places_lt")
    names = {label: path.split("/")[1] for path, label in splits["train"]}
    assert [names[label] for label in range(6)] == sorted(names.values())
    assert all("-" in name for name in names.values()), "as outdoor and indoor scenes in the real one"
    for split, lines in splits.items():
        for path, label in lines:
            folder, scene, file = path.split("/")
            assert (folder, scene) == ("val" if split == "test" else "train", names[label])
            assert file.startswith("Places365_val_") == (split == "test")
    with Image.open(root / "places_lt" / splits["train"][0][0]) as picture:
        assert picture.size == (48, 48)


# -- iNaturalist -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_json_files_of_inaturalist(root: Path, split: str) -> None:
    content = json.loads((root / "inaturalist2018" / f"{split}2018.json").read_text())
    assert set(content) == {"info", "images", "categories", "annotations", "licenses"}
    assert set(content["info"]) == {"year", "version", "description", "contributor", "url", "date_created"}
    images = {image["id"]: image for image in content["images"]}
    listed = [(images[each["image_id"]]["file_name"], each["category_id"]) for each in content["annotations"]]
    assert listed == read_lists(root, "inaturalist2018")[split]
    supers = {each["id"]: each["supercategory"] for each in content["categories"]}
    assert list(supers) == list(range(9))
    for path, label in listed:
        folder, supercategory, category, file = path.split("/")
        assert (folder, supercategory, category) == ("train_val2018", supers[label], str(label))
        assert len(file) == 36
    for image in images.values():
        assert set(image) == {"id", "width", "height", "file_name", "license", "rights_holder"}
        with Image.open(root / "inaturalist2018" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
    for category in content["categories"]:
        assert {"name", "kingdom", "phylum", "class", "order", "family", "genus"} <= set(category)


def test_json_and_lists_of_inaturalist_are_the_same_data_set(root: Path, tmp_path: Path) -> None:
    digests = []
    for kept in ("*.txt", "*.json"):
        other = tmp_path / kept[2:]
        other.mkdir()
        for path in [root / "inaturalist2018/train_val2018", *(root / "inaturalist2018").glob(kept)]:
            if path.name != "manifest.json":
                (other / path.name).symlink_to(path)
        digests.append(INaturalist2018(root=other).digest)
    assert digests[0] == digests[1] == INaturalist2018(root=root / "inaturalist2018").digest


# -- CIFAR -------------------------------------------------------------------------------------------------------


def test_files_of_cifar10(root: Path) -> None:
    folder = root / "cifar_lt/cifar-10-batches-py"
    batches = [load(folder / f"data_batch_{number}") for number in range(1, 6)]
    assert [batch[b"batch_label"] for batch in batches][4] == b"training batch 5 of 5"
    labels = [label for batch in batches for label in batch[b"labels"]]
    assert Counter(labels) == dict.fromkeys(range(10), 20)
    names = [name for batch in batches for name in batch[b"filenames"]]
    assert len(set(names)) == 200
    for batch in [*batches, load(folder / "test_batch")]:
        assert set(batch) == {b"batch_label", b"labels", b"data", b"filenames"}
        assert (batch[b"data"].dtype, batch[b"data"].shape) == (np.uint8, (len(batch[b"labels"]), 3072))
    meta = load(folder / "batches.meta")
    assert set(meta) == {b"num_cases_per_batch", b"label_names", b"num_vis"}
    assert len(set(meta[b"label_names"])) == 10


def test_files_of_cifar100(tmp_path: Path) -> None:
    make("cifar_lt", tmp_path / "new", images=500, classes=100, seed=5)
    folder = tmp_path / "new/cifar-100-python"
    meta = load(folder / "meta")
    assert {key: len(set(names)) for key, names in meta.items()} == {
        b"fine_label_names": 100,
        b"coarse_label_names": 20,
    }
    for split, per_class in (("train", 5), ("test", 10)):
        batch = load(folder / split)
        assert set(batch) == {b"filenames", b"batch_label", b"fine_labels", b"coarse_labels", b"data"}
        assert Counter(batch[b"fine_labels"]) == dict.fromkeys(range(100), per_class)
        coarse = dict(zip(batch[b"fine_labels"], batch[b"coarse_labels"], strict=True))
        assert Counter(coarse.values()) == dict.fromkeys(range(20), 5)
    assert CIFARLT(root=tmp_path / "new", classes=100, imbalance_factor=5).class_counts.max() == 5


def test_pickles_are_those_of_python_2(root: Path) -> None:
    content = (root / "cifar_lt/cifar-10-batches-py/test_batch").read_bytes()
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(content)}
    assert "SHORT_BINSTRING" in opcodes
    assert not {"BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"} & opcodes


def test_pickled_values_come_back() -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 200), np.uint8)
    value = {"a": [1, -700, "x" * 300], "b": {}, "c": array, "d": []}
    back = pickle.loads(dumps(value), encoding="latin1")
    assert np.array_equal(back.pop("c"), array)
    assert back == {"a": [1, -700, "x" * 300], "b": {}, "d": []}
    with pytest.raises(TypeError, match="float: expected dict"):
        dumps({"a": 1.5})


# -- counts ------------------------------------------------------------------------------------------------------


@given(st.integers(4, 1203), st.integers(4, 100_000))
def test_long_tail(classes: int, images: int) -> None:
    images = max(images, 4 * classes)
    counts = long_tail(images, classes, 64)
    assert counts.sum() == images
    assert (np.diff(counts) <= 0).all()
    assert counts.min() >= 1
    assert counts.max() / counts.min() >= min(50, images / classes)


@pytest.mark.parametrize("name", LISTS)
def test_default_has_all_groups_and_a_long_tail(name: str) -> None:
    counts = class_counts(Parameters.of(name))
    assert counts.max() / counts.min() >= 50
    assert min((counts > 100).sum(), (counts < 20).sum(), ((counts >= 20) & (counts <= 100)).sum()) >= 3
    assert counts.tolist() != sorted(counts, reverse=True), "frequent classes are not those with the first labels"


# -- loaders -----------------------------------------------------------------------------------------------------


def opened(root: Path, name: str) -> Any:
    match name:
        case "imagenet_lt":
            return ImageNetLT(root=root / name, image_size=32, resize=40)
        case "places_lt":
            return PlacesLT(root=root / name, image_size=32, resize=40)
        case "inaturalist2018":
            return INaturalist2018(root=root / name, image_size=32, resize=40)
        case _:
            return CIFARLT(root=root / name, classes=10, imbalance_factor=20)


@pytest.mark.parametrize("name", SMALL)
def test_loaders_open_it(root: Path, name: str) -> None:
    data = opened(root, name)
    assert data.num_classes == SMALL[name]["classes"]
    if name in LISTS:
        counts = Counter(label for _, label in read_lists(root, name)["train"])
        assert data.class_counts.tolist() == [counts[label] for label in range(data.num_classes)]
    else:
        assert data.class_counts.tolist() == sorted(data.class_counts.tolist(), reverse=True)
    for samples in (data.train, data.eval):
        images, labels = samples.collate([samples[Draw(index, index)] for index in range(len(samples))])
        assert (images.dtype, images.shape) == (torch.uint8, (len(samples), 3, 32, 32))
        assert set(labels.tolist()) == set(range(data.num_classes))


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_wrong_with_it(root: Path, name: str) -> None:
    module, found = importlib.import_module(f"eqbench.data.{name}"), Findings()
    contents = module.examine(root / name, found, miniature=True)
    assert found.problems == {}
    for paths in contents.files.values():
        assert [path for path in paths if contents.decode(root / name, path)] == []
