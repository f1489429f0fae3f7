"""Any data set whose annotations are in COCO format: a user's own long tail, or COCO itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.data.lvis_index import AnnotationIndex, IndexedImages, open_index
from eqbench.data.lvis_index import dataset as indexed
from eqbench.data.lvis_index.dataset import (
    COMMON_ABOVE,
    FREQUENT_ABOVE,
    BothImages,
    IndexedDataset,
    check_thresholds,
)
from eqbench.errors import InputError, nearest

if TYPE_CHECKING:
    from eqbench.data.verification import Contents, Findings

__all__ = ["CocoFormat"]

WHERE_TO_GET = "they are looked for by their file_name below the folders that train_images and eval_images name"


class CocoFormat(IndexedDataset):
    """Any data set in COCO format: boxes, and polygons unless `masks` is false.

    Groups are the `frequency` of the training file's categories, where they have it: r, c or f. Otherwise a class is
    rare (r) in up to `common_above` training images, frequent (f) in more than `frequent_above`, common (c) between.
    Every category that is not annotated in an image counts as absent from it. The first use builds an index of each
    file.

    Args:
        root: folder that the other paths are relative to.
        train_annotations, eval_annotations: json files; their categories have to be the same.
        train_images, eval_images: folders that each image's `file_name` is relative to.
        common_above, frequent_above: numbers of training images that separate the groups.
        masks: instances have polygons; annotations without one are left out of training.

    Raises:
        InputError: a file or folder is missing, or has a record that is not as it has to be.
        ValueError: `common_above` is more than `frequent_above`, or negative.
    """

    def __init__(
        self,
        *,
        root: Path,
        train_annotations: str,
        eval_annotations: str,
        train_images: str = "",
        eval_images: str = "",
        common_above: int = COMMON_ABOVE,
        frequent_above: int = FREQUENT_ABOVE,
        masks: bool = True,
    ) -> None:
        check_thresholds(common_above, frequent_above)
        train, evaluation = (train_annotations, train_images), (eval_annotations, eval_images)
        images = open_images(root, train, evaluation, masks=masks)
        super().__init__(images, common_above=common_above, frequent_above=frequent_above, exhaustive=True, masks=masks)


def prepare(
    root: Path,
    train_annotations: str,
    eval_annotations: str,
    train_images: str = "",
    eval_images: str = "",
    common_above: int = COMMON_ABOVE,
    frequent_above: int = FREQUENT_ABOVE,
    *,
    masks: bool = True,
    workers: int = 8,
) -> list[str]:
    """Build the indexes, look for every image; returns what there is, in lines.

    Raises:
        InputError: as `CocoFormat`; names the image files that are missing.
    """
    check_thresholds(common_above, frequent_above)
    images = open_images(root, (train_annotations, train_images), (eval_annotations, eval_images), masks=masks)
    return indexed.prepare(images, (common_above, frequent_above), WHERE_TO_GET, workers)


def examine(
    root: Path,
    found: Findings,
    *,
    train_annotations: str,
    eval_annotations: str,
    train_images: str = "",
    eval_images: str = "",
    common_above: int = COMMON_ABOVE,
    frequent_above: int = FREQUENT_ABOVE,
    masks: bool = True,
) -> Contents | None:
    """Check the annotation files; `found` is told what is wrong. `None` where there is nothing more to look at.

    Raises:
        ValueError: `common_above` is more than `frequent_above`, or negative.
    """
    from eqbench.data.lvis_index.examination import examine_files

    check_thresholds(common_above, frequent_above)
    try:
        images = open_images(root, (train_annotations, train_images), (eval_annotations, eval_images), masks=masks)
    except InputError as error:
        found.problem("annotation files", str(error))
        return None
    thresholds = common_above, frequent_above
    return examine_files(root, images, thresholds, found, name="CocoFormat", where_to_get=WHERE_TO_GET)


def open_images(root: Path, train: tuple[str, str], evaluation: tuple[str, str], *, masks: bool) -> BothImages:
    """Of (annotations, images folder) below `root`; image files are not looked for."""
    folder = root.expanduser().absolute()
    (train_file, train_images), (eval_file, eval_images) = train, evaluation
    train_index, eval_index = (open_index(annotation_file(folder, name)) for name in (train_file, eval_file))
    return BothImages(
        IndexedImages(train_index, folder / train_images, image_path, masks=masks, keep_empty=False),
        IndexedImages(eval_index, folder / eval_images, image_path, masks=masks, keep_empty=True),
    )


def image_path(index: AnnotationIndex, image: int) -> str:
    """The file name; without one, the last two parts of coco_url."""
    return index.file_name(image) or index.url_path(image)


def annotation_file(root: Path, name: str) -> Path:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {name} in it")
    if not (root / name).is_file():
        present = [str(file.relative_to(root)) for file in sorted({*root.glob("*.json"), *root.glob("*/*.json")})]
        raise InputError(f"{root / name}: no such file{nearest(name, present)}")
    return root / name
