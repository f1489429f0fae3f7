"""ADE20K for scene parsing, the release ADEChallengeData2016: 150 classes with a long tail, one for each pixel.

Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eqbench.data.pixel_masks import LabelMap, Layout, MaskDataset, Pairs, examination
from eqbench.data.pixel_masks.class_lists import ADE20K_CLASSES, read_object_info
from eqbench.data.segmentation import groups_in_order
from eqbench.data.verification import Contents, Findings
from eqbench.errors import InputError, nearest

__all__ = ["ADE20K"]

OBJECT_INFO = "objectInfo150.txt"
RELEASE = "ADEChallengeData2016"
FOLDERS = ("training", "validation")
COUNTS = {"train": 20_210, "val": 2_000}
MASKS = Path("annotations")
WHERE_TO_GET = f"{RELEASE}.zip: sceneparsing.csail.mit.edu, Download, Scene Parsing"


class ADE20K(MaskDataset):
    """ADE20K's 150 classes, or a miniature in the same format: groups head, body and tail by training pixels.

    `root` has `images/` and `annotations/`, each with `training/` and `validation/`, and `objectInfo150.txt`, without
    which the classes are the 150. Masks have 0 for pixels that are not labelled, which are ignored, and class c as
    c + 1. The first use counts the pixels of all masks.

    Args:
        root: folder of the data set.
        options: those of `MaskDataset`.

    Raises:
        InputError: a file or folder is missing, is of another release, or is not as it has to be.
        ValueError: an option is out of range.
    """

    def __init__(self, *, root: Path, **options: Any) -> None:
        super().__init__(**options)
        self.open(find_layout(root))


def find_layout(root: Path) -> Layout:
    """Where the images and masks are, and what their values mean.

    Raises:
        InputError: `root` is none of this release's.
    """
    folder = root.expanduser().absolute()
    check_release(folder)
    info = folder / OBJECT_INFO
    names = read_object_info(info) if info.is_file() else ADE20K_CLASSES
    train, evaluation = (Pairs(folder / "images" / name, folder / MASKS / name) for name in FOLDERS)
    published = groups_in_order(len(names)) if len(names) == len(ADE20K_CLASSES) else None
    return Layout(folder, train, evaluation, LabelMap(len(names), zero_ignored=True), names, published)


def check_release(root: Path) -> None:
    """Raises InputError for a folder that is missing, of the full data set, or of something else."""
    if not root.is_dir():
        beside = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
        raise InputError(f"{root}: no such folder{nearest(root.name, beside)}; {WHERE_TO_GET}")
    missing = [folder for folder in _folders(root) if not folder.is_dir()]
    if sign := sign_of_full_set(root, deep=bool(missing)):
        raise InputError(
            f"{root}: the full ADE20K ({sign}), whose masks tell 3,000 classes and parts in three channels; expected "
            f"the release with 150 classes and masks of one channel. {WHERE_TO_GET}"
        )
    if missing:
        raise InputError(f"{missing[0]}: no such folder{_there_instead(root)}; {WHERE_TO_GET}")


def sign_of_full_set(root: Path, *, deep: bool) -> str | None:
    """What tells that `root` is, or holds, the full set; `deep` looks among the images too, which takes a moment."""
    patterns = ["index_ade20k.*", "*/index_ade20k.*", "ADE20K_20*"]
    for place in ("images", "images/ADE") if deep else ():
        patterns += [f"{place}/training/{below}*_seg.png" for below in ("", "*/", "*/*/")]
    file = next((file for pattern in patterns for file in root.glob(pattern)), None)
    return f"there is {file.relative_to(root)}" if file else None


def _folders(root: Path) -> list[Path]:
    return [root / kind / name for kind in ("images", MASKS) for name in FOLDERS]


def _there_instead(root: Path) -> str:
    if (root / RELEASE).is_dir():
        return f"; did you mean {root / RELEASE}?"
    there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    return f" (in {root} there is {', '.join(there[:8]) or 'nothing'}{', …' if len(there) > 8 else ''})"


def examine(root: Path, found: Findings, *, miniature: bool = False) -> Contents | None:
    """Fast checks: release, missing files, sizes and values of the masks, leaks, the release's counts.

    Args:
        root: folder of the data set.
        found: gets what is wrong.
        miniature: it has other counts than the real one.
    """
    try:
        layout = find_layout(root)
    except InputError as error:
        found.problem("layout", str(error))
        return None
    contents = examination.examine(layout, found)
    if contents is not None and not miniature:
        _check_counts(contents, found)
    return contents


def prepare(root: Path) -> list[str]:
    """Count the pixels of all masks, for the index that training opens; returns what there is, in lines.

    Raises:
        InputError: as `ADE20K`.
    """
    layout = find_layout(root)
    names = layout.root / OBJECT_INFO
    source = names if names.is_file() else f"the release's, as there is no {OBJECT_INFO}"
    return [*examination.prepare(layout), f"class names: {source}"]


def _check_counts(contents: Contents, found: Findings) -> None:
    advice = f"unpack the archive again, or get it anew: {WHERE_TO_GET}"
    if len(contents.class_names) != len(ADE20K_CLASSES):
        found.problem("counts", f"{len(contents.class_names)} classes; expected {len(ADE20K_CLASSES)}", advice=advice)
    for split, expected in COUNTS.items():
        images = len(contents.files[split]) // 2
        if images != expected:
            found.problem("counts", f"{split}: {images:,} images; expected {expected:,}", advice=advice)
