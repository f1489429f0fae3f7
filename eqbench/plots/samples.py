"""Stored pictures of samples with what was predicted, of several losses side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from eqbench.errors import InputError
from eqbench.plots.canvas import INK, Picture, headline
from eqbench.plots.series import Series, Task
from eqbench.plots.text import cleaned, shortened

TITLE = "Samples of the rarest classes with predictions"
MOST_ROWS = 4
WIDTH = 5.4
"""Inches of a column."""
CAPTION = "Of each loss, the first seed that keeps pictures."
HOW_TO_READ = {
    "classification": "Images of the rarest classes that were taken for another class, with the scores of both.",
    "detection": "What is annotated on the left of each picture, what the model predicts on its right.",
    "segmentation": "Each image, what is labelled in it, what the model predicts.",
}
"""By the name of the task."""


def picture(task: Task) -> Picture:
    """A column for each loss, a row for each sample."""
    found = [(series, files) for series in task.series if (files := _files(series))]
    if not found:
        reason = "No samples are stored: a run keeps those of its last evaluation, unless its task has `pictures` 0."
        return Picture("samples", TITLE, reason, None)
    names = sorted({name for _, files in found for name in files})
    names = sorted(sorted(names, key=lambda name: -sum(name in files for _, files in found))[:MOST_ROWS])
    images = {
        (column, name): _image(files[name])
        for column, (_, files) in enumerate(found)
        for name in names
        if name in files
    }
    heights = [
        max(image.shape[0] / image.shape[1] for (_, of), image in images.items() if of == name) for name in names
    ]
    size = WIDTH * len(found), WIDTH * sum(heights) + 0.9
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.add_gridspec(len(names), len(found), height_ratios=heights)
    for (column, name), image in images.items():
        row = names.index(name)
        axes = figure.add_subplot(grid[row, column])
        axes.set_axis_off()
        axes.imshow(image)
        if row == 0:
            label = shortened(found[column][0].label, 48)
            axes.set_title(label, loc="left", fontsize=9, color=INK, parse_math=False)
    headline(figure, f"{TITLE}\n{cleaned(task.label)}")
    how = HOW_TO_READ.get(found[0][0].runs[0].spec.task.name, "")
    return Picture("samples", TITLE, f"{how} {CAPTION}".strip(), figure)


def _files(series: Series) -> dict[str, Path]:
    """Pictures by their names, of the first run that has any."""
    for run in series.runs:
        if files := sorted(run.folder.samples.glob("*.png")):
            return {file.name: file for file in files}
    return {}


def _image(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{file}: cannot be read as a picture ({error})") from error
