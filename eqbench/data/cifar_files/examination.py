"""Whether the files of CIFAR are the published ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqbench.data.cifar_files.batches import CIFAR, NAMES, Batch, NumClasses, read_batch
from eqbench.data.cifar_files.unpickling import read_pickle
from eqbench.data.verification import Findings
from eqbench.errors import InputError

IMAGES = {"train": 50_000, "test": 10_000}
SHOWN = 5


def check_published(cifar: CIFAR, found: Findings) -> None:
    """Compare checksums with those that torchvision knows; tell of files that differ."""
    for path, expected in checksums(cifar.classes).items():
        actual = hashlib.md5((cifar.root / path).read_bytes(), usedforsecurity=False).hexdigest()
        if actual != expected:
            found.problem(
                "files other than the published ones",
                f"{path}: md5 {actual}, expected {expected}",
                advice="unpack the archive again; for a miniature use --miniature",
            )


def check_counts(cifar: CIFAR, split: str, batch: Batch, found: Findings, *, miniature: bool) -> None:
    """As many images as published, as many of each class; in a miniature at least one of each class."""
    counts = np.bincount(batch.labels, minlength=cifar.classes)
    if not miniature and len(batch.labels) != IMAGES[split]:
        found.problem("counts", f"{cifar.folder}: {len(batch.labels):,} {split} images, expected {IMAGES[split]:,}")
    for label, count in enumerate(counts.tolist()):
        expected = max(1, count) if miniature else IMAGES[split] // cifar.classes
        if count != expected:
            what = f"{cifar.folder}: class {label}: {count:,} {split} images, expected {expected:,}"
            found.problem("images of a class", what)


def check_leaks(cifar: CIFAR, train: Batch, test: Batch, found: Findings) -> None:
    """Test images that are also training images. CIFAR as published has some, so they are worth a note."""
    trained = set(_digests(train.images))
    rows = [row for row, digest in enumerate(_digests(test.images)) if digest in trained]
    if rows:
        shown = ", ".join(map(str, rows[:SHOWN])) + (", ..." if len(rows) > SHOWN else "")
        found.note("test images that are training images", f"{cifar.folder}: {len(rows):,}: number {shown}")


def checksums(classes: NumClasses) -> dict[str, str]:
    """md5 of the published files, by path."""
    from torchvision.datasets import CIFAR10, CIFAR100

    published = {10: CIFAR10, 100: CIFAR100}[classes]
    listed = [*published.train_list, *published.test_list, [published.meta["filename"], published.meta["md5"]]]
    return {f"{published.base_folder}/{name}": md5 for name, md5 in listed}


def file_findings(root: Path, path: str) -> list[tuple[str, str]]:
    """Reads one file whole; raises nothing for a bad one."""
    folder, _, name = path.rpartition("/")
    classes: NumClasses = 10 if folder.endswith("cifar-10-batches-py") else 100
    try:
        if name == NAMES[classes][0]:
            read_pickle(root / path)
        else:
            read_batch(root / path, classes)
    except InputError as error:
        return [("damaged files", str(error).removeprefix(f"{root}/"))]
    return []


def _digests(images: NDArray[np.uint8]) -> Iterator[bytes]:
    return (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
