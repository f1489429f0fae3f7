"""`eqbench data`: making miniatures of data sets, and preparing the real ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from eqbench.errors import InputError, nearest

app = typer.Typer(help="Miniatures of data sets, and indexes of the real ones.", no_args_is_help=True)

MADE = ("lvis",)
PREPARED = ("lvis", "coco_format")

RootOption = Annotated[Path, typer.Option(help="The data set's folder.")]
NewFolderOption = Annotated[
    Path | None, typer.Option("--root", help="A new folder; by default one in $EQBENCH_DATA or data.")
]


@app.command()
def make(
    name: Annotated[str, typer.Argument(help=f"{' or '.join(MADE)}.")],
    root: NewFolderOption = None,
    images: Annotated[int, typer.Option(help="Training images.")] = 400,
    classes: Annotated[int, typer.Option(help="Categories.")] = 60,
    seed: Annotated[int, typer.Option(help="The same one gives the same bytes.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels of an image's longer side.")] = 128,
) -> None:
    """A miniature in exactly the format of the real data set: long-tailed, learnable, made from a seed."""
    _check_name(name, MADE)
    from eqbench.data import scenes

    try:
        if root is None:
            parameters = scenes.Parameters(images=images, classes=classes, seed=seed, size=size)
            root = Path(os.environ.get("EQBENCH_DATA") or "data") / parameters.name
        scenes.make(root, images=images, classes=classes, seed=seed, size=size)
    except ValueError as error:
        raise InputError(f"data make {name}: {error}") from error
    print(f"{root}: {images} training images of {classes} categories in the format of LVIS v1, seed {seed}")
    print(f"in a suite: data: {{name: lvis, root: {root}}}")


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help=f"{' or '.join(PREPARED)}.")],
    root: RootOption,
    version: Annotated[str, typer.Option(help="Of lvis: v1 or v0.5.")] = "v1",
    train_annotations: Annotated[str, typer.Option(help="Of coco_format: json file below the root.")] = "",
    eval_annotations: Annotated[str, typer.Option(help="Of coco_format: json file below the root.")] = "",
    train_images: Annotated[str, typer.Option(help="Of coco_format: folder below the root.")] = "",
    eval_images: Annotated[str, typer.Option(help="Of coco_format: folder below the root.")] = "",
    masks: Annotated[bool, typer.Option(help="Instances have polygons.")] = True,
) -> None:
    """Build the index that training opens in a moment, and see that every image is there. Downloads nothing."""
    _check_name(name, PREPARED)
    if name == "lvis":
        from eqbench.data import lvis

        if version not in lvis.NUM_CLASSES:
            raise InputError(f"--version {version}: expected {' or '.join(lvis.NUM_CLASSES)}")
        lines = lvis.prepare(root, version, masks=masks)  # type: ignore[arg-type]
    else:
        from eqbench.data import coco_format

        if not train_annotations or not eval_annotations:
            raise InputError("data prepare coco_format: needs --train-annotations and --eval-annotations")
        lines = coco_format.prepare(root, train_annotations, eval_annotations, train_images, eval_images, masks=masks)
    print("\n".join(lines))


def _check_name(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise InputError(f"data: unknown data set {name!r}{nearest(name, known)} (known: {', '.join(known)})")
