"""Pictures of predictions: which images are chosen, and what is drawn where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eqbench.data.base import Draw
from eqbench.evaluation import pictures

HALF = pictures.WIDTH


class Labelled:
    """Images of which only the classes are known."""

    def __init__(self, *classes: list[int]) -> None:
        self._classes = classes

    def __len__(self) -> int:
        return len(self._classes)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return self.record(draw.index)

    def collate(self, samples: list[Any]) -> list[Any]:
        return samples

    @property
    def image_ids(self) -> NDArray[np.int64]:
        return np.arange(len(self))

    def record(self, index: int) -> dict[str, Any]:
        raise NotImplementedError

    def classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.cumsum([0, *map(len, self._classes)]), np.concatenate(self._classes).astype(np.int64)


def test_the_rarest_classes_are_shown_first_and_no_image_twice() -> None:
    images = Labelled([0], [0, 2], [2, 3], [1], [2, 3])
    assert pictures.choose(images, [90, 20, 5, 1], 3) == [2, 1, 3]
    assert pictures.choose(images, [90, 20, 5, 1], 9) == [2, 1, 3, 0]
    assert pictures.choose(images, [90, 20, 5, 1], 0) == []


def record(folder: Path) -> dict[str, Any]:
    Image.new("RGB", (120, 60), (10, 10, 10)).save(folder / "grey.png")
    instance = {"bbox": [12, 12, 36, 48], "bbox_label": 0, "mask": [[12, 12, 36, 12, 36, 48, 12, 48]]}
    return {"img_path": str(folder / "grey.png"), "img_id": 7, "instances": [instance]}


def changed(page: Image.Image, half: int, box: tuple[int, int, int, int]) -> bool:
    """Whether anything is drawn in a box of the image, of the left (0) or right (1) half."""
    scale = HALF / 120
    left, top = half * (HALF + pictures.MARGIN), 20
    x1, y1, x2, y2 = (round(scale * number) for number in box)
    part = np.asarray(page.crop((left + x1, top + y1, left + x2, top + y2)))
    return bool((part != 10).any())


def test_annotations_are_on_the_left_and_predictions_on_the_right(tmp_path: Path) -> None:
    mask = np.zeros((60, 120), bool)
    mask[24:54, 84:108] = True
    found = [{"class_id": 1, "score": 0.9, "box": np.array([84, 24, 108, 54]), "mask": mask}]
    page = pictures.draw(record(tmp_path), found, ["cup", "spoon"])
    assert page.size == (2 * HALF + pictures.MARGIN, HALF // 2 + 20)
    inside_left, inside_right = (20, 20, 30, 40), (90, 30, 100, 50)
    assert changed(page, 0, inside_left)
    assert not changed(page, 0, inside_right)
    assert changed(page, 1, inside_right)
    assert not changed(page, 1, inside_left)


def test_predictions_far_below_the_best_are_left_out(tmp_path: Path) -> None:
    found = [
        {"class_id": 1, "score": score, "box": np.array([x, 24, x + 20, 54])} for score, x in ((0.1, 10), (0.9, 90))
    ]
    page = pictures.draw(record(tmp_path), found, ["cup", "spoon"])
    assert changed(page, 1, (88, 22, 112, 56))
    assert not changed(page, 1, (8, 22, 32, 56))


def test_an_image_without_predictions_is_drawn(tmp_path: Path) -> None:
    page = pictures.draw(record(tmp_path), [], ["cup", "spoon"])
    assert not changed(page, 1, (0, 0, 120, 60))
    pictures.save(page, tmp_path / "new" / "page.png")
    with Image.open(tmp_path / "new" / "page.png") as saved:
        assert saved.size == page.size
