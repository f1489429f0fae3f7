"""What can be found wrong in annotation files and their images before anything is trained on them.

Legend: C classes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from eqbench.data.detection import GROUPS
from eqbench.data.lvis_index.dataset import BothImages, digest_of
from eqbench.data.lvis_index.images import IndexedImages
from eqbench.data.verification.contents import Contents
from eqbench.data.verification.findings import Findings
from eqbench.errors import InputError

LEAK = "images that are trained on and evaluated on"
LEAK_ADVICE = "results on them say nothing; take them out of one of the two files"


def examine_files(
    root: Path,
    images: BothImages,
    thresholds: tuple[int, int],
    found: Findings,
    *,
    name: str,
    where_to_get: str,
) -> Contents | None:
    """The checks that all annotation files share; `None` where there is nothing more to look at.

    Args:
        root: what the paths of the result are relative to.
        images: both files.
        thresholds: of the groups, where the files do not say them.
        found: is told what is wrong.
        name: the data set's class, which is in its digest.
        where_to_get: as of `Contents`.
    """
    for check in (images.check_classes, images.check_learnable):
        try:
            check()
        except InputError as error:
            found.problem("annotation files", str(error))
            return None
    every = {"train": images.train.every(), "val": images.eval}
    for each in every.values():
        for warning in each.index.warnings:
            found.note("annotations that are not learned from", warning)
    files = {split: _files(root, each) for split, each in every.items()}
    for split, each in every.items():
        _check_paths(split, each, found)
    _check_leaks(files, found)
    counts = {split: each.instance_counts for split, each in every.items()}
    names = images.train.index.category_names
    for class_name, number in zip(names, counts["train"].tolist(), strict=True):
        if not number:
            found.note("classes without a training instance", class_name)
    return Contents(
        class_names=names,
        group_names=GROUPS,
        groups=images.train.index.groups(*thresholds),
        unit="instances",
        counts=counts,
        files=files,
        decode=SizedImage(root, every),
        digest=digest_of(name, images, thresholds),
        where_to_get=where_to_get,
    )


class SizedImage:
    """Decodes an image and compares its size with the annotation file's, on which boxes and polygons rely."""

    def __init__(self, root: Path, images: Mapping[str, IndexedImages]) -> None:
        self._root = root
        self._images = images

    def __call__(self, root: Path, path: str) -> list[tuple[str, str]]:
        from eqbench.data.image_files.checking import check_image

        size, findings = check_image(root, path)
        expected = self._sizes[path]
        if size is None or size == expected:
            return findings
        turned = "; it is turned by a quarter" if size == expected[::-1] else ""
        what = f"{path}: {size[0]} x {size[1]} pixels, its annotations are for {expected[0]} x {expected[1]}{turned}"
        return [*findings, ("images of another size than their annotations say", what)]

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height by path."""
        sizes: dict[str, tuple[int, int]] = {}
        for images in self._images.values():
            index = images.index
            shapes = zip(index.widths.tolist(), index.heights.tolist(), strict=True)
            sizes.update(zip(_files(self._root, images), shapes, strict=True))
        return sizes


def _files(root: Path, images: IndexedImages) -> list[str]:
    """Paths below `root` of all images."""
    folder = PurePosixPath(os.path.relpath(images.folder, root.expanduser().absolute()))
    return [(folder / images.file(index)).as_posix() for index in range(len(images))]


def _check_paths(split: str, images: IndexedImages, found: Findings) -> None:
    for _, path, _ in images.path_faults():
        found.problem("paths that lead out of the folder of the images", f"{path} ({split})")
    paths = [images.file(index) for index in range(len(images))]
    if len(paths) != len(set(paths)):
        for path, number in Counter(paths).items():
            if number > 1:
                found.problem("image files that several images share", f"{path} ({split}): {number} images")


def _check_leaks(files: Mapping[str, Sequence[str]], found: Findings) -> None:
    trained = set(files["train"])
    for path in files["val"]:
        if path in trained:
            found.problem(LEAK, path, advice=LEAK_ADVICE)
