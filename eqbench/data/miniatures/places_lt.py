"""Miniatures of Places-LT: the "easy directory" of Places365-Standard, one folder per scene, and the three lists.

As in the real one, images are square, the validation list points into `train/`, and the test list is the validation
set of Places365.
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
from eqbench.data.miniatures.pictures import place
from eqbench.data.scenes.appearance import Appearance

PER_CLASS = {"val": 5, "test": 10}


def write(folder: Path, parameters: Parameters) -> None:
    """Fill `folder`: train/<scene>/, val/<scene>/, Places_LT_{train,val,test}.txt."""
    looks = sorted(class_looks(parameters), key=scene_name)
    for split, pictures in _splits(parameters, [scene_name(look) for look in looks]).items():
        write_pictures(folder, pictures, place, looks, parameters)
        write_list(folder / f"Places_LT_{split}.txt", pictures)


def scene_name(look: Appearance) -> str:
    """Two parts with a hyphen, as some of the real names have them.

    >>> scene_name(Appearance("star", "red", "striped", "light"))
    'red_striped-star'
    """
    return "-".join(look.name.rsplit("_", 1))


def _splits(parameters: Parameters, names: list[str]) -> dict[str, list[Picture]]:
    counts = class_counts(parameters).tolist()
    splits: dict[str, list[Picture]] = {"train": [], "val": []}
    for label, count in enumerate(counts):
        numbers = random(parameters, "numbers", label).permutation(5 * (count + PER_CLASS["val"])).tolist()
        for split, first, last in (("train", 0, count), ("val", count, count + PER_CLASS["val"])):
            splits[split] += [
                Picture(f"train/{names[label]}/{number + 1:08d}.jpg", label, f"{split} {label} {number}")
                for number in numbers[first:last]
            ]
    tested = list(labels([PER_CLASS["test"]] * parameters.classes))
    places = random(parameters, "test").permutation(len(tested)).tolist()
    splits["test"] = [
        Picture(f"val/{names[label]}/Places365_val_{place + 1:08d}.jpg", label, f"test {label} {number}")
        for (label, number), place in zip(tested, places, strict=True)
    ]
    return splits
