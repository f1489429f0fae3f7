"""The index of a folder of masks: where it lies, when it is built again, how fast it opens."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from eqbench.data.pixel_masks import storage
from eqbench.data.pixel_masks.layout import Pairs
from eqbench.errors import InputError
from tests.data.mask_files import mask_of, write_ade20k, write_image


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    root = write_ade20k(tmp_path / "ade")
    return Pairs(root / "images" / "training", root / "annotations" / "training")


def test_the_index_lies_beside_the_masks_and_is_read_again(pairs: Pairs) -> None:
    built = storage.open_index(pairs)
    place = storage.place_of(pairs)
    assert place == pairs.masks.with_name("training.index")
    written = place.stat().st_mtime_ns
    opened = storage.open_index(pairs)
    assert place.stat().st_mtime_ns == written
    assert opened.digest == built.digest
    assert list(opened.image_names) == [f"ADE_train_{number:08d}.jpg" for number in range(1, 7)]
    assert opened.sizes.tolist() == [[40, 56]] * 6
    assert int(opened.pixels.sum()) == 6 * 40 * 56


@pytest.mark.parametrize("change", ["content", "new", "gone", "renamed"])
def test_a_change_is_seen(pairs: Pairs, change: str) -> None:
    before = storage.open_index(pairs).digest
    root = pairs.masks.parents[1]
    mask, image = mask_of(root), pairs.images / "ADE_train_00000002.jpg"
    match change:
        case "content":
            write_image(mask, np.ones((40, 56), np.uint8))
        case "new":
            (pairs.images / "z.jpg").write_bytes(image.read_bytes())
            (pairs.masks / "z.png").write_bytes(mask.read_bytes())
        case "gone":
            image.unlink()
            mask.unlink()
        case "renamed":
            image.rename(image.with_name("y.jpg"))
            mask.rename(mask.with_name("y.png"))
    index = storage.open_index(pairs)
    assert index.digest != before
    assert len(index) == 6 + {"new": 1, "gone": -1}.get(change, 0)


def test_an_image_of_another_size_is_seen(pairs: Pairs) -> None:
    storage.open_index(pairs)
    write_image(pairs.images / "ADE_train_00000002.jpg", np.zeros((41, 56, 3), np.uint8))
    with pytest.raises(InputError, match=r"00002.png: 56 x 40 pixels .* its image has 56 x 41"):
        storage.open_index(pairs)


def test_a_damaged_index_is_built_again(pairs: Pairs, caplog: pytest.LogCaptureFixture) -> None:
    digest = storage.open_index(pairs).digest
    place = storage.place_of(pairs)
    content = place.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" * 500):
        place.write_bytes(damaged)
        assert storage.open_index(pairs).digest == digest
        assert place.stat().st_size == len(content)
    assert "damaged" in caplog.text


def test_where_the_folder_cannot_be_written_to_the_index_is_in_the_cache(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQBENCH_CACHE", str(tmp_path / "cache"))
    pairs.masks.with_name("training.index.lock").mkdir()  # what cannot be opened for writing, even by root
    digest = storage.open_index(pairs).digest
    place = storage.place_of(pairs)
    assert place.parent == tmp_path / "cache"
    assert place.is_file()
    assert storage.open_index(pairs).digest == digest


def test_hidden_and_other_files_are_left_out(pairs: Pairs) -> None:
    digest = storage.open_index(pairs).digest
    for name in (".DS_Store", "._ADE_train_00000001.jpg", "Thumbs.db", "list.txt"):
        (pairs.images / name).touch()
    (pairs.masks / "._ADE_train_00000001.png").touch()
    assert storage.open_index(pairs).digest == digest


def test_an_index_of_many_masks_opens_in_a_moment(tmp_path: Path) -> None:
    """A tenth of ADE20K's masks: what opening takes besides looking at the files must not grow beyond milliseconds."""
    pairs = Pairs(tmp_path / "images", tmp_path / "masks")
    first = write_image(pairs.images / "0.png", np.zeros((2, 2, 3), np.uint8))
    mask = write_image(pairs.masks / "0.png", np.ones((2, 2), np.uint8))
    for number in range(1, 2000):
        (pairs.images / f"{number}.png").hardlink_to(first)
        (pairs.masks / f"{number}.png").hardlink_to(mask)
    built = storage.open_index(pairs)
    started = time.process_time()
    opened = storage.open_index(pairs)
    assert time.process_time() - started < 0.25
    assert opened.digest == built.digest
