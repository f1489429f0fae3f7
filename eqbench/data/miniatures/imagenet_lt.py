"""Miniatures of ImageNet-LT: folders named for synsets, and the three lists.

As in the real one, the validation list points into `train/`, and the test list is ILSVRC's validation set.
"""

from __future__ import annotations

from pathlib import Path

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
from eqbench.data.miniatures.pictures import portrait

PER_CLASS = {"val": 5, "test": 10}
FIRST_SYNSET, LARGEST_GAP = 1440764, 12000


def write(folder: Path, parameters: Parameters) -> None:
    """Fill `folder`: train/<synset>/, val/<synset>/, ImageNet_LT_{train,val,test}.txt."""
    splits = _splits(parameters)
    looks = class_looks(parameters)
    for split, pictures in splits.items():
        write_pictures(folder, pictures, portrait, looks, parameters)
        write_list(folder / f"ImageNet_LT_{split}.txt", pictures)


def _splits(parameters: Parameters) -> dict[str, list[Picture]]:
    wnids = synsets(parameters)
    counts = {"train": class_counts(parameters).tolist()}
    numbers: list[list[int]] = []
    for label, count in enumerate(counts["train"]):  # distinct numbers for all images of a class below train/
        drawn = random(parameters, "numbers", label).permutation(10 * (count + PER_CLASS["val"]))
        numbers.append(drawn.tolist())
    splits = {
        "train": [
            Picture(
                f"train/{wnids[label]}/{wnids[label]}_{numbers[label][number]}.JPEG", label, f"train {label} {number}"
            )
            for label, number in labels(counts["train"])
        ],
        "val": [
            Picture(
                f"train/{wnids[label]}/{wnids[label]}_{numbers[label][-1 - number]}.JPEG",
                label,
                f"val {label} {number}",
            )
            for label, number in labels([PER_CLASS["val"]] * parameters.classes)
        ],
    }
    tested = list(labels([PER_CLASS["test"]] * parameters.classes))
    places = random(parameters, "test").permutation(len(tested)).tolist()
    splits["test"] = [
        Picture(f"val/{wnids[label]}/ILSVRC2012_val_{place + 1:08d}.JPEG", label, f"test {label} {number}")
        for (label, number), place in zip(tested, places, strict=True)
    ]
    return splits


def synsets(parameters: Parameters) -> list[str]:
    """(C,) ascending, as labels are in ImageNet; the first is that of the real one.

    >>> synsets(Parameters.of("imagenet_lt"))[0]
    'n01440764'
    """
    gaps = random(parameters, "synsets").integers(1, LARGEST_GAP, parameters.classes).tolist()
    return [f"n{FIRST_SYNSET + sum(gaps[1 : label + 1]):08d}" for label in range(parameters.classes)]
