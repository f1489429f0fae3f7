"""Base of the data sets that are published as lists of labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from eqbench.data.image_lists.finding import absolute, find_list
from eqbench.data.image_lists.inaturalist_json import read_annotations
from eqbench.data.image_lists.layouts import Layout, class_folders, in_first_way, on_disk
from eqbench.data.image_lists.lists import ParsedList, line_with_label, parse_list, read_list
from eqbench.data.image_lists.releases import INATURALIST_CATEGORIES, Release
from eqbench.data.labelled_images.dataset import LabelledImages, digest_of
from eqbench.data.labelled_images.image_list import ImageList
from eqbench.errors import InputError
from eqbench.validation import first_few


class ListedDataset(LabelledImages):
    """Images and labels as lists in `root` or `root/lists` say; takes the options of `LabelledImages`.

    No image is looked for when the data set is opened. Its digest is that of the lists with paths in the first of
    the ways of `layout`, so that it does not depend on which way they lie.

    Raises:
        InputError: a list is missing or has a line that is not as it has to be, or a class has no training image.
        ValueError: an argument is out of range.
    """

    release: ClassVar[Release]
    layout: ClassVar[Layout] = Layout()

    def __init__(self, *, root: Path, eval_split: str, **options: Any) -> None:
        super().__init__(**options)
        self.root = absolute(root)
        self._lists = {split: find_list(self.root, self.release, split) for split in ("train", eval_split)}
        self._eval_split = eval_split

    @cached_property
    def listed(self) -> Lists:
        """Training and evaluation images in the first way; the lists are read on first use."""
        return read_lists(self._lists, self.layout)

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        return self.names_of(self.root, self.listed.folders)

    @classmethod
    def names_of(cls, root: Path, folders: Sequence[str]) -> Sequence[str]:  # noqa: ARG003
        """(C,) what the classes with these folders are called; by default, as their folders."""
        return folders

    @cached_property
    def train_images(self) -> ImageList:
        return self._images("train")

    @cached_property
    def eval_images(self) -> ImageList:
        return self._images(self._eval_split)

    @cached_property
    def digest(self) -> str:
        return self.listed.digest(self.thresholds, self._eval_split)

    def _images(self, split: str) -> ImageList:
        images = self.listed.images[split]
        return ImageList(self.root, on_disk(self.layout, self.root, images.paths), images.labels)


@dataclass(frozen=True)
class Lists:
    """The lists of a data set, with paths in the first way.

    Attributes:
        images: by split; training first.
        folders: (C,) of each class, from its first training image; empty if it has none.
    """

    images: Mapping[str, ParsedList]
    folders: Sequence[str]

    @property
    def num_classes(self) -> int:
        return len(self.folders)

    def with_split(self, split: str, file: Path, layout: Layout, *, forgiving: bool = False) -> Lists:
        """And one more split, of the same classes; arguments and errors as of `read_lists`."""
        parsed, _ = read_split(file, self.num_classes, forgiving=forgiving)
        return Lists({**self.images, split: _converted(parsed, layout, self.folders)}, self.folders)

    def digest(self, thresholds: tuple[int, int], eval_split: str) -> str:
        """Of what is trained on and evaluated; what the classes are called changes nothing in it."""
        splits = [self.images[split] for split in ("train", eval_split)]
        names = [str(label) for label in range(self.num_classes)]
        return digest_of(names, thresholds, [ImageList(Path(), split.paths, split.labels) for split in splits])

    def counts(self, split: str) -> Tensor:
        """(C,) int64 images of each class."""
        return torch.bincount(self.images[split].labels, minlength=self.num_classes)


def read_lists(
    files: Mapping[str, Path], layout: Layout, *, num_classes: int | None = None, forgiving: bool = False
) -> Lists:
    """Read the files of some splits, that of training among them.

    Args:
        files: a list or iNaturalist annotation file by split.
        layout: how the lists may be written.
        num_classes: labels are below it; None if the training list tells.
        forgiving: what is wrong with single lines is left in `faults`, labels among it that would need more classes
            than there are images; and classes need no training image.

    Raises:
        InputError: a list is not as it has to be, or a class has no training image.
    """
    parsed, known = read_split(files["train"], num_classes, forgiving=forgiving)
    if forgiving and known is None and _largest(parsed) >= len(parsed.labels) > 0:
        parsed, _ = read_split(files["train"], len(parsed.labels), forgiving=True)
    num_classes = _largest(parsed) + 1 if known is None else known
    if not forgiving:
        _check_every_class(parsed, num_classes)
    train = _converted(parsed, layout, None)
    folders = class_folders(train.paths, train.labels, num_classes)
    lists = Lists({"train": train}, folders)
    for split in [split for split in files if split != "train"]:
        lists = lists.with_split(split, files[split], layout, forgiving=forgiving)
    return lists


def read_split(file: Path, num_classes: int | None, *, forgiving: bool = False) -> tuple[ParsedList, int | None]:
    """A list, or the annotation file of a split, and the number of classes as far as it is known then.

    Raises:
        InputError: it is not as it has to be, or has another number of classes.
    """
    if file.suffix != ".json":
        return (parse_list if forgiving else read_list)(file, num_classes=num_classes), num_classes
    parsed, names = read_annotations(file)
    if num_classes is not None and len(names) != num_classes:
        raise InputError(f"{file}: {len(names):,} categories, expected {num_classes:,}{_another_year(len(names))}")
    return parsed, len(names)


def missing_classes(labels: Tensor, num_classes: int) -> list[int]:
    """Labels below `num_classes` that no image has."""
    missing: list[int] = np.setdiff1d(np.arange(num_classes), labels.numpy()).tolist()
    return missing


def _another_year(categories: int) -> str:
    year = INATURALIST_CATEGORIES.get(categories)
    return f", those of iNaturalist {year}" if year else ""


def _largest(parsed: ParsedList) -> int:
    return int(parsed.labels.max()) if len(parsed.labels) else -1


def _converted(parsed: ParsedList, layout: Layout, folders: Sequence[str] | None) -> ParsedList:
    paths = in_first_way(layout, parsed.paths, parsed.labels, folders)
    return ParsedList(parsed.file, paths, parsed.labels, parsed.faults)


def _check_every_class(train: ParsedList, num_classes: int) -> None:
    """Raises InputError if a class has no training image."""
    absent = missing_classes(train.labels, min(num_classes, len(train.labels) + 1))
    if absent:
        largest = _largest(train)
        first = train.paths[int(train.labels.argmax())] if largest >= 0 else "none"
        line = line_with_label(train.file, largest) if train.file.suffix != ".json" else None
        raise InputError(
            f"{train.file}: no image has the label {first_few(absent)}; expected each label from 0 to "
            f"{num_classes - 1} at least once (the largest is {largest}, of {first}{f', line {line}' if line else ''})"
        )
