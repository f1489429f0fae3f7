"""Places-LT: 365 scenes of Places365-Standard with 4,980 to 5 training images.

Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from eqbench.data.image_files.checking import image_findings
from eqbench.data.image_lists import wrong_downloads
from eqbench.data.image_lists.dataset import ListedDataset
from eqbench.data.image_lists.examination import examine_lists
from eqbench.data.image_lists.finding import absolute
from eqbench.data.image_lists.layouts import PlacesLayout
from eqbench.data.image_lists.preparation import prepare_lists
from eqbench.data.image_lists.releases import PLACES_LT
from eqbench.data.verification import Contents, Findings

__all__ = ["PlacesLT"]


class PlacesLT(ListedDataset):
    """Places-LT: 62,500 training images of 365 scenes, long-tailed; groups many, medium and few.

    `root` has the small images (256 x 256 pixels) of Places365-Standard with easy directory structure, `train/<scene>/`
    and `val/<scene>/`, and `Places_LT_{train,val,test}.txt`, there or in `lists/`. Lists and folders may as well be
    those of the other structure, `data_256/<letter>/<scene>/` and `val_256/`, and one of each kind will do. The list of
    validation images points into `train/`; the test images are Places365's validation set.

    Args:
        root: folder of the data set.
        eval_split: what is evaluated.
        color_jitter: as of `LabelledImages`; the default is that of Kang et al., Decoupling Representation and
            Classifier, ICLR 2020.
        options: as of `LabelledImages`.

    Raises:
        InputError: a list is missing or has a line that is not as it has to be.
    """

    release = PLACES_LT
    layout = PlacesLayout()

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
    for reason in () if miniature else wrong_downloads.places_beside(absolute(root)):
        found.note("another download beside this one", reason)
    return examine_lists(
        PlacesLT,
        root,
        found,
        miniature=miniature,
        eval_split=eval_split,
        wrong=wrong_downloads.places,
        decode=image_findings if miniature else place_findings,
    )


def place_findings(root: Path, path: str) -> list[tuple[str, str]]:
    """What there is to say about an image; also if it is not of 256 x 256 pixels."""
    findings = image_findings(root, path)
    sizes = [("images of another size", reason) for reason in wrong_downloads.places_size(root / path)]
    return [*findings, *sizes]


def prepare(root: Path) -> list[str]:
    """What is there, line by line.

    Raises:
        InputError: a list, or the images of a split, are missing; says where to get them.
    """
    return prepare_lists(PlacesLT, root, wrong_downloads.places)
