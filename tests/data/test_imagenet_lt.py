"""ImageNet-LT as it lies on disk: what is opened, where the test images may be, what an examination finds."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from eqbench import plugins
from eqbench.data import imagenet_lt, miniatures
from eqbench.data.base import Draw
from eqbench.data.image_lists.layouts import LOOKED_FOR, on_disk, spread
from eqbench.data.imagenet_lt import ImageNetLT
from eqbench.data.labelled_images.image_list import PathColumn
from eqbench.data.verification import Contents, Findings, verification
from eqbench.errors import InputError
from eqbench.recording import verified
from tests.data.labelled_files import (
    COUNTS,
    SYNSETS,
    imagenet_lists,
    write_image,
    write_imagenet,
    write_list,
)


def examined(root: Path, *, miniature: bool = True) -> tuple[Contents | None, Findings]:
    found = Findings()
    return imagenet_lt.examine(root, found, miniature=miniature), found


def kinds(root: Path, *, miniature: bool = True) -> dict[str, list[str]]:
    return {kind: each.items for kind, each in examined(root, miniature=miniature)[1].problems.items()}


# -- loading -----------------------------------------------------------------------------------------------------


def test_lists_say_what_is_trained_on_and_evaluated(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path)
    data = ImageNetLT(root=tmp_path, many_above=4, few_below=3)
    assert list(data.train_images.paths) == [path for path, _ in splits["train"]]
    assert list(data.eval_images.paths) == [path for path, _ in splits["test"]]
    assert data.class_counts.tolist() == list(COUNTS)
    assert data.class_names == list(SYNSETS)
    assert data.groups == ["many", "medium", "few"]
    offsets, classes = data.sample_classes()
    assert classes[offsets[:-1]].tolist() == [label for _, label in splits["train"]]


def test_validation_images_are_taken_from_the_training_folder(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path)
    data = ImageNetLT(root=tmp_path, eval_split="val")
    assert list(data.eval_images.paths) == [path for path, _ in splits["val"]]
    assert all(path.startswith("train/") for path in data.eval_images.paths)
    assert data.digest != ImageNetLT(root=tmp_path).digest


@pytest.mark.parametrize("listed_flat", [False, True])
@pytest.mark.parametrize("lying_flat", [False, True])
def test_both_lists_of_test_images_fit_both_ways_they_lie(tmp_path: Path, listed_flat: bool, lying_flat: bool) -> None:
    splits = write_imagenet(tmp_path, flat=lying_flat)
    write_list(tmp_path / "ImageNet_LT_test.txt", imagenet_lists(flat=listed_flat)["test"])
    data = ImageNetLT(root=tmp_path, image_size=32, resize=32)
    assert list(data.eval_images.paths) == [path for path, _ in splits["test"]]
    images, labels = data.eval.collate([data.eval[Draw(index, 0)] for index in range(6)])
    assert images.shape == (6, 3, 32, 32)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    contents, found = examined(tmp_path)
    assert contents is not None
    assert found.problems == {}
    assert all((tmp_path / file).is_file() for files in contents.files.values() for file in files)


def test_a_missing_image_does_not_decide_where_the_others_are_looked_for(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path, flat=True)
    write_list(tmp_path / "ImageNet_LT_test.txt", imagenet_lists()["test"])
    flat = [path for path, _ in splits["test"]]
    (tmp_path / flat[0]).unlink()
    assert list(ImageNetLT(root=tmp_path).eval_images.paths) == flat
    contents, _ = examined(tmp_path)
    assert contents is not None
    assert contents.files["test"] == flat
    with pytest.raises(InputError, match=rf"test: missing: 1 of 6 images that were looked for, such as {flat[0]}"):
        imagenet_lt.prepare(tmp_path)
    for path in flat[1:4]:  # a copy of half of them, of which one lies flat too, is a tie
        write_image(tmp_path / imagenet_lists()["test"][flat.index(path)][0])
    (tmp_path / flat[4]).unlink()
    (tmp_path / flat[5]).unlink()
    assert list(ImageNetLT(root=tmp_path).eval_images.paths) == [path for path, _ in imagenet_lists()["test"]]


def test_of_a_long_list_images_all_over_it_are_looked_for(tmp_path: Path) -> None:
    paths = PathColumn.from_strings(f"val/{SYNSETS[0]}/{number}.JPEG" for number in range(1000))
    assert (spread(paths)[0], spread(paths)[-1], len(set(spread(paths)))) == (paths[0], paths[999], LOOKED_FOR)
    write_image(tmp_path / "val/999.JPEG")
    assert on_disk(ImageNetLT.layout, tmp_path, paths)[1] == "val/1.JPEG"


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    write_imagenet(tmp_path / "nested")
    write_imagenet(tmp_path / "flat", flat=True)
    digest = ImageNetLT(root=tmp_path / "nested").digest
    assert ImageNetLT(root=tmp_path / "flat").digest == digest
    assert ImageNetLT(root=tmp_path / "flat", color_jitter=None, flip=0.0).digest == digest
    assert ImageNetLT(root=tmp_path / "flat", many_above=50).digest != digest
    assert examined(tmp_path / "flat")[0].digest == digest  # type: ignore[union-attr]
    listed = imagenet_lists()["train"]
    write_list(tmp_path / "flat/ImageNet_LT_train.txt", [*listed[:-1], (listed[-1][0], 0)])
    assert ImageNetLT(root=tmp_path / "flat").digest != digest


def test_lists_may_lie_in_a_folder_and_behind_links(tmp_path: Path) -> None:
    write_imagenet(tmp_path / "real")
    root = tmp_path / "root"
    (root / "lists").mkdir(parents=True)
    for split in ("train", "val", "test"):
        (root / f"lists/ImageNet_LT_{split}.txt").symlink_to(tmp_path / f"real/ImageNet_LT_{split}.txt")
    for folder in ("train", "val"):
        (root / folder).symlink_to(tmp_path / "real" / folder)
    assert ImageNetLT(root=root).digest == ImageNetLT(root=tmp_path / "real").digest
    assert examined(root)[1].ok


def test_images_are_not_looked_for_when_opened(tmp_path: Path) -> None:
    for split, listed in imagenet_lists().items():
        write_list(tmp_path / f"ImageNet_LT_{split}.txt", listed)
    data = ImageNetLT(root=tmp_path)
    assert data.class_counts.sum() == sum(COUNTS)
    with pytest.raises(InputError, match=r"val/n01440764/ILSVRC2012_val_00000000\.JPEG: no such file"):
        data.eval[Draw(0, 0)]


def test_a_training_sample_depends_on_its_draw_alone(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    data = ImageNetLT(root=tmp_path, image_size=16, resize=16)
    image, label, _ = data.train[Draw(7, 3)]
    data.train[Draw(2, 5)]
    again, _, _ = pickle.loads(pickle.dumps(data.train))[Draw(7, 3)]
    assert label == 1
    assert torch.equal(image, again)
    assert not torch.equal(image, data.train[Draw(7, 4)][0])


def test_it_is_bound_from_a_suite(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    bound = plugins.bind(
        ImageNetLT, {"root": str(tmp_path), "mixup": 0.2, "resize": 128, "image_size": 112}, where="data"
    )
    assert bound["color_jitter"] == (0.4, 0.4, 0.4, 0.0)
    assert plugins.construct("dataset", "imagenet_lt", bound).mixes
    with pytest.raises(InputError, match=r"eval_split"):
        plugins.bind(ImageNetLT, {"root": "x", "eval_split": "tset"}, where="data")


# -- what is refused ---------------------------------------------------------------------------------------------


def test_a_missing_list_is_named_with_what_is_there(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    (tmp_path / "ImageNet_LT_test.txt").rename(tmp_path / "Imagenet_LT_test.txt")
    with pytest.raises(
        InputError, match=r"ImageNet_LT_test\.txt: no such file.*mean 'Imagenet_LT_test\.txt'.*image-net"
    ):
        ImageNetLT(root=tmp_path)
    assert ImageNetLT(root=tmp_path, eval_split="val").num_classes == 3
    with pytest.raises(InputError, match=r"none: no such folder; expected ImageNet_LT_train\.txt"):
        ImageNetLT(root=tmp_path / "none")


def test_labels_of_the_test_list_are_those_of_the_training_list(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path)
    write_list(tmp_path / "ImageNet_LT_test.txt", [*splits["test"], ("val/x.JPEG", 3)])
    with pytest.raises(InputError, match=r"ImageNet_LT_test\.txt, line 7: label 3, expected 0 to 2"):
        _ = ImageNetLT(root=tmp_path).digest


@pytest.mark.parametrize("label", [4, 999_999_999])
def test_every_class_has_a_training_image(tmp_path: Path, label: int) -> None:
    splits = write_imagenet(tmp_path)
    write_list(tmp_path / "ImageNet_LT_train.txt", [*splits["train"], ("train/n2/x.JPEG", label)])
    with pytest.raises(
        InputError, match=rf"no image has the label 3.*largest is {label}, of train/n2/x\.JPEG, line 11\)"
    ):
        _ = ImageNetLT(root=tmp_path).class_counts


# -- examination -------------------------------------------------------------------------------------------------


def test_a_sound_miniature(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path)
    contents, found = examined(tmp_path)
    assert contents is not None
    assert found.as_json() == {"problems": [], "notes": []}
    assert {split: counts.tolist() for split, counts in contents.counts.items()} == {
        "train": [5, 3, 2],
        "val": [2, 2, 2],
        "test": [2, 2, 2],
    }
    assert contents.files == {split: [path for path, _ in listed] for split, listed in splits.items()}
    assert contents.groups == ["few"] * 3
    assert contents.class_names == list(SYNSETS)
    assert contents.decode(tmp_path, contents.files["train"][0]) == []
    (tmp_path / contents.files["train"][0]).write_bytes(b"none")
    assert contents.decode(tmp_path, contents.files["train"][0])[0][0] == "damaged images"


def test_both_evaluation_splits_are_verified_at_once_or_one_alone(tmp_path: Path) -> None:
    root = tmp_path / "mini"
    miniatures.make("imagenet_lt", root, images=20, classes=4, seed=0, size=32)
    digests = [ImageNetLT(root=root, eval_split=split).digest for split in ("test", "val")]
    console, how = Console(file=io.StringIO()), verification.How(miniature=True)
    assert verification.verify("imagenet_lt", root, {"eval_split": "val"}, console, how).ok
    assert [bool(verified(str(root), digest)) for digest in digests] == [False, True]
    assert verification.verify("imagenet_lt", root, {}, console, how).ok
    assert all(verified(str(root), digest) for digest in digests)
    assert verified(str(root), ImageNetLT(root=root, many_above=50).digest) is None
    (root / "ImageNet_LT_test.txt").unlink()
    assert not verification.verify("imagenet_lt", root, {}, console, how).ok
    assert verified(str(root), digests[1]) is None


def test_of_one_split_the_other_list_is_not_needed(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path)
    (tmp_path / "ImageNet_LT_test.txt").unlink()
    found = Findings()
    contents = imagenet_lt.examine(tmp_path, found, miniature=True, eval_split="val")
    assert contents is not None
    assert found.problems == {}
    assert list(contents.files) == ["train", "val"]
    assert contents.digest == ImageNetLT(root=tmp_path, eval_split="val").digest
    assert contents.digests == (contents.digest,)
    write_list(tmp_path / "ImageNet_LT_test.txt", splits["test"])
    whole, _ = examined(tmp_path)
    assert whole is not None
    assert set(whole.digests) == {contents.digest, whole.digest}


def test_an_absurd_label_hides_nothing_else(tmp_path: Path) -> None:
    splits = write_imagenet(tmp_path)
    write_list(
        tmp_path / "ImageNet_LT_train.txt", [("train/n2/x.JPEG", 99_999_999), ("../a.JPEG", 0), *splits["train"]]
    )
    write_list(tmp_path / "ImageNet_LT_val.txt", [*splits["val"], splits["train"][0], ("/b.JPEG", 1)])
    problems = kinds(tmp_path)
    assert [item.partition("ImageNet_LT_")[2] for item in problems["bad lines"]] == [
        "train.txt, line 1: label 99999999, expected 0 to 10",
        "train.txt, line 2: path '../a.JPEG' leads out of the data set's folder by `..`",
        "val.txt, line 8: path '/b.JPEG' is absolute; expected one below the data set's folder",
    ]
    assert "both in train and in val" in problems["images in two splits"][0]
    write_list(tmp_path / "ImageNet_LT_train.txt", [("train/n2/x.JPEG", 99_999_999)])
    assert "line 1: label 99999999" in kinds(tmp_path)["bad lines"][0]
    assert examined(tmp_path)[0] is None


def test_a_miniature_is_not_taken_for_the_real_one(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    problems = kinds(tmp_path, miniature=False)
    assert any(
        "10 images" in item and "expected 115,846 in ImageNet-LT" in item for item in problems["numbers of images"]
    )
    assert any("3 class folders, as in part of ImageNet" in item for item in problems["another download"])
    assert "train: 0/0/1000 classes with many/medium/few images, expected 385/479/136" in problems["sizes of groups"]
    assert "train: 0 to 5 images of a class, expected 5 to 1,280" in problems["largest and smallest class"]
    assert "test: label 0 has 2 images, expected 50" in problems["images per class"]
    assert "train: no image has the label 3, 4, 5, 6, 7, ..." in problems["classes without images"][0]
    assert "labels other than the folder" not in problems
    notes = examined(tmp_path, miniature=False)[1].notes
    assert len(notes["lists other than the published ones"].items) == 3


BadLists = dict[str, list[tuple[str, int]]]


def move(source: str, index: int, target: str) -> Callable[[BadLists], object]:
    return lambda splits: splits[target].append(splits[source][index])


BAD_LISTS: dict[str, tuple[Callable[[BadLists], object], str, str]] = {
    "train image in val": (move("train", 4, "val"), "images in two splits", "_4.JPEG: both in train and in val"),
    "train image in test": (move("train", 4, "test"), "images in two splits", "_4.JPEG: both in train and in test"),
    "same name elsewhere": (
        lambda splits: splits["test"].append(("val/n01440764/n01440764_2.JPEG", 0)),
        "images in two splits",
        "n01440764_2.JPEG: both in train and in test, in other folders",
    ),
    "label of another folder": (
        lambda splits: splits["train"].append((f"train/{SYNSETS[0]}/x.JPEG", 1)),
        "labels other than the folder",
        "train: train/n01440764/x.JPEG has the label 1, which is that of n01443537",
    ),
    "label of another folder in val": (
        lambda splits: splits["val"].append((f"train/{SYNSETS[2]}/x.JPEG", 1)),
        "labels other than the folder",
        "val: train/n15075141/x.JPEG has the label 1, which is that of n01443537",
    ),
    "folder of two classes": (
        lambda splits: splits["train"].append((f"train/{SYNSETS[0]}/x.JPEG", 3)),
        "folders of several classes",
        "n01440764: of the labels 0, 3",
    ),
    "other order of classes": (
        lambda splits: splits["train"].append(("train/n00000001/x.JPEG", 3)),
        "labels other than the folder",
        "label 0 is n01440764, expected n00000001 in ascending order",
    ),
    "class without test images": (
        lambda splits: splits.update(test=splits["test"][2:]),
        "classes without images",
        "test: no image has the label 0",
    ),
    "bad line": (
        lambda splits: splits["val"].insert(1, ("../a.JPEG", 0)),
        "bad lines",
        "ImageNet_LT_val.txt, line 2: path '../a.JPEG' leads out",
    ),
    "far too large a label": (
        lambda splits: splits["train"].append(("train/n2/x.JPEG", 99_999_999)),
        "bad lines",
        "ImageNet_LT_train.txt, line 11: label 99999999, expected 0 to 10",
    ),
    "empty list": (lambda splits: splits.update(val=[]), "lists that cannot be read", "ImageNet_LT_val.txt: empty"),
}


@pytest.mark.parametrize("fault", BAD_LISTS)
def test_bad_lists(tmp_path: Path, fault: str) -> None:
    change, kind, expected = BAD_LISTS[fault]
    splits = {split: list(listed) for split, listed in write_imagenet(tmp_path).items()}
    change(splits)
    for split, listed in splits.items():
        write_list(tmp_path / f"ImageNet_LT_{split}.txt", listed)
    problems = kinds(tmp_path)
    assert any(expected in item for item in problems.get(kind, [])), problems


def test_all_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "no such folder" in kinds(tmp_path / "none")["folder missing"][0]
    assert len(kinds(tmp_path)["lists missing"]) == 3
    write_list(tmp_path / "ImageNet_LT_train.txt", imagenet_lists()["train"])
    contents, found = examined(tmp_path)
    assert contents is not None
    assert contents.digest == ""
    assert len(found.problems["lists missing"].items) == 2


def folders(root: Path, number: int, first: int = 1440764) -> None:
    for position in range(number):
        (root / f"train/n{first + position:08d}").mkdir(parents=True)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "21k": (lambda root: folders(root, 1001), "1,001 class folders, as in ImageNet-21k; ILSVRC 2012 has 1,000"),
    "Tiny ImageNet": (lambda root: folders(root, 200), "200 class folders, as in Tiny ImageNet"),
    "Tiny ImageNet's inner folder": (
        lambda root: (root / "train/n01440764/images").mkdir(parents=True),
        "a folder within the class's folder, as in Tiny ImageNet",
    ),
    "ImageNetV2": (lambda root: (root / "train/17").mkdir(parents=True), "class folders are numbers, as in ImageNetV2"),
    "tar within tar": (lambda root: write_image(root / "train/n01440764.tar"), "n01440764.tar is not unpacked"),
    "2010, flat": (
        lambda root: write_image(root / "val/ILSVRC2010_val_00000001.JPEG"),
        "images of ILSVRC 2010; ImageNet-LT is made of ILSVRC 2012",
    ),
    "2013, in folders": (
        lambda root: write_image(root / "val/n01440764/ILSVRC2013_val_00000001.JPEG"),
        "images of ILSVRC 2013",
    ),
}


@pytest.mark.parametrize("download", WRONG)
def test_wrong_downloads_are_named(tmp_path: Path, download: str) -> None:
    make, expected = WRONG[download]
    make(tmp_path)
    problems = kinds(tmp_path, miniature=False)
    assert any(expected in item for item in problems["another download"]), problems


# -- preparation -------------------------------------------------------------------------------------------------


def test_prepare_says_what_is_there(tmp_path: Path) -> None:
    write_imagenet(tmp_path, flat=True)
    write_list(tmp_path / "ImageNet_LT_test.txt", imagenet_lists()["test"])
    before = sorted(tmp_path.rglob("*"))
    lines = imagenet_lt.prepare(tmp_path)
    assert f"train: 10 images in {tmp_path}/ImageNet_LT_train.txt" in lines
    assert "test: images such as val/ILSVRC2012_val_00000000.JPEG (they may lie like that)" in lines
    assert not any("missing" in line for line in lines)
    assert sorted(tmp_path.rglob("*")) == before


def test_prepare_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no such folder; images: ILSVRC 2012.*OLTR"):
        imagenet_lt.prepare(tmp_path / "none")
    splits = write_imagenet(tmp_path)
    for path, _ in splits["test"]:
        (tmp_path / path).unlink()
    with pytest.raises(InputError, match="not all of ImageNet-LT is there"):
        imagenet_lt.prepare(tmp_path)
    (tmp_path / "ImageNet_LT_val.txt").unlink()
    for path in (tmp_path / "train" / SYNSETS[1]).iterdir():
        path.unlink()
    (tmp_path / "train" / SYNSETS[1]).rmdir()
    with pytest.raises(InputError) as error:
        imagenet_lt.prepare(tmp_path)
    lines = str(error.value).splitlines()
    assert f"missing: the list of val, ImageNet_LT_val.txt, in {tmp_path} or its lists/" in lines
    assert "test: missing: its images, such as val/n01440764/ILSVRC2012_val_00000000.JPEG" in lines
    assert "missing: 1 of the 3 folders of training images: train/n01443537" in lines
    assert "an account is needed" in lines[-1]
