"""Images and labels of CIFAR's batch files. Legend: N images of 3 x 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eqbench.data.cifar_files.unpickling import read_pickle
from eqbench.errors import InputError, nearest

NumClasses = Literal[10, 100]
FOLDERS: Mapping[NumClasses, str] = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
TRAIN_FILES: Mapping[NumClasses, tuple[str, ...]] = {
    10: tuple(f"data_batch_{number}" for number in range(1, 6)),
    100: ("train",),
}
TEST_FILES: Mapping[NumClasses, tuple[str, ...]] = {10: ("test_batch",), 100: ("test",)}
NAMES: Mapping[NumClasses, tuple[str, str]] = {10: ("batches.meta", "label_names"), 100: ("meta", "fine_label_names")}
LABELS: Mapping[NumClasses, str] = {10: "labels", 100: "fine_labels"}
OTHER_VERSIONS = {
    10: ("cifar-10-batches-bin", "cifar-10-batches-mat", "cifar-10-python.tar.gz"),
    100: ("cifar-100-binary", "cifar-100-matlab", "cifar-100-python.tar.gz"),
}
SIDE = 32
LONGEST_SHOWN = 10**15
WHERE_TO_GET: Mapping[NumClasses, str] = {
    classes: f"get the Python version of CIFAR-{classes} from www.cs.toronto.edu/~kriz/cifar.html, or with "
    f"torchvision.datasets.CIFAR{classes}(root, download=True), and unpack it in the data set's folder"
    for classes in FOLDERS
}


@dataclass(frozen=True, eq=False)
class Batch:
    """What a file holds: images (N, 3, 32, 32) uint8 and labels (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class CIFAR:
    """CIFAR-10 or CIFAR-100 below `root`, in the folder that torchvision unpacks; read on access.

    Raises, on access:
        InputError: a file is missing or is not as it has to be.
    """

    root: Path
    classes: NumClasses

    @property
    def folder(self) -> str:
        return FOLDERS[self.classes]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        name, key = NAMES[self.classes]
        file = self.root / self.folder / name
        names: Any = read_pickle(file).get(key)
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not listed or len(names) != self.classes:
            raise InputError(f"{file}: {key} is not a list of {self.classes} names")
        return tuple(names)

    def train(self) -> Batch:
        return self._read(TRAIN_FILES[self.classes])

    def test(self) -> Batch:
        return self._read(TEST_FILES[self.classes])

    def missing_files(self) -> list[str]:
        """Below `root`."""
        return [path for paths in self.files.values() for path in paths if not (self.root / path).is_file()]

    @property
    def files(self) -> dict[str, list[str]]:
        """By split, below `root`."""
        meta = NAMES[self.classes][0]
        return {
            "train": [f"{self.folder}/{name}" for name in (*TRAIN_FILES[self.classes], meta)],
            "test": [f"{self.folder}/{name}" for name in TEST_FILES[self.classes]],
        }

    def _read(self, names: Sequence[str]) -> Batch:
        batches = [read_batch(self.root / self.folder / name, self.classes) for name in names]
        return Batch(
            np.concatenate([batch.images for batch in batches]), np.concatenate([batch.labels for batch in batches])
        )


def find_cifar(root: Path, classes: NumClasses) -> CIFAR:
    """Raises InputError if the folder is not there; names what there is instead."""
    folder = FOLDERS[classes]
    if (root / folder).is_dir():
        return CIFAR(root, classes)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {folder} in it; {WHERE_TO_GET[classes]}")
    there = sorted(path.name for path in root.iterdir())
    for other in FOLDERS.values():
        if other in there:
            raise InputError(
                f"{root / folder}: no such folder; {other} is there, which is CIFAR-{110 - classes}: set "
                f"classes: {110 - classes}, or {WHERE_TO_GET[classes]}"
            )
    wrong = [name for name in OTHER_VERSIONS[classes] if name in there]
    hint = (
        f"; {wrong[0]} is there, which is not the Python version, or not unpacked" if wrong else nearest(folder, there)
    )
    raise InputError(f"{root / folder}: no such folder{hint}; {WHERE_TO_GET[classes]}")


def read_batch(file: Path, classes: NumClasses) -> Batch:
    """Raises InputError if the file is not one of CIFAR's with so many classes."""
    content = read_pickle(file)
    key = LABELS[classes]
    for name in ("data", key):
        if name not in content:
            known = ", ".join(sorted(content))
            raise InputError(
                f"{file}: has no {name!r}, as CIFAR-{classes} does{nearest(name, content)} (there: {known})"
            )
    data = content["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIDE**2:
        raise InputError(f"{file}: data is {_shape(data)}; expected an array of {3 * SIDE**2} bytes for each image")
    return Batch(data.reshape(-1, 3, SIDE, SIDE), _labels(file, key, content[key], len(data), classes))


def _labels(file: Path, key: str, values: Any, images: int, classes: int) -> NDArray[np.int64]:
    listed = isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim == 1)
    if not listed or len(values) != images:
        have = f"{len(values):,} of them" if listed else f"they are {_shape(values)}"
        raise InputError(f"{file}: {key}: {have}; expected one for each of {images:,} images")
    value: Any
    for index, value in enumerate(values):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or not 0 <= value < classes:
            raise InputError(
                f"{file}: {key}: {_shown(value)} of image {index}; expected a whole number, 0 to {classes - 1}"
            )
    return np.asarray(values, dtype=np.int64)


def _shown(value: Any) -> str:
    """A number, or of what type a value is instead: it may be nested without end, or have thousands of digits."""
    whole = isinstance(value, int | np.integer) and -LONGEST_SHOWN < value < LONGEST_SHOWN
    return repr(value) if whole or isinstance(value, float | np.floating) else f"a {type(value).__name__}"


def _shape(data: Any) -> str:
    return f"{data.dtype} of shape {data.shape}" if isinstance(data, np.ndarray) else f"a {type(data).__name__}"
