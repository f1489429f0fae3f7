"""iNaturalist 2018 as it lies on disk: lists or json files, and other years' files that are taken for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eqbench.data import inaturalist2018
from eqbench.data.base import Draw
from eqbench.data.image_lists.releases import INATURALIST_2018
from eqbench.data.inaturalist2018 import INaturalist2018
from eqbench.data.verification import Findings
from eqbench.errors import InputError
from tests.data.labelled_files import (
    COUNTS,
    annotations,
    inaturalist_lists,
    write_inaturalist,
    write_json,
    write_list,
)


def kinds(root: Path, *, miniature: bool = True) -> dict[str, list[str]]:
    found = Findings()
    inaturalist2018.examine(root, found, miniature=miniature)
    return {kind: each.items for kind, each in found.problems.items()}


def write_annotations(root: Path) -> None:
    for split, listed in inaturalist_lists().items():
        write_json(root / f"{split}2018.json", annotations(listed))


def test_lists_say_what_is_trained_on_and_evaluated(tmp_path: Path) -> None:
    splits = write_inaturalist(tmp_path)
    data = INaturalist2018(root=tmp_path, image_size=24, resize=32)
    assert list(data.train_images.paths) == [path for path, _ in splits["train"]]
    assert list(data.eval_images.paths) == [path for path, _ in splits["val"]]
    assert data.class_counts.tolist() == list(COUNTS)
    assert data.class_names == ["Aves/0", "Plantae/1", "Aves/2"]
    images, labels = data.eval.collate([data.eval[Draw(index, 0)] for index in range(3)])
    assert labels.tolist() == [2, 0, 1]
    normalised = data.normalization.apply(torch.full_like(images, 255))
    assert normalised[0, :, 0, 0].tolist() == pytest.approx([(1 - 0.466) / 0.195, (1 - 0.471) / 0.194, 0.62 / 0.192])


def test_json_files_are_the_lists(tmp_path: Path) -> None:
    write_inaturalist(tmp_path / "lists only")
    write_annotations(tmp_path / "json only")
    listed, annotated = INaturalist2018(root=tmp_path / "lists only"), INaturalist2018(root=tmp_path / "json only")
    assert list(annotated.train_images.paths) == list(listed.train_images.paths)
    assert annotated.eval_images.labels.tolist() == [2, 0, 1]
    assert annotated.digest == listed.digest
    assert annotated.class_names == ["Species 0", "Species 1", "Species 2"]


def test_names_come_from_the_best_file_there_is(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    digest = INaturalist2018(root=tmp_path).digest
    write_annotations(tmp_path)
    data = INaturalist2018(root=tmp_path)
    assert data.class_names[1] == "Species 1"
    assert data.digest == digest
    names = [{"id": label, "name": name} for label, name in enumerate(["Parus major", "Rosa canina", "Pica pica"])]
    write_json(tmp_path / "lists/categories.json", names)
    assert INaturalist2018(root=tmp_path).class_names == ["Parus major", "Rosa canina", "Pica pica"]
    write_json(tmp_path / "lists/categories.json", names[:2])
    assert INaturalist2018(root=tmp_path).class_names[1] == "Species 1"


def test_a_class_of_the_json_file_without_training_images(tmp_path: Path) -> None:
    write_annotations(tmp_path)
    write_json(tmp_path / "train2018.json", annotations(inaturalist_lists()["train"], classes=4))
    with pytest.raises(InputError, match=r"train2018\.json: no image has the label 3"):
        _ = INaturalist2018(root=tmp_path).class_counts
    assert kinds(tmp_path)["lists that cannot be read"] == [f"{tmp_path}/val2018.json: 3 categories, expected 4"]


@pytest.mark.parametrize(("categories", "year"), [(5089, 2017), (1010, 2019), (10_000, 2021)])
def test_another_years_json_file(tmp_path: Path, categories: int, year: int) -> None:
    write_json(tmp_path / "train2018.json", annotations(inaturalist_lists()["train"], classes=categories))
    expected = f"{categories:,} categories, expected 8,142, those of iNaturalist {year}"
    assert any(expected in item for item in kinds(tmp_path, miniature=False)["lists that cannot be read"])


@pytest.mark.parametrize("year", [2017, 2019])
def test_another_years_files_are_named(tmp_path: Path, year: int) -> None:
    write_json(tmp_path / f"train{year}.json", {})
    with pytest.raises(InputError, match=rf"iNaturalist18_train\.txt: no such file.*json is of iNaturalist {year}"):
        INaturalist2018(root=tmp_path)
    (tmp_path / "train_val2019").mkdir()
    problems = kinds(tmp_path, miniature=False)
    assert (
        f"{tmp_path}/train{year}.json: of iNaturalist {year}; expected train_val2018/ of iNaturalist 2018"
        in problems["another download"]
    )
    assert any("train_val2019: of iNaturalist 2019" in item for item in problems["another download"])
    (tmp_path / "train_val2018").mkdir()
    assert "another download" not in kinds(tmp_path, miniature=False)


def test_the_same_photograph_as_another_species_is_a_leak(tmp_path: Path) -> None:
    splits = write_inaturalist(tmp_path)
    write_list(tmp_path / "iNaturalist18_val.txt", [*splits["val"], ("train_val2018/Plantae/1/train00.jpg", 1)])
    assert kinds(tmp_path)["images in two splits"] == ["train00.jpg: both in train and in val, in other folders"]


def test_folders_are_named_with_the_labels(tmp_path: Path) -> None:
    swapped = {0: 1, 1: 0, 2: 2}
    for split, listed in write_inaturalist(tmp_path).items():
        write_list(tmp_path / f"iNaturalist18_{split}.txt", [(path, swapped[label]) for path, label in listed])
    assert kinds(tmp_path)["labels other than the folder"] == [
        "label 0 is Plantae/1, expected a folder 0",
        "label 1 is Aves/0, expected a folder 1",
    ]


def test_counts_of_super_categories(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    items = kinds(tmp_path, miniature=False)["numbers of images"]
    assert "train: 2 classes with 7 images in Aves, expected 1,258 with 143,950" in items
    assert "train: 0 classes with 0 images in Bacteria, expected 1 with 16" in items
    assert [sum(column) for column in zip(*INATURALIST_2018.supers.values(), strict=True)] == [8142, 437_513]


def test_a_sound_miniature(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    found = Findings()
    contents = inaturalist2018.examine(tmp_path, found, miniature=True)
    assert contents is not None
    assert found.as_json() == {"problems": [], "notes": []}
    assert contents.digest == INaturalist2018(root=tmp_path).digest
    assert list(contents.counts) == ["train", "val"]
    assert f"val: 3 images in {tmp_path}/iNaturalist18_val.txt" in inaturalist2018.prepare(tmp_path)
