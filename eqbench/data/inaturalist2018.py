"""iNaturalist 2018: 8,142 species with 1,000 to 2 training images, as they were observed.

Van Horn et al., The iNaturalist Species Classification and Detection Dataset, CVPR 2018; competition of 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from eqbench.data.image_files.checking import image_findings
from eqbench.data.image_files.normalization import Normalization
from eqbench.data.image_lists import wrong_downloads
from eqbench.data.image_lists.dataset import ListedDataset
from eqbench.data.image_lists.examination import examine_lists
from eqbench.data.image_lists.finding import places
from eqbench.data.image_lists.inaturalist_json import read_category_names
from eqbench.data.image_lists.preparation import prepare_lists
from eqbench.data.image_lists.releases import INATURALIST_2018
from eqbench.data.verification import Contents, Findings

__all__ = ["INaturalist2018"]

NAMES_IN = ("categories.json", "train2018.json", "val2018.json")
"""Files that say what the species are called, best first."""


class INaturalist2018(ListedDataset):
    """iNaturalist 2018: 437,513 training images of 8,142 species, long-tailed; groups many, medium and few.

    `root` has `train_val2018/<super-category>/<number>/`, and there or in `lists/` `iNaturalist18_{train,val}.txt` or
    else `{train,val}2018.json`. Test images have no published labels.

    Args:
        root: folder of the data set.
        eval_split: what is evaluated.
        options: as of `LabelledImages`. Means and deviations of the colours are the data set's own.

    Raises:
        InputError: a list is missing or has a line or record that is not as it has to be.
    """

    release = INATURALIST_2018
    normalization = Normalization((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))

    def __init__(self, *, root: Path, eval_split: Literal["val"] = "val", **options: Any) -> None:
        super().__init__(root=root, eval_split=eval_split, **options)

    @classmethod
    def names_of(cls, root: Path, folders: Sequence[str]) -> Sequence[str]:
        """Names of the species if a json file has them, the folders otherwise."""
        files = [place / name for name in NAMES_IN for place in places(root)]
        for file in filter(Path.is_file, files):
            names = read_category_names(file)
            if names and len(names) == len(folders):
                return names
        return folders


def examine(root: Path, found: Findings, *, miniature: bool = False) -> Contents | None:
    """Check lists or json files, counts, classes and leaks; tells `found`, raises nothing for bad data."""
    return examine_lists(
        INaturalist2018,
        root,
        found,
        miniature=miniature,
        wrong=wrong_downloads.inaturalist,
        order=not_numbered,
        decode=image_findings,
    )


def not_numbered(folders: Sequence[str]) -> Iterator[str]:
    """A class's folder is named with its label; those that are not."""
    for label, folder in enumerate(folders):
        if folder and folder.rpartition("/")[2] != str(label):
            yield f"label {label} is {folder}, expected a folder {label}"


def prepare(root: Path) -> list[str]:
    """What is there, line by line.

    Raises:
        InputError: a list, or the images of a split, are missing; says where to get them.
    """
    return prepare_lists(INaturalist2018, root, wrong_downloads.inaturalist)
