"""Shards of predictions: what is written is read, in little memory, and a shard is complete or is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqbench.evaluation import predictions
from eqbench.evaluation.failure import EvaluationFailed
from eqbench.evaluation.predictions import Prediction, ShardWriter, predictions_of, read_shards


def example(image_id: int, number: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng([image_id, seed])
    size = [20 + image_id, 30]
    return {
        "image_id": image_id,
        "boxes": random.random((number, 4), np.float32),
        "scores": random.random(number, np.float32),
        "category_ids": random.integers(1, 2**40, number),
        "masks": [{"size": size, "counts": random.bytes(int(random.integers(1, 90)))} for _ in range(number)],
    }


def assert_same(found: Prediction, given: dict[str, Any], masks: bool) -> None:
    assert found.image_id == given["image_id"]
    for name in ("boxes", "scores", "category_ids"):
        np.testing.assert_array_equal(getattr(found, name), given[name], strict=True)
    assert found.masks == (given["masks"] if masks else None)


@pytest.mark.parametrize("masks", [True, False])
def test_what_is_written_is_read(tmp_path: Path, masks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "BYTES_IN_MEMORY", 2000)
    given = {image_id: example(image_id, image_id % 7) for image_id in range(40)}
    shards = [tmp_path / "new" / name for name in ("a.arrow", "b.arrow")]
    for shard, ids in zip(shards, (range(0, 40, 2), range(1, 40, 2)), strict=True):
        with ShardWriter(shard, masks) as writer:
            for image_id in ids:
                writer.add(**given[image_id])
            assert not shard.exists()
    everything = [rows.prediction(row) for rows in read_shards(shards) for row in range(len(rows.image_ids))]
    assert [found.image_id for found in everything] == [*range(0, 40, 2), *range(1, 40, 2)]
    for found in everything:
        assert_same(found, given[found.image_id], masks)
    assert len(list(read_shards(shards[:1]))) > 2
    some = predictions_of(shards, [39, 0, 6, 1000])
    assert sorted(some) == [0, 6, 39]
    for image_id, found in some.items():
        assert_same(found, given[image_id], masks)


def test_the_writer_holds_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr(predictions, "BYTES_IN_MEMORY", 20_000)
    shard = tmp_path / "a.arrow"
    before, largest = pa.total_allocated_bytes(), 0
    with ShardWriter(shard, masks=True) as writer:
        for image_id in range(300):
            writer.add(**example(image_id, 50))
            largest = max(largest, pa.total_allocated_bytes() - before, writer._bytes)
        assert largest < 50_000
    assert shard.stat().st_size > 20 * 50_000


def test_no_image_and_masks_as_text(tmp_path: Path) -> None:
    assert ShardWriter(tmp_path / "none.arrow", masks=True).close() == tmp_path / "none.arrow"
    assert list(read_shards([tmp_path / "none.arrow"])) == []
    with ShardWriter(tmp_path / "text.arrow", masks=True) as writer:
        writer.add(1, np.zeros((1, 4)), [1], [1], [{"size": (4, 5), "counts": "abc"}])
    assert predictions_of([tmp_path / "text.arrow"], [1])[1].masks == [{"size": [4, 5], "counts": b"abc"}]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def predict() -> None:
        with ShardWriter(tmp_path / "a.arrow", masks=False) as writer:
            writer.add(**example(1, 3))
            raise RuntimeError("the model is broken")

    with pytest.raises(RuntimeError, match="the model is broken"):
        predict()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_dies_leaves_no_shard_and_is_followed_by_another(tmp_path: Path) -> None:
    shard = tmp_path / "a.arrow"
    program = (
        "import os, sys, pathlib; from eqbench.evaluation import predictions; predictions.BYTES_IN_MEMORY = 0\n"
        "writer = predictions.ShardWriter(pathlib.Path(sys.argv[1]), masks=False)\n"
        "for image in range(2000): writer.add(image, [[0, 0, 1, 1]], [0.5], [1])\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(shard)], check=False).returncode == -9
    part = tmp_path / "a.arrow.part"
    assert [*tmp_path.iterdir()] == [part]
    assert part.stat().st_size > 100_000
    with pytest.raises(EvaluationFailed, match=r"a\.arrow\.part: not a complete shard of predictions"):
        list(read_shards([part]))
    with ShardWriter(shard, masks=False) as writer:
        writer.add(**example(5, 2))
    assert [*tmp_path.iterdir()] == [shard]
    assert_same(predictions_of([shard], [5])[5], example(5, 2), masks=False)


def test_files_that_are_no_shards(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.arrow", masks=False) as writer:
        writer.add(**example(1, 300))
    whole = (tmp_path / "a.arrow").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not an Arrow file"):
        (tmp_path / "b.arrow").write_bytes(damaged)
        with pytest.raises(EvaluationFailed, match=r"b\.arrow: not a complete shard of predictions"):
            list(read_shards([tmp_path / "b.arrow"]))
    with pytest.raises(EvaluationFailed, match=r"c\.arrow: not a complete shard"):
        list(read_shards([tmp_path / "c.arrow"]))


@pytest.mark.parametrize("apart", [True, False])
def test_an_image_that_was_predicted_twice(tmp_path: Path, apart: bool) -> None:
    shards = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    for shard, ids in zip(shards, ((1, 2), (3, 2)) if apart else ((1, 2, 2), (3,)), strict=True):
        with ShardWriter(shard, masks=False) as writer:
            for image_id in ids:
                writer.add(**example(image_id, 1))
    with pytest.raises(EvaluationFailed, match=rf"{'b' if apart else 'a'}\.arrow: image 2 was predicted before"):
        list(read_shards(shards))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [1.0]}, "image 3: 2 boxes, but .*'scores': 1"),
        ({"category_ids": [1, 2, 3]}, "'category_ids': 3"),
        ({"masks": None}, "'masks': 0"),
        ({"masks": [{"size": [2, 2], "counts": b""}, {"size": [2, 3], "counts": b""}]}, "its masks have sizes"),
    ],
)
def test_numbers_that_differ(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    writer = ShardWriter(tmp_path / "a.arrow", masks=True)
    with pytest.raises(ValueError, match=message):
        writer.add(**{**example(3, 2), **change})
    writer.discard()
