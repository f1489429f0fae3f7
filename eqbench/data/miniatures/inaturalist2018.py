"""Miniatures of iNaturalist 2018: images by supercategory and category, the two json files, and the two lists.

The lists are those that go with the json files in Decoupling's repository (Kang et al., ICLR 2020).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eqbench.data.miniatures.classified import (
    Picture,
    class_counts,
    class_looks,
    labels,
    random,
    write_list,
    write_pictures,
)
from eqbench.data.miniatures.parameters import Parameters
from eqbench.data.miniatures.pictures import sighting
from eqbench.data.scenes.appearance import Appearance

VAL_PER_CLASS = 3  # as in the real one
SUPERCATEGORIES = {
    "disc": "Actinopterygii",
    "ring": "Amphibia",
    "star": "Animalia",
    "square": "Arachnida",
    "triangle": "Aves",
    "cross": "Fungi",
    "bar": "Insecta",
    "crescent": "Mammalia",
    "arrow": "Plantae",
    "hexagon": "Reptilia",
}
HOST = "http://miniature.invalid"  # a name that is reserved for not existing: nothing is to be downloaded
DATE = "2018-01-01 00:00:00"
INFO = {"year": 2018, "version": "1.0", "contributor": "eqbench", "url": HOST, "date_created": DATE}
LICENSES = [{"id": 0, "name": "No Copyright", "url": "http://creativecommons.org/publicdomain/zero/1.0/"}]


def write(folder: Path, parameters: Parameters) -> None:
    """Fill `folder`: train_val2018/<supercategory>/<id>/, {train,val}2018.json, iNaturalist18_{train,val}.txt."""
    looks = sorted(class_looks(parameters), key=lambda look: (SUPERCATEGORIES[look.shape], look.name))
    counts = {
        "train": class_counts(parameters).tolist(),
        "val": [VAL_PER_CLASS] * parameters.classes,
    }
    first = 1
    for split, split_counts in counts.items():
        pictures = [_picture(parameters, looks, split, *image) for image in labels(split_counts)]
        order = random(parameters, "order", split).permutation(len(pictures)).tolist()
        pictures = [pictures[place] for place in order]
        write_pictures(folder, pictures, sighting, looks, parameters)
        write_list(folder / f"iNaturalist18_{split}.txt", pictures)
        content = document(folder, pictures, looks, first)
        (folder / f"{split}2018.json").write_text(json.dumps(content, separators=(",", ":")))
        first += len(pictures)


def document(folder: Path, pictures: Sequence[Picture], looks: Sequence[Appearance], first: int) -> dict[str, Any]:
    """The json file of the pictures, whose image ids begin with `first`; every field of the real one."""
    images, marks = [], []
    for identifier, each in enumerate(pictures, first):
        with Image.open(folder / each.path) as picture:
            width, height = picture.size
        images.append(
            {
                "id": identifier,
                "width": width,
                "height": height,
                "file_name": each.path,
                "license": 0,
                "rights_holder": "eqbench",
            }
        )
        marks.append({"id": identifier, "image_id": identifier, "category_id": each.label})
    info = {**INFO, "description": "Miniature in the format of iNaturalist 2018: generated images"}
    categories = [category(identifier, look) for identifier, look in enumerate(looks)]
    return {"info": info, "images": images, "licenses": LICENSES, "annotations": marks, "categories": categories}


def category(identifier: int, look: Appearance) -> dict[str, Any]:
    """A species and its place in a taxonomy of shape, colour and pattern."""
    supercategory = SUPERCATEGORIES[look.shape]
    return {
        "id": identifier,
        "name": look.name.replace("_", " "),
        "supercategory": supercategory,
        "kingdom": "Miniata",
        "phylum": look.tone.capitalize(),
        "class": supercategory,
        "order": look.shape.capitalize(),
        "family": look.pattern.capitalize(),
        "genus": look.colour.capitalize(),
    }


def _picture(parameters: Parameters, looks: Sequence[Appearance], split: str, label: int, number: int) -> Picture:
    key = f"{split} {label} {number}"
    name = hashlib.blake2b(f"{parameters.seed} {key}".encode(), digest_size=16).hexdigest()
    return Picture(f"train_val2018/{SUPERCATEGORIES[looks[label].shape]}/{label}/{name}.jpg", label, key)
