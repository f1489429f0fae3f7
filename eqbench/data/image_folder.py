"""Any folder of images with a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from eqbench.data.image_files.checking import EXTENSIONS, image_findings
from eqbench.data.image_files.comparison import same_content
from eqbench.data.labelled_images.dataset import LabelledImages
from eqbench.data.labelled_images.image_list import ImageList, PathColumn
from eqbench.data.verification import Contents, Findings
from eqbench.errors import InputError, nearest

__all__ = ["ImageFolder"]

EvalSplit = Literal["val", "test"]
EVAL_SPLITS: tuple[EvalSplit, ...] = ("val", "test")
LAYOUT = "expected train/CLASS/*.jpg and val/CLASS/*.jpg (or test/CLASS/*.jpg) in the data set's folder"
ENDINGS = tuple(EXTENSIONS)
LEAK = "images that are trained on and evaluated on"


class ImageFolder(LabelledImages):
    """Images in `root/train/<class>/` and `root/val/<class>/` or `root/test/<class>/`; classes are sorted by name.

    Image files are those that end like one (.jpg, .jpeg, .png, .webp, .gif, .bmp, .tif, .tiff); others, and names that
    begin with a dot, are left out. Links are followed. Groups are many, medium and few by training images.

    Args:
        root: folder of the data set.
        eval_split: which folder is evaluated on.
        options: as of `LabelledImages`.

    Raises:
        InputError: a folder is missing, a class has no images or is in one of the two splits only, or has folders.
    """

    def __init__(self, *, root: Path, eval_split: EvalSplit = "val", **options: Any) -> None:
        super().__init__(**options)
        self.root = root.expanduser().absolute()
        self.eval_split = eval_split

    @property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        return self._splits[0].classes

    @cached_property
    def train_images(self) -> ImageList:
        return self._splits[0].images(self.root)

    @cached_property
    def eval_images(self) -> ImageList:
        return self._splits[1].images(self.root)

    @cached_property
    def _splits(self) -> tuple[Split, Split]:
        """Raises InputError for the first of what is wrong."""
        train, evaluation = read_split(self.root, "train"), read_split(self.root, self.eval_split)
        for _, what in faults(train, evaluation):
            raise InputError(f"{self.root}: {what}")
        return train, evaluation


@dataclass
class Split:
    """What lies below one folder.

    Attributes:
        name: of the folder.
        files: names of the image files of each class, sorted.
        others: what is no image, below the root.
        folders: what is a folder where images were expected, below the root.
    """

    name: str
    files: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return list(self.files)

    @property
    def paths(self) -> Iterator[str]:
        """Of all images, class by class, below the root."""
        return (f"{self.name}/{class_name}/{file}" for class_name, files in self.files.items() for file in files)

    def images(self, root: Path) -> ImageList:
        counts = torch.tensor([len(files) for files in self.files.values()], dtype=torch.int64)
        labels = torch.arange(len(counts)).repeat_interleave(counts)
        return ImageList(root, PathColumn.from_strings(self.paths), labels)


def read_split(root: Path, name: str) -> Split:
    """Raises InputError if there is no such folder, or it has no class."""
    split = Split(name)
    for class_name, is_folder in _listed(root, name):
        if not is_folder:
            split.others.append(f"{name}/{class_name}")
            continue
        files = split.files[class_name] = []
        for file, is_folder in _listed(root, f"{name}/{class_name}"):
            path = f"{name}/{class_name}/{file}"
            if is_folder:
                split.folders.append(path)
            elif file.lower().endswith(ENDINGS):
                files.append(file)
            else:
                split.others.append(path)
    if not split.files:
        raise InputError(f"{root / name}: no class, that is no folder, in it; {LAYOUT}")
    return split


def faults(train: Split, evaluation: Split) -> Iterator[tuple[str, str]]:
    """Kind and text of what keeps two splits from being used together."""
    for split in (train, evaluation):
        for path in split.folders:
            yield "folders where images were expected", f"{path}: a folder; expected images of one class"
        for class_name, files in split.files.items():
            if not files:
                yield "classes without images", f"{split.name}/{class_name}: no image in it"
    for split, other in ((train, evaluation), (evaluation, train)):
        for class_name in split.files.keys() - other.files.keys():
            hint = nearest(class_name, other.files)
            yield "classes of one split only", f"{split.name}/{class_name}: no such class in {other.name}{hint}"


def _listed(root: Path, folder: str) -> list[tuple[str, bool]]:
    """Sorted names in a folder and whether they are folders; without hidden ones."""
    try:
        with os.scandir(root / folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder") from error
        there = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        raise InputError(
            f"{root / folder}: {(error.strerror or 'cannot be read').lower()}{nearest(folder, there)} "
            f"(folders there: {', '.join(there[:8]) or 'none'}); {LAYOUT}"
        ) from error


def prepare(root: Path, eval_split: EvalSplit | None = None) -> list[str]:
    """Nothing has to be prepared; says what there is.

    Raises:
        InputError: as `ImageFolder`.
    """
    root = root.expanduser().absolute()
    data = ImageFolder(root=root, eval_split=eval_split or _eval_splits(root)[0])
    groups = ", ".join(f"{data.groups.count(group)} {group}" for group in data.group_names)
    return [
        f"training: {root / 'train'}: {len(data.train_images):,} images",
        f"evaluation: {root / data.eval_split}: {len(data.eval_images):,} images",
        f"classes: {data.num_classes:,} ({groups})",
        "nothing to prepare; images are read where they are",
    ]


def examine(
    root: Path,
    found: Findings,
    *,
    miniature: bool = False,  # noqa: ARG001  asked of every data set; here there are no published numbers to leave out
    eval_split: EvalSplit | None = None,
) -> Contents | None:
    """The checks that need no image decoded; both evaluation splits where there are two."""
    root = root.expanduser().absolute()
    names = (eval_split,) if eval_split else _eval_splits(root)
    try:
        train, *evaluations = (read_split(root, name) for name in ("train", *names))
    except InputError as error:
        found.problem("folders", str(error))
        return None
    unusable = dict.fromkeys(fault for evaluation in evaluations for fault in faults(train, evaluation))
    for kind, what in unusable:
        found.problem(kind, what)
    for evaluation in evaluations:
        for path in _leaks(root, train, evaluation):
            found.problem(LEAK, path, advice="results on them say nothing; take them out of one of the two folders")
    splits = (train, *evaluations)
    for path in (path for split in splits for path in split.others):
        found.note("files that are no images, left out", path)
    if unusable:
        return None
    data = ImageFolder(root=root, eval_split=names[0])
    lists = {split.name: split.images(root) for split in splits}
    return Contents(
        class_names=data.class_names,
        group_names=data.group_names,
        groups=data.groups,
        unit="images",
        counts={name: images.labels.bincount(minlength=data.num_classes).numpy() for name, images in lists.items()},
        files={name: list(images.paths) for name, images in lists.items()},
        decode=image_findings,
        digest=data.digest,
        where_to_get=LAYOUT,
    )


def _eval_splits(root: Path) -> tuple[EvalSplit, ...]:
    """Those that are there; "val" if none is."""
    return tuple(name for name in EVAL_SPLITS if (root / name).is_dir()) or ("val",)


def _leaks(root: Path, train: Split, evaluation: Split) -> Iterator[str]:
    """Evaluation images that a training image of the same name equals byte for byte."""
    trained: dict[str, list[str]] = {}
    for path in train.paths:
        trained.setdefault(path.rpartition("/")[2], []).append(path)
    for path in evaluation.paths:
        for other in trained.get(path.rpartition("/")[2], ()):
            if same_content(root / path, root / other):
                yield f"{path} is {other}"
