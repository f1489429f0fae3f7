"""Miniatures of CIFAR-10 and CIFAR-100: the Python version's files, balanced; the long tail is made on loading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.miniatures.classified import class_looks, random
from eqbench.data.miniatures.parameters import Parameters
from eqbench.data.miniatures.pictures import picture, thumbnail
from eqbench.data.miniatures.python2_pickle import dumps
from eqbench.data.scenes.appearance import Appearance

TEST_PER_CLASS = {10: 20, 100: 10}
BATCHES = 5  # of CIFAR-10's training images
COARSE = 20  # superclasses of CIFAR-100, of five classes each

Rows = NDArray[np.uint8]


def write(folder: Path, parameters: Parameters) -> None:
    """Fill `folder` with cifar-10-batches-py/ or cifar-100-python/, as `parameters.classes` says."""
    looks = sorted(class_looks(parameters), key=lambda look: (look.shape, look.name))
    test = TEST_PER_CLASS[parameters.classes] * parameters.classes
    splits = {
        split: _draw(parameters, looks, split, images)
        for split, images in (("train", parameters.images), ("test", test))
    }
    (_write_cifar10 if parameters.classes == 10 else _write_cifar100)(folder, splits, looks)


def _draw(
    parameters: Parameters, looks: Sequence[Appearance], split: str, images: int
) -> tuple[Rows, NDArray[np.int64]]:
    """(N, 3072) all red, then green, then blue values of each image, row by row; and (N,) labels in random order."""
    labels = random(parameters, "labels", split).permutation(np.arange(images) % len(looks))
    rows = np.empty((images, 3 * parameters.size**2), np.uint8)
    for place, label in enumerate(labels.tolist()):
        drawn = picture(thumbnail, label, looks, parameters.size, random(parameters, "picture", split, place))
        rows[place] = np.asarray(drawn).transpose(2, 0, 1).ravel()
    return rows, labels


def _file_names(labels: NDArray[np.int64], looks: Sequence[Appearance], first: int = 0) -> list[str]:
    return [f"{looks[label].name}_s_{number:06d}.png" for number, label in enumerate(labels.tolist(), first)]


def _write_cifar10(
    folder: Path, splits: dict[str, tuple[Rows, NDArray[np.int64]]], looks: Sequence[Appearance]
) -> None:
    folder = folder / "cifar-10-batches-py"
    folder.mkdir()
    rows, labels = splits["train"]
    first = 0
    parts = zip(np.array_split(rows, BATCHES), np.array_split(labels, BATCHES), strict=True)
    for number, (part, part_labels) in enumerate(parts, 1):
        title = f"training batch {number} of {BATCHES}"
        content = _cifar10_batch(title, part, part_labels, _file_names(part_labels, looks, first))
        (folder / f"data_batch_{number}").write_bytes(dumps(content))
        first += len(part)
    rows, labels = splits["test"]
    content = _cifar10_batch("testing batch 1 of 1", rows, labels, _file_names(labels, looks))
    (folder / "test_batch").write_bytes(dumps(content))
    meta = {
        "num_cases_per_batch": -(-len(splits["train"][1]) // BATCHES),
        "label_names": [look.name for look in looks],
        "num_vis": rows.shape[1],
    }
    (folder / "batches.meta").write_bytes(dumps(meta))


def _cifar10_batch(title: str, rows: Rows, labels: NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    return {"batch_label": title, "labels": labels.tolist(), "data": rows, "filenames": names}


def _write_cifar100(
    folder: Path, splits: dict[str, tuple[Rows, NDArray[np.int64]]], looks: Sequence[Appearance]
) -> None:
    folder = folder / "cifar-100-python"
    folder.mkdir()
    coarse = np.arange(len(looks)) * COARSE // len(looks)
    for split, (rows, labels) in splits.items():
        content = {
            "filenames": _file_names(labels, looks),
            "batch_label": f"{split}ing batch 1 of 1",
            "fine_labels": labels.tolist(),
            "coarse_labels": coarse[labels].tolist(),
            "data": rows,
        }
        (folder / split).write_bytes(dumps(content))
    meta = {
        "fine_label_names": [look.name for look in looks],
        "coarse_label_names": [f"{looks[place].shape}s_{number}" for number, place in enumerate(range(0, 100, 5))],
    }
    (folder / "meta").write_bytes(dumps(meta))
