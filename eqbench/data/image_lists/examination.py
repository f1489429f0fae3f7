"""What can be said of a listed data set without looking at its images: lists, counts, folders, leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eqbench.data.image_lists.dataset import ListedDataset, Lists, missing_classes, read_lists
from eqbench.data.image_lists.finding import absolute, find_list
from eqbench.data.image_lists.layouts import folder_of, on_disk
from eqbench.data.image_lists.lists import ParsedList
from eqbench.data.image_lists.releases import Release, checksums
from eqbench.data.labelled_images.dataset import LabelledImages
from eqbench.data.labelled_images.long_tail import groups_of
from eqbench.data.verification.contents import Contents, Decode
from eqbench.data.verification.findings import Findings
from eqbench.errors import InputError
from eqbench.validation import first_few

THRESHOLDS = (100, 20)
"""Of the groups, by default."""


def examine_lists(
    data: type[ListedDataset],
    root: Path,
    found: Findings,
    *,
    miniature: bool,
    wrong: Callable[[Path], Iterable[str]],
    eval_split: str | None = None,
    order: Callable[[Sequence[str]], Iterable[str]] | None = None,
    decode: Decode,
) -> Contents | None:
    """Tell `found` what is wrong with the lists of a data set; None if there is no list to train on, or no line in it.

    Args:
        data: whose lists.
        root: folder of the data set.
        found: is told.
        miniature: the counts and checksums of the published data set are not expected.
        wrong: says which other download `root` looks like.
        eval_split: examined beside the training images; None for all that there are.
        order: says which of the classes' folders (C,) is not that of its label.
        decode: looks into one image.
    """
    root, release = absolute(root), data.release
    if not root.is_dir():
        found.problem("folder missing", f"{root}: no such folder", advice=release.where_to_get)
        return None
    for reason in () if miniature else wrong(root):
        found.problem("another download", reason, advice=release.where_to_get)
    splits = [split for split in release.files if split == "train" or eval_split in (None, split)]
    lists = _readable(data, root, splits, found, None if miniature else release.num_classes)
    if lists is None:
        return None
    _check_lines(lists, found)
    if not lists.num_classes:
        return None
    _check_classes(lists, found)
    for reason in order(lists.folders) if order else ():
        found.problem("labels other than the folder", reason)
    _check_leaks(lists, release, found)
    if not miniature:
        _check_published(lists, release, found)
    return _contents(data, root, lists, eval_split or release.eval_split, decode)


def _contents(data: type[ListedDataset], root: Path, lists: Lists, eval_split: str, decode: Decode) -> Contents:
    counts = {split: lists.counts(split) for split in lists.images}
    digests = {split: lists.digest(THRESHOLDS, split) for split in lists.images if split != "train"}
    return Contents(
        class_names=data.names_of(root, lists.folders),
        group_names=data.group_names,
        groups=groups_of(counts["train"], *THRESHOLDS),
        unit="images",
        counts={split: array.numpy() for split, array in counts.items()},
        files={split: list(on_disk(data.layout, root, images.paths)) for split, images in lists.images.items()},
        decode=decode,
        digest=digests.get(eval_split, ""),
        digests=list(digests.values()),
    )


def _readable(
    data: type[ListedDataset], root: Path, splits: Iterable[str], found: Findings, num_classes: int | None
) -> Lists | None:
    """What can be read of the lists of some splits; None without those of the training images."""
    files = {}
    for split in splits:
        try:
            files[split] = find_list(root, data.release, split)
        except InputError as error:
            found.problem("lists missing", str(error))
    readable: Lists | None = None
    for split, file in files.items():
        try:
            if split == "train":
                readable = read_lists({split: file}, data.layout, num_classes=num_classes, forgiving=True)
            elif readable is not None:
                readable = readable.with_split(split, file, data.layout, forgiving=True)
        except InputError as error:
            found.problem("lists that cannot be read", str(error))
    return readable


def _check_lines(lists: Lists, found: Findings) -> None:
    for images in lists.images.values():
        for line, reason in images.faults:
            found.problem("bad lines", f"{images.file}, line {line}: {reason}")


def _check_classes(lists: Lists, found: Findings) -> None:
    """Every class has images in every split, and a folder of its own."""
    for split, images in lists.images.items():
        if absent := missing_classes(images.labels, lists.num_classes):
            what = f"{split}: no image has the label {first_few(absent)} ({images.file})"
            found.problem("classes without images", what, number=len(absent))
    several = [(folder, number) for folder, number in Counter(lists.folders).items() if number > 1 and folder]
    for folder, _ in several:
        labels = [label for label, other in enumerate(lists.folders) if other == folder]
        found.problem("folders of several classes", f"{folder}: of the labels {first_few(labels)}")
    for split, images in lists.images.items():
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            if (folder := folder_of(path)) != lists.folders[label] and lists.folders[label]:
                what = f"{split}: {path} has the label {label}, which is that of {lists.folders[label]}"
                found.problem("labels other than the folder", what)


def _check_leaks(lists: Lists, release: Release, found: Findings) -> None:
    """No image is in two splits: neither the same path, nor the same file name where that tells images apart."""
    hashes = {split: _hashes(images.paths) for split, images in lists.images.items()}
    names = {split: _hashes(map(_name, images.paths)) for split, images in lists.images.items()}
    for first, second in combinations(lists.images, 2):
        where = f"both in {first} and in {second}"
        leaked = _common(lists.images[first], lists.images[second], hashes[first], hashes[second])
        for path in leaked:
            found.problem("images in two splits", f"{path}: {where}")
        if not leaked and release.same_name_is_same_image:
            for path in _common(lists.images[first], lists.images[second], names[first], names[second], _name):
                found.problem("images in two splits", f"{_name(path)}: {where}, in other folders")


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _hashes(texts: Iterable[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, texts), dtype=np.int64)


def _common(
    first: ParsedList,
    second: ParsedList,
    first_hashes: NDArray[np.int64],
    second_hashes: NDArray[np.int64],
    key: Callable[[str], str] = str,
) -> Sequence[str]:
    """Paths of the second list whose key some path of the first has too."""
    candidates = np.flatnonzero(np.isin(second_hashes, first_hashes)).tolist()
    if not candidates:
        return []
    known = {key(first.paths[index]) for index in np.flatnonzero(np.isin(first_hashes, second_hashes)).tolist()}
    return [path for path in (second.paths[index] for index in candidates) if key(path) in known]


def _check_published(lists: Lists, release: Release, found: Findings) -> None:
    """Numbers, folders and files are those of the published data set."""
    _check_counts(lists, release, found)
    _check_supers(lists, release, found)
    _check_checksums(lists, release, found)


def _check_counts(lists: Lists, release: Release, found: Findings) -> None:
    for split, images in lists.images.items():
        number, expected = len(images.paths) + len(images.faults), release.images[split]
        if number != expected:
            what = f"{split}: {number:,} images in {images.file}, expected {expected:,} in {release.title}"
            found.problem("numbers of images", what)
        if per_class := release.per_class.get(split):
            counts = lists.counts(split).numpy()
            for label in np.flatnonzero((counts > 0) & (counts != per_class)).tolist():
                what = f"{split}: label {label} has {counts[label]} images, expected {per_class}"
                found.problem("images per class", what)
    _check_long_tail(lists.counts("train"), release, found)


def _check_long_tail(counts: Tensor, release: Release, found: Findings) -> None:
    largest, smallest = int(counts.max()), int(counts.min())
    if (largest, smallest) != (release.largest, release.smallest):
        found.problem(
            "largest and smallest class",
            f"train: {smallest:,} to {largest:,} images of a class, expected {release.smallest} to {release.largest:,}",
        )
    groups = groups_of(counts, *THRESHOLDS)
    sizes = tuple(groups.count(group) for group in LabelledImages.group_names)
    if release.groups and sizes != release.groups:
        shown, expected = ("/".join(map(str, each)) for each in (sizes, release.groups))
        found.problem("sizes of groups", f"train: {shown} classes with many/medium/few images, expected {expected}")


def _check_supers(lists: Lists, release: Release, found: Findings) -> None:
    """Classes and training images in each folder that the classes' folders are in."""
    counts = lists.counts("train").tolist()
    classes: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for folder, count in zip(lists.folders, counts, strict=True):
        classes[folder.partition("/")[0]] += 1
        images[folder.partition("/")[0]] += count
    for name in sorted(classes.keys() | release.supers.keys()) if release.supers else ():
        expected = release.supers.get(name, (0, 0))
        if (classes[name], images[name]) != expected:
            found.problem(
                "numbers of images",
                f"train: {classes[name]:,} classes with {images[name]:,} images in {name or 'no folder'}, expected "
                f"{expected[0]:,} with {expected[1]:,}",
            )


def _check_checksums(lists: Lists, release: Release, found: Findings) -> None:
    """A list with other bytes than any published one: its lines may still be right, so this is a note."""
    for images in lists.images.values():
        known = release.checksums.get(images.file.name)
        if known and not known & checksums(images.file):
            found.note(
                "lists other than the published ones",
                f"{images.file}: none of the {len(known)} known checksums; counts and folders are checked all the same",
            )
