"""Pictures of what was taken for another class: which images, their pixels, and what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eqbench.data.image_files.normalization import Normalization
from eqbench.evaluation.classification_pictures import MARGIN, OF_EACH, SIDE, Mistake, choose, displayed, draw, rarity

COUNTS = [50, 3, 9, 3]  # from rare to frequent: 1, 3, 2, 0


def test_the_rarest_classes_with_mistakes_come_first() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2, 2, 2, 2, 3])
    predictions = np.array([1, 0, 1, 0, 2, 0, 0, 0, 0, 2])
    assert rarity(COUNTS) == [3, 0, 2, 1]
    found = choose(labels, predictions, COUNTS, 9)
    assert list(found.items()) == [(3, [9]), (2, [3, 5, 6, 7]), (0, [0])]
    assert choose(labels, predictions, COUNTS, 2) == {3: [9], 2: [3, 5, 6, 7]}
    assert choose(labels, predictions, COUNTS, 0) == choose(labels, labels, COUNTS, 9) == {}


def test_pixels_are_those_that_were_normalised() -> None:
    normalization = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    pixels = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    expected = pixels.permute(0, 2, 3, 1).numpy()
    np.testing.assert_equal(displayed(pixels, normalization), expected)
    np.testing.assert_equal(displayed(normalization.apply(pixels), normalization), expected)


def test_floats_of_unknown_origin_are_stretched() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 2, 2)
    assert displayed(images, None)[0, :, :, 0].tolist() == [[0, 64], [128, 255]]
    assert displayed(images.expand(1, 2, 2, 2), None).shape == (1, 2, 2, 3)
    assert displayed(torch.full((1, 1, 2, 2), 7.0), None).max() == 0
    assert displayed(torch.full((1, 1, 2, 2), torch.nan), None).max() == 0


@pytest.mark.parametrize(
    ("shape", "shown"), [((8, 8), (128, 128)), ((28, 20), (112, 80)), ((600, 300), (128, 64)), ((500, 2), (128, 1))]
)
def test_small_images_are_enlarged_by_a_whole_factor_and_large_ones_fit(
    shape: tuple[int, int], shown: tuple[int, int]
) -> None:
    page = draw("class", [Mistake(np.zeros((*shape, 3), np.uint8), "other", 0.5, 0.25)])
    black = (np.asarray(page.convert("L")) == 0)[MARGIN + 16 :, MARGIN : MARGIN + SIDE]
    assert black[: shown[0], : shown[1]].all()
    assert not black[: shown[0], shown[1] :].any()
    assert not black[shown[0] : shown[0] + 2].any()


def test_a_page_has_room_for_all_and_the_same_bytes_again() -> None:
    images = np.random.default_rng(0).integers(0, 256, (OF_EACH, 32, 32, 3), dtype=np.uint8)
    mistakes = [Mistake(image, "taken for \u8c93, a very long name of a class", 0.875, 0.125) for image in images]
    page, one = draw("rare", mistakes), draw("rare", mistakes[:1])
    assert page.size == one.size
    np.testing.assert_equal(np.asarray(page), np.asarray(draw("rare", mistakes)))
    beyond = np.asarray(page)[:, MARGIN + SIDE + 2 : 2 * MARGIN + SIDE - 2]
    assert (beyond[24:] == 255).all(), "a name reaches into its neighbour"
