"""What is known of the published data sets: counts, classes, checksums of the lists, where to get them.

Counts of ImageNet-LT, Places-LT and their groups: counted from the lists of Liu et al., Large-Scale Long-Tailed
Recognition in an Open World, CVPR 2019. iNaturalist 2018 and its super-categories: visipedia/inat_comp, 2018.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OLTR = "the OLTR repository (zhmiao/OpenLongTailRecognition-OLTR) or facebookresearch/classifier-balancing"
INATURALIST_CATEGORIES = {5089: 2017, 8142: 2018, 1010: 2019, 10_000: 2021}
PREFIX_DIGITS = 12
"""Of a SHA-256 in the tables below."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One data set as it was published.

    Attributes:
        title: for messages.
        num_classes: and labels run from 0 to one less.
        images: by split.
        per_class: images of every class, by split that is balanced.
        largest, smallest: training images of the most frequent and of the rarest class.
        groups: classes with more than 100, 20 to 100 and fewer than 20 training images; None if not known.
        files: names of the files that may describe a split, of which the first that is there is read; the last split
            is evaluated by default.
        checksums: of the files, by name: `sha256:` with twelve digits, `md5:` or `git:` (blob id).
        where_to_get: lists and images.
        same_name_is_same_image: no two images of the data set share a file name.
        mistaken: files, by name, that others than this data set have, and what they are of.
        supers: classes and training images of each folder that classes are in; empty if classes are in none.
    """

    title: str
    num_classes: int
    images: Mapping[str, int]
    per_class: Mapping[str, int]
    largest: int
    smallest: int
    groups: tuple[int, int, int] | None = None
    files: Mapping[str, tuple[str, ...]]
    checksums: Mapping[str, frozenset[str]] = field(default_factory=dict)
    where_to_get: str
    same_name_is_same_image: bool = True
    mistaken: Mapping[str, str] = field(default_factory=dict)
    supers: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def eval_split(self) -> str:
        """What is evaluated by default."""
        return list(self.files)[-1]


IMAGENET_LT = Release(
    title="ImageNet-LT",
    num_classes=1000,
    images={"train": 115_846, "val": 20_000, "test": 50_000},
    per_class={"val": 20, "test": 50},
    largest=1280,
    smallest=5,
    groups=(385, 479, 136),
    files={split: (f"ImageNet_LT_{split}.txt",) for split in ("train", "val", "test")},
    checksums={
        "ImageNet_LT_train.txt": frozenset({"git:a063f095fcd475db4cf8b0658c4b73955535bbf9"}),
        "ImageNet_LT_val.txt": frozenset({"sha256:9af7ba688acf", "md5:ef44f8e43fbc904809a77216042e7498"}),
        "ImageNet_LT_test.txt": frozenset(
            {
                "sha256:d1590191cf8a",
                "sha256:358650a8b139",
                "md5:5f5f97c738923e877c5c78accce6744f",
                "md5:467b330a78bb8245c16feea52be4c559",
            }
        ),
    },
    where_to_get=(
        "images: ILSVRC 2012, train and val, from image-net.org (an account is needed); lists ImageNet_LT_*.txt: "
        f"{OLTR}"
    ),
    mistaken={"ImageNet_LT_open.txt": "the images of other classes, for open-set recognition"},
)

PLACES_LT = Release(
    title="Places-LT",
    num_classes=365,
    images={"train": 62_500, "val": 7_300, "test": 36_500},
    per_class={"val": 20, "test": 100},
    largest=4980,
    smallest=5,
    groups=(131, 163, 71),
    files={split: (f"Places_LT_{split}.txt",) for split in ("train", "val", "test")},
    checksums={
        "Places_LT_train.txt": frozenset(
            {
                "sha256:726c4871dcbf",
                "md5:e7795ab1bf428a89f900854127b1e556",
                "md5:d7a0fa1e2521e7d8fff4338ad1c65bed",
            }
        ),
        "Places_LT_val.txt": frozenset({"sha256:719e3cf3766c", "md5:2f6e727cd6c99c7b7fdecc9876875b1b"}),
        "Places_LT_test.txt": frozenset({"sha256:44eee8441c80", "md5:1347af35b053bd31cf782256306affe7"}),
    },
    where_to_get=(
        "images: Places365-Standard, small images (256 x 256) with easy directory structure, from "
        f"places2.csail.mit.edu; lists Places_LT_*.txt: {OLTR}"
    ),
    same_name_is_same_image=False,
    mistaken={
        "Places_LT_open.txt": "the images of other classes, for open-set recognition",
        "places365_train_challenge.txt": "Places365-Challenge",
        "places365_train_standard.txt": "all of Places365-Standard, which has no long tail",
    },
)

INATURALIST_2018 = Release(
    title="iNaturalist 2018",
    num_classes=8142,
    images={"train": 437_513, "val": 24_426},
    per_class={"val": 3},
    largest=1000,
    smallest=2,
    files={split: (f"iNaturalist18_{split}.txt", f"{split}2018.json") for split in ("train", "val")},
    checksums={
        "iNaturalist18_train.txt": frozenset({"git:4accdb7584d2f0a5106c40a33ed6afa392189bcc"}),
        "iNaturalist18_val.txt": frozenset({"sha256:efaeff65f806", "md5:b7ed52f3854c157c487cc3be9deb8abf"}),
    },
    where_to_get=(
        "images train_val2018.tar.gz and train2018.json, val2018.json: github.com/visipedia/inat_comp, 2018 (AWS Open "
        "Data); lists iNaturalist18_*.txt instead of the json files: facebookresearch/classifier-balancing"
    ),
    mistaken={
        **{f"{split}{year}.json": f"iNaturalist {year}" for split in ("train", "val") for year in (2017, 2019)},
        **{f"{name}.json": "iNaturalist 2021" for name in ("train", "train_mini", "val")},
        "train_val_images": "iNaturalist 2017",
        "train_val2019": "iNaturalist 2019",
        "train_mini": "iNaturalist 2021",
    },
    supers={
        "Plantae": (2917, 118_800),
        "Insecta": (2031, 87_192),
        "Aves": (1258, 143_950),
        "Actinopterygii": (369, 7_835),
        "Fungi": (321, 6_864),
        "Reptilia": (284, 22_754),
        "Mollusca": (262, 8_007),
        "Mammalia": (234, 20_104),
        "Animalia": (178, 5_966),
        "Amphibia": (144, 11_156),
        "Arachnida": (114, 4_037),
        "Chromista": (25, 621),
        "Protozoa": (4, 211),
        "Bacteria": (1, 16),
    },
)


def checksums(file: Path) -> frozenset[str]:
    """A file's content as the tables name it, and the same with Unix line ends, if it has others.

    Raises:
        OSError: it cannot be read.
    """
    content = file.read_bytes()
    variants = {content, content.replace(b"\r\n", b"\n")}
    return frozenset(name for variant in variants for name in _names(variant))


def _names(content: bytes) -> tuple[str, str, str]:
    blob = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    blob.update(content)
    return (
        f"sha256:{hashlib.sha256(content).hexdigest()[:PREFIX_DIGITS]}",
        f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}",
        f"git:{blob.hexdigest()}",
    )
