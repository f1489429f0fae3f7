"""Places-LT as it lies on disk: two directory structures, and the downloads that are taken for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eqbench.data import places_lt
from eqbench.data.base import Draw
from eqbench.data.places_lt import PlacesLT
from eqbench.data.verification import Findings
from eqbench.errors import InputError
from tests.data.labelled_files import COUNTS, SCENES, places_lists, write_image, write_list, write_places


def kinds(root: Path, *, miniature: bool = True) -> dict[str, list[str]]:
    found = Findings()
    places_lt.examine(root, found, miniature=miniature)
    return {kind: each.items for kind, each in found.problems.items()}


def test_lists_say_what_is_trained_on_and_evaluated(tmp_path: Path) -> None:
    splits = write_places(tmp_path)
    data = PlacesLT(root=tmp_path, image_size=24, resize=32)
    assert list(data.train_images.paths) == [path for path, _ in splits["train"]]
    assert list(data.eval_images.paths) == [path for path, _ in splits["test"]]
    assert data.class_counts.tolist() == list(COUNTS)
    assert data.class_names == list(SCENES)
    images, labels = data.train.collate([data.train[Draw(index, 1)] for index in (0, 9)])
    assert images.shape == (2, 3, 24, 24)
    assert labels.tolist() == [0, 2]
    assert list(PlacesLT(root=tmp_path, eval_split="val").eval_images.paths) == [path for path, _ in splits["val"]]


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("lying", [False, True])
def test_both_structures_fit_both_lists(tmp_path: Path, listed: bool, lying: bool) -> None:
    splits = write_places(tmp_path, by_letter=lying)
    for split, lines in places_lists(by_letter=listed).items():
        write_list(tmp_path / f"Places_LT_{split}.txt", lines)
    data = PlacesLT(root=tmp_path, image_size=24, resize=32)
    assert list(data.train_images.paths) == [path for path, _ in splits["train"]]
    assert list(data.eval_images.paths) == [path for path, _ in splits["test"]]
    assert data.class_names == list(SCENES)
    for split, lines in places_lists().items():
        write_list(tmp_path / f"easy/Places_LT_{split}.txt", lines)
    assert data.digest == PlacesLT(root=tmp_path / "easy").digest
    found = Findings()
    contents = places_lt.examine(tmp_path, found, miniature=True)
    assert contents is not None
    assert found.as_json() == {"problems": [], "notes": []}
    assert contents.digest == data.digest
    assert all((tmp_path / file).is_file() for files in contents.files.values() for file in files)
    assert places_lt.prepare(tmp_path)


def test_the_same_number_in_two_scenes_is_no_leak(tmp_path: Path) -> None:
    splits = write_places(tmp_path)
    write_list(tmp_path / "Places_LT_val.txt", [*splits["val"], ("train/zen_garden/00000005.jpg", 2)])
    assert ("train/airfield/00000005.jpg", 0) in splits["train"]
    assert kinds(tmp_path) == {}
    write_list(tmp_path / "Places_LT_val.txt", [*splits["val"], ("train/airfield/00000001.jpg", 0)])
    assert kinds(tmp_path)["images in two splits"] == ["train/airfield/00000001.jpg: both in train and in val"]


def test_a_leak_between_the_two_ways_of_writing_a_path(tmp_path: Path) -> None:
    splits = write_places(tmp_path)
    write_list(tmp_path / "Places_LT_val.txt", [*splits["val"], ("data_256/s/stadium/soccer/00000002.jpg", 1)])
    assert kinds(tmp_path)["images in two splits"] == ["train/stadium-soccer/00000002.jpg: both in train and in val"]


def test_a_list_of_another_set_is_named(tmp_path: Path) -> None:
    write_list(tmp_path / "places365_train_challenge.txt", places_lists()["train"])
    with pytest.raises(
        InputError, match=r"Places_LT_train\.txt: no such file.*challenge\.txt is of Places365-Challenge"
    ):
        PlacesLT(root=tmp_path)
    with pytest.raises(InputError) as error:
        places_lt.prepare(tmp_path)
    assert "missing: the list of train, Places_LT_train.txt" in str(error.value)
    assert "challenge.txt: of Places365-Challenge; Places-LT is made of Places365-Standard" in str(error.value)
    assert "easy directory structure" in str(error.value)


def large(root: Path) -> None:
    write_image(root / "train/airfield/00000001.jpg", size=(700, 512))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "large images": (large, "700 x 512 pixels, as the high-resolution images are; expected the small images, 256 x"),
    "other size": (
        lambda root: write_image(root / "train/airfield/00000001.jpg", size=(128, 128)),
        "128 x 128 pixels; expected the small images",
    ),
    "folder of large images": (lambda root: (root / "data_large").mkdir(), "data_large: the high-resolution images"),
    "number of the challenge set": (
        lambda root: write_image(root / "train/airfield/00005001.jpg", size=(256, 256)),
        "00005001.jpg is beyond the 5,000 images that a class has in Places365-Standard",
    ),
    "list of the challenge set": (
        lambda root: write_list(root / "places365_train_challenge.txt", []),
        "of Places365-Challenge; Places-LT is made of Places365-Standard",
    ),
    "Extra69": (lambda root: (root / "data_256_extra69").mkdir(), "of Places-Extra69"),
    "Places205": (
        lambda root: [(root / f"train/scene{number}").mkdir(parents=True) for number in range(205)],
        "205 class folders, as in Places205; Places365-Standard has 365",
    ),
}


@pytest.mark.parametrize("download", WRONG)
def test_wrong_downloads_are_named(tmp_path: Path, download: str) -> None:
    make, expected = WRONG[download]
    make(tmp_path)
    problems = kinds(tmp_path, miniature=False)
    assert any(expected in item for item in problems["another download"]), problems


@pytest.mark.parametrize("by_letter", [False, True])
def test_another_download_beside_the_right_one_is_a_note(tmp_path: Path, by_letter: bool) -> None:
    write_places(tmp_path, by_letter=by_letter)
    for name in ("data_large", "filelist_places365-challenge.tar", "data_256_extra69"):
        (tmp_path / name).mkdir()
    found = Findings()
    places_lt.examine(tmp_path, found)
    notes = found.notes["another download beside this one"].items
    assert [note.partition(": ")[0] for note in notes] == [
        str(tmp_path / name) for name in ("data_large", "data_256_extra69", "filelist_places365-challenge.tar")
    ]
    assert not any("data_large" in item for item in kinds(tmp_path, miniature=False).get("another download", []))
    (tmp_path / ("val_256" if by_letter else "val")).rename(tmp_path / "elsewhere")
    assert any("data_large" in item for item in kinds(tmp_path, miniature=False)["another download"])


def test_each_image_is_looked_at_for_its_size(tmp_path: Path) -> None:
    write_places(tmp_path)
    write_image(tmp_path / "train/airfield/00000001.jpg", size=(256, 256))
    found = Findings()
    contents = places_lt.examine(tmp_path, found)
    assert contents is not None
    assert contents.decode(tmp_path, "train/airfield/00000001.jpg") == []
    ((kind, text),) = contents.decode(tmp_path, "train/airfield/00000002.jpg")
    assert kind == "images of another size"
    assert "00000002.jpg: 40 x 32 pixels" in text
    assert contents.decode(tmp_path, "train/none.jpg")[0][0] == "missing files"
    assert set(found.problems) >= {"numbers of images", "sizes of groups", "images per class"}
