"""A folder of your own images and masks: values, options, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from eqbench import plugins
from eqbench.data.base import Draw
from eqbench.data.mask_folder import MaskFolder, examine, prepare
from eqbench.data.verification import Findings
from eqbench.errors import InputError
from tests.data.mask_files import NAMES, mask_values, write_image, write_mask_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mask_folder(tmp_path / "own")


def test_classes_from_0(root: Path) -> None:
    data = MaskFolder(root=root, crop_size=24)
    assert data.class_names == NAMES
    assert data.published_groups is None
    stored = mask_values(root / "masks/val/val1.png")
    assert data.eval[Draw(1, 0)][1].tolist() == stored.tolist()
    training = [mask_values(file) for file in sorted((root / "masks/train").iterdir())]
    assert data.class_counts.tolist() == [sum(int((mask == c).sum()) for mask in training) for c in range(5)]


def test_classes_from_1(tmp_path: Path) -> None:
    root = write_mask_folder(tmp_path / "own", first=1)
    with pytest.raises(InputError, match=r"label 5 .*expected 0 to 4, or 255 for ignored"):
        MaskFolder(root=root)
    stored = mask_values(root / "masks/val/val0.png").astype(int)
    _, labels = MaskFolder(root=root, reduce_zero=True).eval[Draw(0, 0)]
    assert labels.tolist() == np.where(stored == 255, 255, stored - 1).tolist()


def test_what_values_mean_is_in_the_digest(root: Path) -> None:
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in (*NAMES, "none")))
    digests = {MaskFolder(root=root).digest, MaskFolder(root=root, reduce_zero=True).digest}
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in reversed((*NAMES, "none"))))
    assert len(digests | {MaskFolder(root=root).digest}) == 3


def test_another_value_to_ignore(root: Path) -> None:
    with pytest.raises(InputError, match="label 255 at row 0, column 0; expected 0 to 4, or 9 for ignored"):
        MaskFolder(root=root, ignore=9)
    with pytest.raises(ValueError, match="ignore 4: expected a value that is no class, those are 0 to 4"):
        MaskFolder(root=root, ignore=4)


def test_another_split_to_evaluate_on(root: Path) -> None:
    with pytest.raises(InputError, match="images/test: no such folder"):
        MaskFolder(root=root, eval_split="test")
    for kind in ("images", "masks"):
        shutil.move(root / kind / "val", root / kind / "test")
    assert len(MaskFolder(root=root, eval_split="test").eval) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"wall\n\ntree\n", "classes.txt, line 2: empty"),
        (b"wall\ntree\nwall\n", "classes.txt, line 3: 'wall' is the name of line 1 too"),
        (b"wall\n\xff\n", "classes.txt: byte 5 is not UTF-8"),
        (b"", "classes.txt: 0 classes; expected 1 to 253"),
        (None, "classes.txt: no such file"),
    ],
)
def test_bad_lists_of_classes(root: Path, content: bytes | None, message: str) -> None:
    if content is None:
        (root / "classes.txt").unlink()
    else:
        (root / "classes.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        MaskFolder(root=root)


def test_no_images(root: Path) -> None:
    shutil.rmtree(root / "images/train")
    (root / "images/train").mkdir()
    with pytest.raises(InputError, match="images/train: no image in it; expected files that end with"):
        MaskFolder(root=root)
    with pytest.raises(InputError, match="onw: no such folder; did you mean 'own'"):
        MaskFolder(root=root.with_name("onw"))


def test_options_of_a_suite(root: Path) -> None:
    options = {"root": str(root), "crop_size": 24, "scale": [80, 40], "reduce_zero": False}
    bound = plugins.bind(MaskFolder, options, where="data")
    assert bound["scale"] == (80, 40)
    assert bound["ratio_range"] == (0.5, 2.0)
    assert set(plugins.parameters(MaskFolder)) >= {"root", "ignore", "reduce_zero", "cat_max_ratio", "eval_scale"}
    with pytest.raises(InputError, match="crop_siz: unknown parameter of MaskFolder; did you mean 'crop_size'"):
        plugins.bind(MaskFolder, {"root": str(root), "crop_siz": 24}, where="data")
    with pytest.raises(ValueError, match="crop_size 0: expected at least 1"):
        MaskFolder(root=root, crop_size=0)
    with pytest.raises(ValueError, match=r"eval_scale \[40, 80\]: expected the longer and then the shorter"):
        MaskFolder(root=root, eval_scale=(40, 80))


def test_examination_and_preparation(root: Path) -> None:
    found = Findings()
    contents = examine(root, found)
    assert found.ok
    assert contents is not None
    assert contents.digest == MaskFolder(root=root).digest
    assert [contents.decode(root, path) for path in contents.files["val"]] == [[]] * 4
    assert "training: " in prepare(root)[0]
    write_image(root / "masks/val/val0.png", np.full((40, 56), 200, np.uint8))
    contents = examine(root, found)
    assert contents is not None
    assert not contents.counts
    assert {file.split("/")[0] for files in contents.files.values() for file in files} == {"images"}
    assert "val0.png: label 200 at row 0, column 0" in found.problems["labels out of range"].items[0]
    for verb in (lambda **options: examine(root, found, **options), lambda **options: prepare(root, **options)):
        with pytest.raises(ValueError, match=r"^ignore 2: expected a value that is no class, those are 0 to 4$"):
            verb(ignore=2)
