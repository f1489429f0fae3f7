"""ImageNet-LT: 1,000 classes of ILSVRC 2012 with 1,280 to 5 training images.

Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from eqbench.data.image_files.checking import image_findings
from eqbench.data.image_lists import wrong_downloads
from eqbench.data.image_lists.dataset import ListedDataset
from eqbench.data.image_lists.examination import examine_lists
from eqbench.data.image_lists.layouts import ImageNetLayout
from eqbench.data.image_lists.preparation import prepare_lists
from eqbench.data.image_lists.releases import IMAGENET_LT
from eqbench.data.verification import Contents, Findings

__all__ = ["ImageNetLT"]


class ImageNetLT(ListedDataset):
    """ImageNet-LT: 115,846 training images of 1,000 classes, long-tailed; groups many, medium and few.

    `root` has `train/<wnid>/` and `val/<wnid>/` of ILSVRC 2012, whose validation images may as well lie flat in `val/`,
    and `ImageNet_LT_{train,val,test}.txt`, there or in `lists/`. The list of validation images points into `train/`;
    the test images are ILSVRC's validation set.

    Args:
        root: folder of the data set.
        eval_split: what is evaluated.
        color_jitter: as of `LabelledImages`; the default is that of Kang et al., Decoupling Representation and
            Classifier, ICLR 2020.
        options: as of `LabelledImages`.

    Raises:
        InputError: a list is missing or has a line that is not as it has to be.
    """

    release = IMAGENET_LT
    layout = ImageNetLayout()

    def __init__(
        self,
        *,
        root: Path,
        eval_split: Literal["val", "test"] = "test",
        color_jitter: tuple[float, float, float, float] | None = (0.4, 0.4, 0.4, 0.0),
        **options: Any,
    ) -> None:
        super().__init__(root=root, eval_split=eval_split, color_jitter=color_jitter, **options)


def examine(
    root: Path, found: Findings, *, miniature: bool = False, eval_split: Literal["val", "test"] | None = None
) -> Contents | None:
    """Check lists, counts, classes and leaks; tells `found`, raises nothing for bad data.

    Without `eval_split` both evaluation splits are looked at, and the contents have the digests of both. Digests are
    those with the default thresholds of the groups.
    """
    return examine_lists(
        ImageNetLT,
        root,
        found,
        miniature=miniature,
        eval_split=eval_split,
        wrong=wrong_downloads.imagenet,
        order=not_ascending,
        decode=image_findings,
    )


def not_ascending(wnids: Sequence[str]) -> Iterator[str]:
    """Labels number the classes of ILSVRC 2012 in ascending order of their wnids; those that do not."""
    present = {label: wnid for label, wnid in enumerate(wnids) if wnid}
    for (label, wnid), expected in zip(present.items(), sorted(present.values()), strict=True):
        if wnid != expected:
            yield f"label {label} is {wnid}, expected {expected} in ascending order"


def prepare(root: Path) -> list[str]:
    """What is there, line by line.

    Raises:
        InputError: a list, or the images of a split, are missing; says where to get them.
    """
    return prepare_lists(ImageNetLT, root, wrong_downloads.imagenet)
