"""Numbers, tables and plots of how a data set's samples are distributed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from eqbench.data.verification import Contents, class_counts, plot, tables, verification
from eqbench.errors import EnvironmentProblem, InputError
from tests.data.mask_files import HEIGHT, WIDTH, write_image, write_mask_folder
from tests.data.verified_files import by_content


def described(train: list[int], val: list[int] | None = None) -> Contents:
    groups = ["many" if count > 10 else "few" for count in train]
    return Contents(
        class_names=[f"class {number}" for number in range(len(train))],
        group_names=("many", "few"),
        groups=groups,
        unit="images",
        counts={"train": np.array(train), "val": np.array(val or [2] * len(train))},
        files={},
        decode=by_content,
        digest="d1",
    )


def test_the_numbers_of_a_split() -> None:
    train, val = class_counts.split_counts(described([5, 100, 0, 20]))
    assert (train.split, train.samples, train.median, train.empty) == ("train", 125, 12.5, 1)
    assert (train.largest, train.smallest, train.imbalance_factor) == (("class 1", 100), ("class 0", 5), 20.0)
    assert [(each.group, each.classes, each.samples, each.share) for each in train.groups] == [
        ("many", 2, 120, 0.96),
        ("few", 2, 5, 0.04),
    ]
    assert (val.imbalance_factor, val.gini) == (1.0, 0.0)


def test_a_split_without_samples_is_left_out() -> None:
    (train,) = class_counts.split_counts(
        replace(described([3, 1]), counts={"train": np.array([3, 1]), "val": np.zeros(2)})
    )
    assert train.split == "train"


@pytest.mark.parametrize("seed", range(3))
def test_gini_is_half_the_mean_difference_in_relation_to_the_mean(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 1000, 37)
    differences = np.abs(counts[:, None] - counts).mean()
    assert class_counts.gini(counts) == pytest.approx(differences / (2 * counts.mean()))


def test_json_has_every_class_if_wanted() -> None:
    contents = described([5, 100])
    found = class_counts.as_json(contents, with_classes=True)
    assert found["class_counts"][1] == {"class": "class 1", "group": "many", "train": 100, "val": 2}
    assert found["splits"][0]["largest"] == ("class 1", 100)
    assert "class_counts" not in class_counts.as_json(contents, with_classes=False)


def test_tables_name_classes_and_groups() -> None:
    screen = io.StringIO()
    Console(file=screen, width=120).print(*tables.tables(described([5, 100, 20]), with_classes=True))
    said = screen.getvalue()
    assert "100 class 1" in said
    assert "2 each" in said
    assert "120 (96.0 %)" in said
    assert said.index("│ class 1") < said.index("│ class 2") < said.index("│ class 0")


def test_nothing_to_count_is_refused(tmp_path: Path) -> None:
    root = write_mask_folder(tmp_path / "own")
    for mask in (root / "masks").glob("*/*.png"):
        write_image(mask, np.full((HEIGHT, WIDTH), 255, np.uint8))
    with pytest.raises(InputError, match="every pixel of every mask is ignored"):
        verification.look_at("mask_folder", root, {})


@pytest.mark.parametrize("classes", [4, 200])
def test_the_plot_shows_each_group_in_its_colour(classes: int, tmp_path: Path) -> None:
    """Each has about its share of the axis: a class with a sample has a bar, one without has none."""
    counts = np.maximum(1000 // (1 + np.arange(classes)), 11)
    counts[classes // 2 :] = 10
    counts[-1] = 0
    many, few, none = coloured(described(counts.tolist()), tmp_path / "plot.png")
    assert many > 30_000
    assert few > 30_000
    assert none == 0
    counts[classes // 2 :] = 0
    _, legend_alone, _ = coloured(described(counts.tolist()), tmp_path / "plot.png")
    assert 0 < legend_alone < 2000


def coloured(contents: Contents, file: Path) -> list[int]:
    """Pixels in the colours of the first three groups."""
    plot.save(contents, "a title", file)
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in plot.GROUP_COLOURS[:3]]
    return [int((pixels == colour).all(1).sum()) for colour in colours]


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Neither bytes that are not UTF-8 nor signs of formulas are an error."""
    contents = replace(described([5, 100]), class_names=["caf\udce9", "$x^$"])
    plot.save(contents, "data in \udce9 $_$", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    screen = io.StringIO()
    Console(file=screen, width=120).print(*tables.tables(contents, with_classes=True))
    assert screen.getvalue().count("caf\\udce9") == 2
    found = class_counts.as_json(contents, with_classes=True)
    assert (found["class_counts"][0]["class"], found["splits"][0]["smallest"]) == ("caf\\udce9", ("caf\\udce9", 5))


def test_a_plot_without_training_samples_says_so(tmp_path: Path) -> None:
    plot.save(described([0, 0]), "a title", tmp_path / "plot.svg")
    assert "2 classes, no training images" in (tmp_path / "plot.svg").read_text()


@pytest.mark.parametrize(("name", "said"), [("plot.jpg", "ends with .png"), ("gone/plot.png", "no such folder")])
def test_a_plot_that_cannot_be_written_is_refused_first(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        plot.check_file(tmp_path / name)


def test_a_plot_that_cannot_be_written_is_the_environments_problem(tmp_path: Path) -> None:
    (tmp_path / "plot.png").mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        plot.save(described([5, 100]), "a title", tmp_path / "plot.png")
