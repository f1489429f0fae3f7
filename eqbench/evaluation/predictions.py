"""Predictions of a detector, streamed to files ("shards") on disk, image by image.

A shard is an Arrow IPC file with one row per image: `image_id`; `boxes`, four float32 per detection; `scores`
float32; `category_ids` int64; and with masks `height`, `width` and `masks`, the COCO run-length counts of each
detection as bytes. An image without detections is a row with empty lists, so a shard also says which images were
predicted. It gets its name when it is complete: a writer that dies leaves a file `<name>.part` at most.

Legend: I images, N detections.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqbench.evaluation.failure import EvaluationFailed

BYTES_IN_MEMORY = 8 * 2**20
"""A writer holds about this much before it goes to disk."""
NO_ARRAY: NDArray[Any] = np.empty(0)


@dataclass(frozen=True)
class Prediction:
    """What was detected in one image.

    Attributes:
        boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the image.
        scores: (N,) float32.
        category_ids: (N,) int64, ids of the annotation file.
        masks: N COCO run-length encodings `{"size": [height, width], "counts": bytes}`, or None.
    """

    image_id: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    category_ids: NDArray[np.int64]
    masks: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Rows:
    """Predictions of several images one after the other: those of image i are `offsets[i]` to `offsets[i + 1]`.

    Attributes:
        image_ids, offsets: (I,) and (I + 1,) int64.
        boxes, scores, category_ids: (N, 4), (N,), (N,) as in `Prediction`.
        sizes: (I, 2) height and width; shape (0,) without masks.
        counts: pyarrow array of N byte strings, or None.
    """

    image_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    category_ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    counts: Any

    def images(self) -> NDArray[np.int64]:
        """(N,) position of each detection's image in `image_ids`."""
        return np.repeat(np.arange(len(self.image_ids)), np.diff(self.offsets))

    def masks(self, chosen: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Run-length encodings of the detections at these positions."""
        sizes = self.sizes[self.images()[chosen]].tolist()
        counts = self.counts.take(chosen).to_pylist()
        return [{"size": size, "counts": each} for size, each in zip(sizes, counts, strict=True)]

    def prediction(self, row: int) -> Prediction:
        part = slice(self.offsets[row], self.offsets[row + 1])
        masks = None if self.counts is None else self.masks(np.arange(part.start, part.stop))
        return Prediction(int(self.image_ids[row]), self.boxes[part], self.scores[part], self.category_ids[part], masks)


class ShardWriter:
    """Writes the predictions of some images to `path`, holding few of them in memory.

    As a context manager it closes the shard at the end, or removes what it wrote if there was an exception.
    """

    def __init__(self, path: Path, masks: bool) -> None:
        import pyarrow as pa

        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._schema = _schema(masks)
        self._masks = masks
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def add(
        self,
        image_id: int,
        boxes: ArrayLike,
        scores: ArrayLike,
        category_ids: ArrayLike,
        masks: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add the predictions of one image, of which there may be none; shapes as in `Prediction`.

        Raises:
            ValueError: the numbers of boxes, scores, category ids and masks differ, or the masks' sizes do.
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        row: dict[str, Any] = {
            "image_id": int(image_id),
            "boxes": boxes.ravel(),
            "scores": np.asarray(scores, np.float32),
            "category_ids": np.asarray(category_ids, np.int64),
        }
        if self._masks:
            row |= _mask_columns(image_id, masks or ())
        numbers = {name: len(row[name]) for name in ("scores", "category_ids", "masks") if name in row}
        if set(numbers.values()) != {len(boxes)}:
            raise ValueError(f"image {image_id}: {len(boxes)} boxes, but {numbers}; expected as many of each")
        self._rows.append(row)
        self._bytes += 200 + 24 * len(boxes) + sum(40 + len(counts) for counts in row.get("masks", ()))
        if self._bytes >= BYTES_IN_MEMORY:
            self._flush()

    def close(self) -> Path:
        """Complete the shard and give it its name."""
        self._flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        return self.path

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            columns = {name: [row[name] for row in self._rows] for name in self._schema.names}
            self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self._rows, self._bytes = [], 0


def read_shards(paths: Iterable[Path]) -> Iterator[Rows]:
    """The predictions in `paths`, some images at a time, from memory-mapped files.

    Raises:
        EvaluationFailed: a file is not there or not a complete shard, or an image was predicted twice.
    """
    seen: set[int] = set()
    for path in paths:
        for rows in _read_shard(Path(path)):
            ids = rows.image_ids.tolist()
            twice = next((image_id for image_id in ids if image_id in seen), None)
            seen.update(ids)
            if twice is not None or len(set(ids)) < len(ids):
                which = twice if twice is not None else next(i for i in ids if ids.count(i) > 1)
                raise EvaluationFailed(f"{path}: image {which} was predicted before, expected once")
            yield rows


def predictions_of(paths: Iterable[Path], image_ids: Iterable[int]) -> dict[int, Prediction]:
    """Predictions of these images, by id; those that nothing was predicted for are left out."""
    wanted = np.array(sorted(set(image_ids)), np.int64)
    return {
        int(rows.image_ids[row]): rows.prediction(row)
        for rows in read_shards(paths)
        for row in np.flatnonzero(np.isin(rows.image_ids, wanted))
    }


def _schema(masks: bool) -> Any:
    import pyarrow as pa

    fields = [
        ("image_id", pa.int64()),
        ("boxes", pa.list_(pa.float32())),
        ("scores", pa.list_(pa.float32())),
        ("category_ids", pa.list_(pa.int64())),
    ]
    if masks:
        fields += [("height", pa.int32()), ("width", pa.int32()), ("masks", pa.list_(pa.binary()))]
    return pa.schema(fields)


def _mask_columns(image_id: int, masks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sizes = {(int(height), int(width)) for height, width in (mask["size"] for mask in masks)} or {(0, 0)}
    if len(sizes) > 1:
        raise ValueError(f"image {image_id}: its masks have sizes {sorted(sizes)}; expected the image's size for all")
    [(height, width)] = sizes
    counts = [mask["counts"] for mask in masks]
    return {
        "height": height,
        "width": width,
        "masks": [each.encode("ascii") if isinstance(each, str) else bytes(each) for each in counts],
    }


def _read_shard(path: Path) -> Iterator[Rows]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            for number in range(file.num_record_batches):
                yield _rows(file.get_batch(number))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise EvaluationFailed(f"{path}: not a complete shard of predictions: {error}") from error


def _rows(batch: Any) -> Rows:
    def flat(name: str) -> Any:
        return batch.column(name).flatten()

    masks = "masks" in batch.schema.names
    sizes = [batch.column(name).to_numpy().astype(np.int64) for name in (("height", "width") if masks else ())]
    return Rows(
        image_ids=batch.column("image_id").to_numpy(),
        offsets=batch.column("scores").offsets.to_numpy().astype(np.int64),
        boxes=flat("boxes").to_numpy().reshape(-1, 4),
        scores=flat("scores").to_numpy(),
        category_ids=flat("category_ids").to_numpy(),
        sizes=np.stack(sizes, axis=1) if masks else NO_ARRAY,
        counts=flat("masks") if masks else None,
    )
