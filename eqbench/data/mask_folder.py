"""Your own images with masks, in folders: one class for each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from eqbench.data.pixel_masks import LabelMap, Layout, MaskDataset, Pairs, examination
from eqbench.data.pixel_masks.class_lists import read_names
from eqbench.data.verification import Contents, Findings
from eqbench.errors import InputError, nearest

__all__ = ["MaskFolder"]

CLASSES = "classes.txt"
MASKS = Path("masks")
EvalSplit = Literal["val", "test"]


class MaskFolder(MaskDataset):
    """Images with masks of your own: groups head, body and tail by training pixels.

    `root` has `images/train/X.jpg` with `masks/train/X.png`, the same with `val` in place of `train`, and `classes.txt`
    with the name of a class on each line. Masks have one channel of 8 bits, or a palette. The first use counts the
    pixels of all masks.

    Args:
        root: folder of the data set.
        ignore: the value of pixels that count nowhere.
        reduce_zero: 0 is ignored too, and the classes are the values from 1 instead of from 0.
        eval_split: the folder that is evaluated on.
        options: those of `MaskDataset`.

    Raises:
        InputError: a file or folder is missing, or is not as it has to be.
        ValueError: an option is out of range, or `ignore` is the value of a class.
    """

    def __init__(
        self,
        *,
        root: Path,
        ignore: int = 255,
        reduce_zero: bool = False,
        eval_split: EvalSplit = "val",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.open(find_layout(root, ignore, reduce_zero, eval_split))


def find_layout(root: Path, ignore: int = 255, reduce_zero: bool = False, eval_split: EvalSplit = "val") -> Layout:
    """Where the images and masks are, and what their values mean.

    Raises:
        InputError: a folder or `classes.txt` is missing, or has names that are not as they have to be.
        ValueError: `ignore` is the value of a class.
    """
    folder = root.expanduser().absolute()
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise InputError(f"{folder}: no such folder{nearest(folder.name, beside)}")
    names = read_names(folder / CLASSES)
    labels = LabelMap(len(names), zero_ignored=reduce_zero, ignore=ignore)
    train, evaluation = (Pairs(folder / "images" / name, folder / MASKS / name) for name in ("train", eval_split))
    return Layout(folder, train, evaluation, labels, names)


def examine(
    root: Path,
    found: Findings,
    *,
    miniature: bool = False,  # noqa: ARG001
    ignore: int = 255,
    reduce_zero: bool = False,
    eval_split: EvalSplit = "val",
) -> Contents | None:
    """Fast checks: missing files, sizes and values of the masks, leaks.

    Args:
        root: folder of the data set.
        found: gets what is wrong.
        miniature: of no consequence here, there are no counts to expect.
        ignore, reduce_zero, eval_split: as of `MaskFolder`.

    Raises:
        ValueError: `ignore` is the value of a class.
    """
    try:
        layout = find_layout(root, ignore, reduce_zero, eval_split)
    except InputError as error:
        found.problem("layout", str(error))
        return None
    return examination.examine(layout, found)


def prepare(root: Path, ignore: int = 255, reduce_zero: bool = False, eval_split: EvalSplit = "val") -> list[str]:
    """Count the pixels of all masks, for the index that training opens; returns what there is, in lines.

    Raises:
        InputError, ValueError: as `MaskFolder`.
    """
    return examination.prepare(find_layout(root, ignore, reduce_zero, eval_split))
