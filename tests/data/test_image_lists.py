"""Lists of labelled images and iNaturalist's annotation files: what is read, and which line is wrong."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eqbench.data import imagenet_lt, inaturalist2018, places_lt
from eqbench.data.base import Draw
from eqbench.data.image_lists import lists
from eqbench.data.image_lists.inaturalist_json import read_annotations, read_category_names
from eqbench.data.image_lists.lists import parse_list, read_list
from eqbench.data.image_lists.releases import checksums
from eqbench.data.verification import Findings
from eqbench.errors import InputError
from tests.data.labelled_files import (
    annotations,
    inaturalist_lists,
    write_imagenet,
    write_inaturalist,
    write_json,
    write_list,
    write_places,
)


def written(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "list.txt"
    file.write_bytes(content)
    return file


# -- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [7, 64, 4 * 2**20])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \t\n"])
def test_a_list_is_read_as_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, end: str) -> None:
    chance = random.Random(window)
    names = ["a", "b c", "ünï", "x..y", "d.e", "1 2", "n01440764", ":", "a:b"]
    rows = [(f"{chance.choice(names)}/{'/'.join(chance.choices(names, k=2))}{i}.jpg", i * i % 8142) for i in range(300)]
    file = written(tmp_path, "".join(f"{path} {label}{end}" for path, label in rows).encode())
    monkeypatch.setattr(lists, "WINDOW_BYTES", window)
    found = read_list(file, num_classes=8142)
    assert list(found.paths) == [path for path, _ in rows]
    assert found.labels.tolist() == [label for _, label in rows]


@pytest.mark.parametrize(
    "content",
    [
        b"a/x.jpg 0\nb/y z.jpg 12\n",
        b"a/x.jpg 0\nb/y z.jpg 12",
        b"a/x.jpg\t0\r\nb/y z.jpg \t 0012\r\n",
        b"\xef\xbb\xbfa/x.jpg 0\nb/y z.jpg 12\n\n  \n\r\n",
    ],
    ids=["plain", "no newline at the end", "tabs, Windows", "byte order mark, empty lines at the end"],
)
def test_ways_to_write_the_same(tmp_path: Path, content: bytes) -> None:
    found = read_list(written(tmp_path, content))
    assert list(found.paths) == ["a/x.jpg", "b/y z.jpg"]
    assert found.labels.tolist() == [0, 12]
    assert found.faults == []


BAD_LINES = {
    "no label": (b"b/y.jpg", r"'b/y\.jpg' has no label; expected `path label`"),
    "label alone": (b"7", "'7' has no label"),
    "label alone after a space": (b" 7", "'7' has no label"),
    "no whole number": (b"b/y.jpg 3.5", r"'b/y\.jpg 3\.5' has no label: '3\.5' is not a whole number"),
    "word for a label": (b"b/y.jpg cat", "'cat' is not a whole number"),
    "comma": (b"b/y.jpg,3", "has no label"),
    "digits of another script": ("b/y.jpg \u0663".encode(), "'\u0663' is not a whole number"),
    "label too large": (b"b/y.jpg 10", r"label 10, expected 0 to 9$"),
    "label far too large": (b"b/y.jpg 99999999999999999999", "label 99999999999999999999, expected 0 to 9"),
    "negative": (b"b/y.jpg -1", "label -1, expected 0 to 9"),
    "empty line": (b"", "empty; expected `path label`"),
    "absolute": (b"/data/b/y.jpg 3", r"path '/data/b/y\.jpg' is absolute"),
    "drive": (b"C:/b/y.jpg 3", "is absolute"),
    "parent": (b"../b/y.jpg 3", r"path '\.\./b/y\.jpg' leads out of the data set's folder by `\.\.`"),
    "parent within": (b"b/../../y.jpg 3", "leads out"),
    "parent alone": (b".. 3", "leads out"),
    "this folder": (b"./b/y.jpg 3", "has an empty part or `.`"),
    "this folder at the end": (b"b/. 3", "has an empty part or `.`"),
    "empty part": (b"b//y.jpg 3", "has an empty part"),
    "slash at the end": (b"b/ 3", "has an empty part"),
    "backslash": (b"b\\y.jpg 3", "has a backslash"),
    "null": (b"b/\0y.jpg 3", "null character"),
    "twice": (b"a/x.jpg 3", r"path 'a/x\.jpg' is already in line 1$"),
    "label after 100 spaces": (b"b/y.jpg 3" + b" " * 100, "expected `path label`"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, fault: str) -> None:
    line, message = BAD_LINES[fault]
    file = written(tmp_path, b"a/x.jpg 0\n" + line + b"\nc/z.jpg 9\n")
    with pytest.raises(InputError, match=message) as error:
        read_list(file, num_classes=10)
    assert str(error.value).startswith(f"{file}, line 2: ")
    assert "\n" not in str(error.value)
    parsed = parse_list(file, num_classes=10)
    assert [(fault.line, list(parsed.paths)) for fault in parsed.faults] == [(2, ["a/x.jpg", "c/z.jpg"])]
    assert parsed.labels.tolist() == [0, 9]


def test_all_bad_lines_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "WINDOW_BYTES", 20)
    file = written(tmp_path, b"a 0\nb\na 1\n\n../c 2\nd 3\na 4\n")
    assert [fault.line for fault in parse_list(file).faults] == [2, 3, 4, 5, 7]
    with pytest.raises(InputError, match=r"line 2: .*\(5 such lines\)"):
        read_list(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected a line `path label`"),
        (b"\xef\xbb\xbf\n \r\n", "empty; expected"),
        (b"a/x.jpg 0\nb/\xff\xfey.jpg 1\n", r"line 2: not UTF-8 \(byte 0xff\)"),
        ("a/x.jpg 0\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_a_bad_file(tmp_path: Path, content: bytes, message: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(InputError, match=message) as error:
        parse_list(file)
    assert str(error.value).startswith(str(file))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_list(tmp_path)


def test_checksums_are_those_of_sha256sum_md5sum_and_git(tmp_path: Path) -> None:
    content = b"a 0\nb 1\n"
    unix, windows = written(tmp_path, content), tmp_path / "windows.txt"
    windows.write_bytes(content.replace(b"\n", b"\r\n"))
    assert checksums(unix) == {
        f"sha256:{hashlib.sha256(content).hexdigest()[:12]}",
        f"md5:{hashlib.md5(content).hexdigest()}",
        "git:ea1f2410748855f1365372a1705186dc4ab3712b",
    }
    assert checksums(unix) < checksums(windows)


# -- annotation files --------------------------------------------------------------------------------------------

Content = dict[str, Any]


def test_annotations_are_the_list(tmp_path: Path) -> None:
    listed = inaturalist_lists()["train"]
    found, names = read_annotations(write_json(tmp_path / "train2018.json", annotations(listed)))
    expected = read_list(write_list(tmp_path / "list.txt", listed))
    assert list(found.paths) == list(expected.paths)
    assert found.labels.tolist() == expected.labels.tolist()
    assert names == ["Species 0", "Species 1", "Species 2"]


BAD_RECORDS: dict[str, tuple[Callable[[Content], object], str]] = {
    "no annotations": (lambda c: c.pop("annotations"), "no 'annotations'; that is how the file of the test images is"),
    "misspelt": (lambda c: c.update(category=c.pop("categories")), "no 'categories'; did you mean 'category'?"),
    "no images": (lambda c: c.update(images=[]), "'images' is an empty list"),
    "no file name": (lambda c: c["images"][1].pop("file_name"), r"images\[1\]: file_name None, expected a text"),
    "id is a text": (lambda c: c["images"][1].update(id="1"), r"images\[1\]: id '1', expected a whole number"),
    "huge id": (lambda c: c["images"][1].update(id=2**70), r"images\[1\]: id \d+, expected a whole number"),
    "no record": (lambda c: c["annotations"].insert(1, 5), r"annotations\[1\]: 5, expected an object"),
    "same id": (lambda c: c["images"][4].update(id=1000), r"images\[0\] and images\[4\] have the same id 1000"),
    "category that is none": (
        lambda c: c["annotations"][2].update(category_id=3),
        r"annotations\[2\]: category_id 3, expected 0 to 2",
    ),
    "image that is none": (
        lambda c: c["annotations"][2].update(image_id=4),
        r"annotations\[2\]: image_id 4 is none of the 10 images",
    ),
    "not annotated": (lambda c: c["annotations"].pop(2), r"images\[7\] \(id 951\) has 0 annotations, expected one"),
    "annotated twice": (
        lambda c: c["annotations"].append(c["annotations"][2]),
        r"images\[7\] \(id 951\) has 2 annotations",
    ),
    "category ids from 1": (lambda c: c["categories"][0].update(id=3), r"categories\[0\]: id 3, expected each of 0 to"),
    "category twice": (lambda c: c["categories"][0].update(id=1), r"categories\[1\]: id 1, expected each of 0 to 2 on"),
    "out of the folder": (
        lambda c: c["images"][2].update(file_name="../a.jpg"),
        r"images\[2\]: file_name: path '\.\./a\.jpg' leads out",
    ),
    "absolute": (lambda c: c["images"][0].update(file_name="/a.jpg"), r"images\[0\]: file_name: .*is absolute"),
    "no name": (lambda c: c["images"][9].update(file_name=""), r"images\[9\]: file_name: .*empty part"),
    "same image": (
        lambda c: c["images"][4].update(file_name=c["images"][1]["file_name"]),
        r"images\[1\] and images\[4\] have the same file_name",
    ),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
def test_a_bad_record_is_named(tmp_path: Path, fault: str) -> None:
    change, message = BAD_RECORDS[fault]
    content = annotations(inaturalist_lists()["train"])
    change(content)
    file = write_json(tmp_path / "train2018.json", content)
    with pytest.raises(InputError, match=message) as error:
        read_annotations(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not json at line 1"):
        read_annotations(written(tmp_path, b'{"images" [1]}'))
    with pytest.raises(InputError, match="cut off"):
        read_annotations(written(tmp_path, b'{"images": [{"id": 1'))
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "none.json")


def test_names_of_categories_alone(tmp_path: Path) -> None:
    content = annotations(inaturalist_lists()["train"])
    whole = write_json(tmp_path / "train2018.json", content)
    alone = write_json(tmp_path / "categories.json", content["categories"])
    assert read_category_names(whole) == read_category_names(alone) == ["Species 0", "Species 1", "Species 2"]
    assert read_category_names(written(tmp_path, b"")) is None
    assert read_category_names(written(tmp_path, b'{"categories": [{"id": 5}]}')) is None
    assert read_category_names(written(tmp_path, b'{"images": []}')) is None


def test_species_of_one_name_are_told_apart(tmp_path: Path) -> None:
    content = annotations(inaturalist_lists()["train"])
    for record in content["categories"]:
        record["name"] = "same"
    assert read_category_names(write_json(tmp_path / "a.json", content)) == ["same (0)", "same (1)", "same (2)"]


# -- images that are damaged or unusual ----------------------------------------------------------------------------

LOADERS: dict[str, tuple[Any, Any, Callable[[Path], object]]] = {
    "imagenet_lt": (imagenet_lt, imagenet_lt.ImageNetLT, write_imagenet),
    "places_lt": (places_lt, places_lt.PlacesLT, write_places),
    "inaturalist2018": (inaturalist2018, inaturalist2018.INaturalist2018, write_inaturalist),
}


def rotated(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 32), "red").save(file, format="JPEG", exif=exif)


REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:-200]), "damaged images", "cut off|decoded"),
    "empty": (lambda file: file.write_bytes(b""), "damaged images", "the file is empty"),
    "a page of HTML": (lambda file: file.write_text("<html>Sign in</html>"), "damaged images", "not an image"),
    "missing": (lambda file: file.unlink(), "missing files", "no such file"),
}
HANDLED: dict[str, tuple[Callable[[Path], object], str]] = {
    "CMYK": (lambda file: Image.new("CMYK", (40, 32)).save(file, format="JPEG"), "mode CMYK"),
    "grayscale": (lambda file: Image.new("L", (40, 32), 9).save(file, format="JPEG"), "mode L"),
    "16 bits": (
        lambda file: Image.fromarray(np.full((32, 40), 2**15, dtype=np.uint16)).save(file, format="PNG"),
        "mode I;16",
    ),
    "rotated by EXIF": (rotated, "EXIF orientation"),
}


def opened(tmp_path: Path, loader: str, damage: Callable[[Path], object]) -> tuple[Any, list[tuple[str, str]], Path]:
    """The data set after its first training image is damaged, what a deep check says of the image, and its file."""
    module, kind, write = LOADERS[loader]
    write(tmp_path)
    data = kind(root=tmp_path, image_size=24, resize=32)
    path = data.train_images.paths[0]
    damage(tmp_path / path)
    contents = module.examine(tmp_path, Findings(), miniature=True)
    return data, contents.decode(tmp_path, path), tmp_path / path


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("damage", REFUSED)
def test_damaged_images_are_refused_by_name(tmp_path: Path, loader: str, damage: str) -> None:
    change, kind, message = REFUSED[damage]
    data, findings, file = opened(tmp_path, loader, change)
    with pytest.raises(InputError, match=message) as error:
        data.train[Draw(0, 0)]
    assert str(error.value).startswith(f"{file}: ")
    assert [each for each, _ in findings] == [kind]


def cut_off_and_closed(file: Path) -> None:
    """A CMYK JPEG without its second half, as a program leaves it that writes an end marker all the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    Image.fromarray(pixels, "CMYK").save(file, format="JPEG")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + b"\xff\xd9")


def test_a_cmyk_image_that_is_cut_off_and_closed_is_found_by_a_deep_check(tmp_path: Path) -> None:
    data, findings, _ = opened(tmp_path, "imagenet_lt", cut_off_and_closed)
    assert data.train.collate([data.train[Draw(0, 0)]])[0].shape == (1, 3, 24, 24)
    assert [text.partition(": ")[2] for kind, text in findings if kind == "damaged images"] == [
        "Corrupt JPEG data: premature end of data segment"
    ]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("what", HANDLED)
def test_unusual_images_are_trained_on_and_noted(tmp_path: Path, loader: str, what: str) -> None:
    change, note = HANDLED[what]
    data, findings, _ = opened(tmp_path, loader, change)
    images, _ = data.train.collate([data.train[Draw(0, 0)]])
    assert images.shape == (1, 3, 24, 24)
    assert any(kind.startswith("note:") and note in kind for kind, _ in findings)
    assert all(kind.startswith("note:") for kind, _ in findings)
