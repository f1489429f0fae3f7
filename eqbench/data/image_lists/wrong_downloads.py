"""Which other download a folder looks like: what people have taken for one of these data sets by mistake."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from eqbench.data.image_files.decoding import properties
from eqbench.data.image_lists.finding import files_that_could_be_lists
from eqbench.data.image_lists.releases import INATURALIST_2018
from eqbench.errors import InputError

LOOKED_AT = 6000
"""Entries of a folder: enough for a class of Places365, and for every class of ImageNet's first sets."""
SYNSET = re.compile(r"n\d{8}")
ILSVRC_YEAR = re.compile(r"ILSVRC(20\d\d)_(?:val|test|train)")
IMAGENET_CLASSES = {200: "Tiny ImageNet", 100: "ImageNet-100", 21_841: "ImageNet-21k", 19_167: "ImageNet-21k"}
PLACES_CLASSES = {205: "Places205", 401: "Places2 with 401 classes", 434: "Places365 with Places-Extra69"}
PLACES_SIDE = 256
LARGE_SIDE = 512
PLACES_PER_CLASS = 5000
"""Places365-Standard has so many training images of a class at most, numbered from 1; the challenge set has more."""


def names_in(folder: Path) -> list[str]:
    """Names of up to `LOOKED_AT` entries, sorted; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, LOOKED_AT))
    except OSError:
        return []


def imagenet(root: Path) -> Iterator[str]:
    """Downloads of ImageNet that are not the training and validation images of ILSVRC 2012."""
    train, val = names_in(root / "train"), names_in(root / "val")
    archives = [name for name in train if name.endswith(".tar")]
    if archives:
        yield f"{root / 'train'}: {archives[0]} is not unpacked; each class has a tar file within the tar file"
    classes = [name for name in train if SYNSET.fullmatch(name)]
    if classes and len(classes) != 1000:
        number = "at least 6,000" if len(train) >= LOOKED_AT else f"{len(classes):,}"
        other = IMAGENET_CLASSES.get(len(classes)) or ("ImageNet-21k" if len(classes) > 1000 else "part of ImageNet")
        yield f"{root / 'train'}: {number} class folders, as in {other}; ILSVRC 2012 has 1,000"
    if classes and (root / "train" / classes[0] / "images").is_dir():
        yield f"{root / 'train' / classes[0] / 'images'}: a folder within the class's folder, as in Tiny ImageNet"
    if train and not classes and all(name.isdecimal() for name in train[:1000]):
        yield f"{root / 'train'}: class folders are numbers, as in ImageNetV2; those of ILSVRC 2012 are n01440764 ..."
    in_class = names_in(root / "val" / val[0]) if val and SYNSET.fullmatch(val[0]) else []
    for folder, names in ((root / "val", val), (root / "val" / (val[0] if val else ""), in_class)):
        years = {found.group(1) for name in names if (found := ILSVRC_YEAR.match(name))} - {"2012"}
        if years:
            yield f"{folder}: images of ILSVRC {', '.join(sorted(years))}; ImageNet-LT is made of ILSVRC 2012"


def places(root: Path) -> Iterator[str]:
    """Downloads of Places that are not the small images of Places365-Standard."""
    if not _has_small_places(root):
        yield from other_places(root)
    classes = [name for name in names_in(root / "train") if (root / "train" / name).is_dir()]
    if classes and len(classes) != 365:
        other = f", as in {PLACES_CLASSES[len(classes)]}" if len(classes) in PLACES_CLASSES else ""
        yield f"{root / 'train'}: {len(classes):,} class folders{other}; Places365-Standard has 365"
    for name in classes[:3]:
        yield from _places_class(root / "train" / name)


def places_beside(root: Path) -> Iterator[str]:
    """Other downloads of Places beside the small images of Places365-Standard, which nothing is wrong with."""
    if _has_small_places(root):
        yield from other_places(root)


def other_places(root: Path) -> Iterator[str]:
    """Files and folders that by their names are not of the small images of Places365-Standard."""
    present = set(names_in(root))
    for name in sorted(present & {"data_large", "val_large", "train_large_places365standard"}):
        yield f"{root / name}: the high-resolution images; Places-LT is made of those of 256 x 256 pixels"
    for name in sorted(present):
        if "challenge" in name:
            yield f"{root / name}: of Places365-Challenge; Places-LT is made of Places365-Standard"
        if "extra69" in name:
            yield f"{root / name}: of Places-Extra69; Places-LT is made of Places365-Standard"


def _has_small_places(root: Path) -> bool:
    """Whether both folders of images are there that training and evaluation take, in either structure."""
    return all(any((root / name).is_dir() for name in names) for names in (("train", "data_256"), ("val", "val_256")))


def _places_class(folder: Path) -> Iterator[str]:
    """By the numbers of a class's training images, and by the size of the first."""
    images = [name for name in names_in(folder) if name.lower().endswith((".jpg", ".jpeg"))]
    beyond = [name for name in images if (stem := name.partition(".")[0]).isdecimal() and int(stem) > PLACES_PER_CLASS]
    if beyond:
        yield (
            f"{folder}: {beyond[0]} is beyond the {PLACES_PER_CLASS:,} images that a class has in Places365-Standard, "
            "as in Places365-Challenge"
        )
    if images:
        yield from places_size(folder / images[0])


def places_size(file: Path) -> Iterator[str]:
    """An image that is not of 256 x 256 pixels."""
    try:
        found = properties(file)
    except InputError:
        return
    if (found.width, found.height) != (PLACES_SIDE, PLACES_SIDE):
        large = min(found.width, found.height) >= LARGE_SIDE
        what = ", as the high-resolution images are" if large else ""
        yield f"{file}: {found.width} x {found.height} pixels{what}; expected the small images, 256 x 256"


def inaturalist(root: Path) -> Iterator[str]:
    """What other years' competitions left, where that of 2018 is not."""
    if (root / "train_val2018").is_dir():
        return
    present = set(names_in(root)) | set(files_that_could_be_lists(root))
    mistaken = INATURALIST_2018.mistaken
    for name in sorted(present & mistaken.keys()):
        yield f"{root / name}: of {mistaken[name]}; expected train_val2018/ of iNaturalist 2018"
