"""Whether the files of CIFAR are the published ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqbench.data.cifar_files.batches import CIFAR, NAMES, WHERE_TO_GET, Batch, NumClasses, read_batch
from eqbench.data.verification import Findings
from eqbench.errors import InputError
from eqbench.validation import first_few

IMAGES = {"train": 50_000, "test": 10_000}


def is_whole(cifar: CIFAR, found: Findings, *, miniature: bool) -> bool:
    """Whether every file is there and can be read; `found` is told what else is wrong, too."""
    missing = cifar.missing_files()
    for path in missing:
        found.problem("files missing", f"{path}: no such file", advice=WHERE_TO_GET[cifar.classes])
    if missing:
        return False
    try:
        _ = cifar.class_names
        splits = {"train": cifar.train(), "test": cifar.test()}
    except InputError as error:
        found.problem("files", str(error))
        return False
    for split, batch in splits.items():
        check_counts(cifar, split, batch, found, miniature=miniature)
    check_leaks(cifar, splits["train"], splits["test"], found)
    if not miniature:
        check_published(cifar, found)
    return True


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
        found.note("test images that are training images", f"{cifar.folder}: {len(rows):,}: number {first_few(rows)}")


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
            _ = CIFAR(root, classes).class_names
        else:
            read_batch(root / path, classes)
    except InputError as error:
        return [("damaged files", str(error).removeprefix(f"{root}/"))]
    return []


def _digests(images: NDArray[np.uint8]) -> Iterator[bytes]:
    return (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
