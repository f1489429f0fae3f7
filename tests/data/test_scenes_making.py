"""Miniatures of LVIS: the long tail, looks, the same bytes again, and how they are made once."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqbench.data.lvis_miniature import LVISMiniature
from eqbench.data.scenes import Parameters, make, make_once
from eqbench.data.scenes.appearance import MOST_CLASSES, appearances, likeness
from eqbench.data.scenes.long_tail import eval_counts, eval_images, long_tail, spread
from eqbench.data.scenes.shapes import SHAPES, area
from eqbench.errors import EnvironmentProblem, InputError

SMALL: dict[str, Any] = {"images": 20, "classes": 5, "size": 64}


def digest(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content.update(path.relative_to(folder).as_posix().encode())
        content.update(path.read_bytes() if path.is_file() else b"")
    return content.hexdigest()


# -- long tail ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(5, 1203), st.integers(20, 100_000))
def test_all_groups_occur(classes: int, images: int) -> None:
    images = max(images, -(-classes // 2))
    tail = long_tail(images, classes)
    assert len(tail.counts) == classes
    assert (np.diff(tail.counts) <= 0).all()
    assert {tail.group(count) for count in tail.counts.tolist()} == {"f", "c", "r"}
    assert 1 <= tail.counts.min() <= tail.counts.max() <= 0.6 * images + 0.5
    assert tail.counts.sum() <= 4 * images
    evaluated = eval_images(images, classes)
    counts = eval_counts(tail.counts, evaluated)
    assert (np.diff(counts) <= 0).all()
    assert 3 <= counts.min() <= counts.max() <= evaluated // 2
    assert counts.sum() <= 4 * evaluated
    assert counts.max() / counts.min() <= tail.counts.max() / tail.counts.min(), "flatter"


def test_groups_are_those_of_lvis_where_there_are_enough_images() -> None:
    for images, classes in ((300, 20), (400, 60), (100_000, 1203)):
        tail = long_tail(images, classes)
        assert (tail.common_above, tail.frequent_above) == (10, 100)
        assert [tail.group(count) for count in (1, 10, 11, 100, 101)] == ["r", "r", "c", "c", "f"]
    small = long_tail(50, 10)
    assert (small.common_above, small.frequent_above) == (2, 20)


def test_each_class_is_spread_over_as_many_images_as_it_counts() -> None:
    counts = long_tail(400, 60).counts
    shown = spread(counts, 400, 8, np.random.default_rng(0))
    assert [len(set(ranks)) for ranks in shown] == [len(ranks) for ranks in shown]
    assert Counter(rank for ranks in shown for rank in ranks) == dict(enumerate(counts.tolist()))
    sizes = Counter(map(len, shown))
    assert sizes[0] == 8
    assert max(sizes) <= 7


def test_classes_look_different() -> None:
    looks = appearances(MOST_CLASSES, np.random.default_rng(1))
    assert len(set(looks)) == len({look.name for look in looks}) == MOST_CLASSES == 1203
    assert {look.tone for look in appearances(630, np.random.default_rng(1))} == {"light"}


def test_classes_share_shapes_colours_and_patterns() -> None:
    looks = appearances(60, np.random.default_rng(1))
    for trait in ("shape", "colour", "pattern"):
        assert len({getattr(look, trait) for look in looks}) == 4
    alike = likeness(looks)
    assert alike.diagonal().tolist() == [3] * 60
    assert (np.sort(alike, axis=1)[:, -2] == 2).all(), "each class has one that differs in one trait"


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_the_unit_circle(shape: str) -> None:
    polygons = SHAPES[shape]()
    assert 0.97 < max(np.hypot(*polygon.T).max() for polygon in polygons) < 1.01
    assert 0.3 < sum(map(area, polygons)) < math.pi


# -- bytes -------------------------------------------------------------------------------------------------------


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path / name, **SMALL, seed=7)
    changes: list[dict[str, int]] = [{"seed": 8}, {"images": 21}, {"classes": 6}, {"size": 65}]
    for place, change in enumerate(changes):
        make(tmp_path / str(place), **{**SMALL, "seed": 7, **change})
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert len({digest(path) for path in tmp_path.iterdir() if path.is_dir()}) == 5
    assert len({Parameters(**{**SMALL, "seed": 7, **change}).name for change in changes}) == 4


# -- making ------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_not_taken_for_a_miniature(tmp_path: Path) -> None:
    parameters = Parameters(**SMALL, seed=1)
    unfinished = tmp_path / f".{parameters.name}.unfinished"
    (unfinished / "val2017").mkdir(parents=True)
    (unfinished / "val2017/000000000001.jpg").write_bytes(b"half")
    folder = make_once(tmp_path, parameters)
    assert not unfinished.exists()
    make(tmp_path / "alone", **SMALL, seed=1)
    assert digest(folder) == digest(tmp_path / "alone")


def test_it_is_made_once_however_many_ask(tmp_path: Path) -> None:
    parameters = Parameters(**SMALL, seed=1)
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: make_once(tmp_path / "new", parameters), range(3)))
    assert set(folders) == {tmp_path / "new" / parameters.name}
    made = folders[0].stat()
    assert make_once(tmp_path / "new", parameters) == folders[0]
    assert folders[0].stat() == made


def test_nothing_is_written_over(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists; a miniature is written to a new folder only"):
        make(tmp_path, **SMALL, seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="file: cannot be written"):
        make(tmp_path / "file" / "miniature", **SMALL, seed=0)


# -- as a data set -----------------------------------------------------------------------------------------------


def test_the_data_set_is_made_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_DATA", str(tmp_path / "here"))
    data = LVISMiniature(**SMALL, seed=1)
    folder = tmp_path / "here" / Parameters(**SMALL, seed=1).name
    train = json.loads((folder / "annotations/lvis_v1_train.json").read_text())
    assert list(data.class_names) == [category["name"] for category in train["categories"]]
    assert list(data.groups) == [category["frequency"] for category in train["categories"]]
    assert data.image_counts.tolist() == [category["image_count"] for category in train["categories"]]
    assert data.class_counts.tolist() == [category["instance_count"] for category in train["categories"]]
    assert len(data.eval) == 8
    assert sum(len(data.train.record(place)["instances"]) for place in range(len(data.train))) == len(
        train["annotations"]
    )
    for samples in (data.train, data.eval):
        assert all(Path(samples.record(place)["img_path"]).is_file() for place in range(len(samples)))
    monkeypatch.delenv("EQBENCH_DATA")
    again = LVISMiniature(**SMALL, seed=1, root=tmp_path / "here", masks=False)
    assert again.digest != data.digest, "without masks, training sees something else"
    assert LVISMiniature(**SMALL, seed=1, root=tmp_path / "there").digest == data.digest
    assert LVISMiniature(**SMALL, seed=2, root=tmp_path / "there").digest != data.digest


def test_without_a_root_it_is_made_in_the_folder_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EQBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    LVISMiniature(**SMALL)
    assert [path.name for path in (tmp_path / "data").glob("lvis*")] == [Parameters(**SMALL, seed=0).name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 19}, "images 19: expected at least 20"),
        ({"classes": 4}, "classes 4: expected 5 to 1203"),
        ({"classes": 1204}, "classes 1204: expected 5 to 1203"),
        ({"classes": 101, "images": 50}, "images 50: expected at least 51, half of the 101 classes"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"seed": 2**32}, r"seed 4294967296: expected 0 to 2\*\*32 - 1"),
        ({"size": 63}, "size 63: expected 64 to 2048 pixels"),
    ],
)
def test_impossible_arguments(tmp_path: Path, change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "new", **{**SMALL, "seed": 0, **change})
    assert list(tmp_path.iterdir()) == []
