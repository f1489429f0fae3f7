"""LVIS v1 and v0.5: 1,203 or 1,230 classes with a long tail, boxes and polygons on COCO's images.

Gupta, Dollár, Girshick, LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eqbench.data.lvis_index import AnnotationIndex, IndexedImages, open_index
from eqbench.data.lvis_index import dataset as indexed
from eqbench.data.lvis_index.dataset import COMMON_ABOVE, FREQUENT_ABOVE, BothImages, IndexedDataset
from eqbench.errors import InputError, nearest

if TYPE_CHECKING:
    from eqbench.data.verification import Contents, Findings

__all__ = ["LVIS"]

Version = Literal["v1", "v0.5"]
NUM_CLASSES = {"v1": 1203, "v0.5": 1230}
OTHER: dict[Version, Version] = {"v1": "v0.5", "v0.5": "v1"}
IMAGE_FOLDERS = {"train": "train2017", "val": "val2017"}
WHERE_TO_GET = (
    "annotations: lvisdataset.org, Dataset; images: cocodataset.org, train2017 and val2017 (validation uses both)"
)


class LVIS(IndexedDataset):
    """LVIS v1 or v0.5, or a miniature in the same format: boxes and polygons, groups f, c and r as the file says.

    `root` has `annotations/lvis_v1_train.json` and `annotations/lvis_v1_val.json` (or `lvis_v0.5_...`; directly in
    `root` will do), `train2017/` and `val2017/`. Images are looked up by the last two parts of their `coco_url`,
    because those of LVIS's val come from both folders of COCO. The first use builds an index of each file.

    Args:
        root: folder of the data set.
        version: which LVIS the files are.
        masks: instances have polygons; annotations without one are left out of training, unless they are crowds.

    Raises:
        InputError: a file or folder is missing, is another version, or has a record that is not as it has to be.
    """

    def __init__(self, *, root: Path, version: Version = "v1", masks: bool = True) -> None:
        images = open_images(root, version, masks=masks)
        super().__init__(
            images, common_above=COMMON_ABOVE, frequent_above=FREQUENT_ABOVE, exhaustive=False, masks=masks
        )


def prepare(root: Path, version: Version = "v1", *, masks: bool = True, workers: int = 8) -> list[str]:
    """Build the indexes, look for every image; returns what there is, in lines.

    Raises:
        InputError: as `LVIS`; names the image files that are missing, and where they are to be had.
    """
    images = open_images(root, version, masks=masks)
    return indexed.prepare(images, (COMMON_ABOVE, FREQUENT_ABOVE), WHERE_TO_GET, workers)


def examine(
    root: Path, found: Findings, *, version: Version = "v1", masks: bool = True, miniature: bool = False
) -> Contents | None:
    """Check the annotation files; `found` is told what is wrong. `None` where there is nothing more to look at.

    Args:
        root, version, masks: as of `LVIS`.
        found: is told what is wrong.
        miniature: the numbers are not those of the published files.
    """
    from eqbench.data.lvis_index.examination import examine_files
    from eqbench.data.lvis_index.published import check_numbers

    try:
        images = open_images(root, version, masks=masks)
    except InputError as error:
        found.problem("annotation files", str(error))
        return None
    if not miniature:
        check_numbers(images, version, found)
    thresholds = COMMON_ABOVE, FREQUENT_ABOVE
    return examine_files(root, images, thresholds, found, name="LVIS", where_to_get=WHERE_TO_GET)


def open_images(root: Path, version: Version, *, masks: bool) -> BothImages:
    """Training images with something to learn from and all validation images; image files are not looked for."""
    folder = root.expanduser().absolute()
    found = {}
    for split, image_folder in IMAGE_FOLDERS.items():
        index = open_index(annotation_file(folder, version, split))
        check_version(index, version)
        path_of = partial(image_path, folder=image_folder)
        found[split] = IndexedImages(index, folder, path_of, masks=masks, keep_empty=split == "val")
    return BothImages(found["train"], found["val"])


def annotation_file(root: Path, version: Version, split: str) -> Path:
    """Raises InputError where there is none; names what is there instead."""
    name = f"lvis_{version}_{split}.json"
    places = [root / "annotations", root]
    for place in places:
        if (place / name).is_file():
            return place / name
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected annotations/{name} in it ({WHERE_TO_GET})")
    present = [file.name for place in places for file in sorted(place.glob("*.json"))]
    raise InputError(
        f"{places[0] / name}: no such file, nor directly in {root}{nearest(name, present)} (there: "
        f"{', '.join(present) or 'no json file'}); {WHERE_TO_GET}"
    )


def image_path(index: AnnotationIndex, image: int, folder: str) -> str:
    """Below the data set's root: the last two parts of coco_url, without one the file name in `folder`.

    Names of 2014, "COCO_val2014_000000000042.jpg" as LVIS v0.5 has them, are those of 2017 with another beginning.
    """
    if path := index.url_path(image):
        return path
    name = index.file_name(image)
    return f"{folder}/{name.rpartition('_')[2]}" if name.startswith("COCO_") else f"{folder}/{name}"


def check_version(index: AnnotationIndex, version: Version) -> None:
    """Raises InputError unless the file has the fields of this version of LVIS."""
    have, images = index.images_with, index.num_images
    other = OTHER[version]
    if index.num_classes == NUM_CLASSES[other]:
        raise _wrong(index, version, f"{index.num_classes:,} classes are those of LVIS {other}; set version: {other}")
    if index.frequency is None:
        raise _wrong(index, version, "categories have no `frequency`; for a file in COCO format use coco_format")
    for field, name in (("negatives", "neg_category_ids"), ("not_exhaustive", "not_exhaustive_category_ids")):
        if have[field] < images:
            raise _wrong(
                index,
                version,
                f"{images - have[field]:,} of {images:,} images have no {name}, without which LVIS cannot be "
                "evaluated; for a file in COCO format use coco_format",
            )
    if version == "v0.5" and have["file_name"] < images:
        raise _wrong(index, version, f"images have no file_name, as in LVIS {other}; set version: {other}")
    if version == "v1" and have["file_name"]:
        raise _wrong(index, version, f"images have a file_name, as in LVIS {other}; set version: {other}")


def _wrong(index: AnnotationIndex, version: Version, reason: str) -> InputError:
    return InputError(f"{index.source}: not LVIS {version}: {reason}")
