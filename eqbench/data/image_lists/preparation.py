"""What there is of a listed data set and what is missing. Nothing is copied, downloaded or written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from eqbench.data.image_lists.dataset import ListedDataset, Lists, read_lists
from eqbench.data.image_lists.finding import absolute, find_list
from eqbench.data.image_lists.layouts import on_disk, spread
from eqbench.data.image_lists.lists import ParsedList
from eqbench.errors import InputError
from eqbench.validation import first_few


def prepare_lists(data: type[ListedDataset], root: Path, wrong: Callable[[Path], Iterable[str]]) -> list[str]:
    """One line for each list and for the images of each; `wrong` says which other download the folder looks like.

    Raises:
        InputError: something is missing: the same lines, what is there instead, and where to get it.
    """
    root, release = absolute(root), data.release
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {release.where_to_get}")
    files, lines, missing = {}, [], 0
    for split in release.files:
        try:
            files[split] = find_list(root, release, split)
        except InputError:
            lines.append(f"missing: the list of {split}, {' or '.join(release.files[split])}, in {root} or its lists/")
            missing += 1
    if "train" in files:
        lists = read_lists(files, data.layout)
        for split, images in lists.images.items():
            said, there = _images(data, root, split, images)
            lines += said
            missing += not there
        lines += _folders(data, root, lists)
    if missing:
        lines += [*wrong(root), release.where_to_get]
        raise InputError("\n".join([f"{root}: not all of {release.title} is there", *lines]))
    return [*lines, "nothing to copy: the images are read where they are; links instead of folders and files will do"]


def _images(data: type[ListedDataset], root: Path, split: str, images: ParsedList) -> tuple[list[str], bool]:
    """What is said of a split, and whether those of its images that are looked for are there."""
    paths = on_disk(data.layout, root, images.paths)
    looked_for = spread(paths)
    missing = [path for path in looked_for if not (root / path).is_file()]
    as_listed = "" if paths[0] == images.paths[0] else " (they may lie like that)"
    if not missing:
        where = f"images such as {paths[0]}{as_listed}"
    elif len(missing) == len(looked_for):
        where = f"missing: its images, such as {paths[0]}"
    else:
        where = f"missing: {len(missing)} of {len(looked_for)} images that were looked for, such as {missing[0]}"
    return [f"{split}: {len(images.paths):,} images in {images.file}", f"{split}: {where}"], not missing


def _folders(data: type[ListedDataset], root: Path, lists: Lists) -> list[str]:
    """Folders of classes that there should be below the training images' folder, if some are missing."""
    paths = on_disk(data.layout, root, lists.images["train"].paths)
    expected = sorted({path.rpartition("/")[0] for path in paths})
    absent: Sequence[str] = [folder for folder in expected if not (root / folder).is_dir()]
    if not absent or len(absent) == len(expected):
        return []
    return [f"missing: {len(absent):,} of the {len(expected):,} folders of training images: {first_few(absent)}"]
