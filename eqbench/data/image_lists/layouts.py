"""Ways in which the same images are listed, and lie on disk.

The first way of each data set is the one that its name for an image is taken from, so that a run's data set is the
same whichever way the lists and the folders are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from eqbench.data.labelled_images.image_list import PathColumn

Variant = Callable[[str], str]
"""From a path in the first way to where the image lies in another."""
LOOKED_FOR = 16
"""Images of a list that are looked for when it is opened."""


class Layout:
    """One way only: images are listed as they lie on disk."""

    variants: Sequence[Variant] = ()

    def first_way(self, path: str, folder: str) -> str:
        """A listed path in the first way; `folder` is the class's, empty while it is not known."""
        return path


class ImageNetLayout(Layout):
    """`train/<wnid>/X.JPEG`, `val/<wnid>/X.JPEG`; the images of ILSVRC's validation set may lie flat in `val/`."""

    variants = (lambda path: _flat(path, "val", "val"),)

    def first_way(self, path: str, folder: str) -> str:
        return _into(path, "val", f"val/{folder}") if folder else path


class PlacesLayout(Layout):
    """`train/<scene>/X.jpg`, `val/<scene>/X.jpg`: the directory structure that Places365 calls easy.

    The other is `data_256/<letter>/<scene>/X.jpg` and `val_256/X.jpg`, where `<scene>` may have a folder in it:
    `stadium-soccer` is `s/stadium/soccer`.
    """

    variants = (lambda path: _flat(_by_letter(path), "val", "val_256"),)

    def first_way(self, path: str, folder: str) -> str:
        first, _, rest = path.partition("/")
        if first == "data_256" and rest[1:2] == "/":
            scene, _, name = rest[2:].rpartition("/")
            return f"train/{scene.replace('/', '-')}/{name}"
        return _into(path, "val_256", f"val/{folder}") if folder else path


def _into(path: str, flat: str, nested: str) -> str:
    """`flat/X` to `nested/X`; any other path as it is."""
    first, _, name = path.partition("/")
    return f"{nested}/{name}" if first == flat and "/" not in name else path


def _flat(path: str, nested: str, flat: str) -> str:
    """`nested/<class>/X` to `flat/X`; any other path as it is."""
    parts = path.split("/")
    return f"{flat}/{parts[2]}" if len(parts) == 3 and parts[0] == nested else path


def _by_letter(path: str) -> str:
    """`train/<scene>/X` to `data_256/<letter>/<scene>/X`."""
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != "train":
        return path
    return f"data_256/{parts[1][0]}/{parts[1].replace('-', '/')}/{parts[2]}"


def in_first_way(layout: Layout, paths: PathColumn, labels: Tensor, folders: Sequence[str] | None) -> PathColumn:
    """All of a list's paths; `folders` (C,) are the classes', None if the list itself tells them."""
    if type(layout) is Layout:
        return paths
    if folders is None:
        return PathColumn.from_strings(layout.first_way(path, "") for path in paths)
    of_images = (folders[label] for label in labels.tolist())
    return PathColumn.from_strings(map(layout.first_way, paths, of_images))


def on_disk(layout: Layout, root: Path, paths: PathColumn) -> PathColumn:
    """Where a list's images lie: in the way in which most of `LOOKED_FOR` of them do, the first way on a tie."""
    sample = spread(paths)
    most, best = _existing(root, sample), None
    for variant in layout.variants if most < len(sample) else ():
        if (number := _existing(root, map(variant, sample))) > most:
            most, best = number, variant
    return PathColumn.from_strings(map(best, paths)) if best else paths


def spread(paths: PathColumn) -> list[str]:
    """Up to `LOOKED_FOR` paths, evenly spaced from the first to the last."""
    places = np.linspace(0, len(paths) - 1, min(LOOKED_FOR, len(paths)), dtype=np.int64)
    return [paths[place] for place in places.tolist()]


def _existing(root: Path, paths: Iterable[str]) -> int:
    return sum((root / path).exists() for path in paths)


def class_folders(paths: PathColumn, labels: Tensor, num_classes: int) -> list[str]:
    """(C,) the folders between the first and the file, of each class's first image; empty if a class has none."""
    folders = [""] * num_classes
    found, first = np.unique(labels.numpy(), return_index=True)
    for label, index in zip(found.tolist(), first.tolist(), strict=True):
        folders[label] = folder_of(paths[index])
    return folders


def folder_of(path: str) -> str:
    """The folders between the first and the file; if there are none, the first.

    >>> folder_of("train_val2018/Aves/3213/a.jpg"), folder_of("train/kitchen/a.jpg"), folder_of("kitchen/a.jpg")
    ('Aves/3213', 'kitchen', 'kitchen')
    """
    parts = path.split("/")[:-1]
    return "/".join(parts[1:] or parts)
