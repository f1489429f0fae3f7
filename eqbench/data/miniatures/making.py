"""Making a miniature of any data set on disk."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from eqbench.data.miniatures import manifest
from eqbench.data.miniatures.parameters import LIMITS, Parameters
from eqbench.data.miniatures.whole_folder import write_if_absent
from eqbench.errors import InputError, nearest

NAMES = (*LIMITS, "lvis")
LVIS = {"images": 400, "classes": 60, "size": 128}


def make(
    name: str,
    root: Path | None = None,
    *,
    images: int | None = None,
    classes: int | None = None,
    seed: int = 0,
    size: int | None = None,
) -> list[str]:
    """Write a miniature of the data set `name` in exactly its on-disk format; equal arguments give equal bytes.

    Args:
        name: one of `NAMES`.
        root: is made; it must not exist; `~` is the home folder. By default a folder, named for the parameters, in
            `data_folder()`.
        images: training images.
        classes: number of classes.
        seed: decides everything.
        size: the longer side of an image in pixels.

    Returns:
        Lines that say what was made and how to use it.

    Raises:
        ValueError: an argument is out of range.
        InputError: `root` exists, or there are no miniatures of `name`.
        EnvironmentProblem: it cannot be written.
    """
    if name not in NAMES:
        raise InputError(f"no miniature of {name!r}{nearest(name, NAMES)} (known: {', '.join(NAMES)})")
    root = root and root.expanduser()
    if name == "lvis":
        given = {"images": images, "classes": classes, "size": size}
        return _make_lvis(root, seed, {**LVIS, **{key: value for key, value in given.items() if value is not None}})
    wanted = Parameters.of(name, images=images, classes=classes, seed=seed, size=size)
    root = data_folder() / wanted.folder if root is None else root
    if not _write_if_absent(root, wanted):
        raise InputError(f"{root}: exists; a miniature is written to a new folder only")
    return _said(root, name, wanted.title, wanted.images, wanted.classes, seed)


def make_once(root: Path | None, wanted: Parameters) -> Path:
    """The folder of this miniature in `root`, by default `data_folder()`; makes it if there is none.

    If several processes ask for it, one makes it.
    """
    folder = (data_folder() if root is None else root.expanduser()) / wanted.folder
    _write_if_absent(folder, wanted)
    return folder


def data_folder() -> Path:
    """Where miniatures are made by default: what the environment variable EQBENCH_DATA says, else `data`."""
    return Path(os.environ.get("EQBENCH_DATA") or "data").expanduser()


def _write_if_absent(folder: Path, wanted: Parameters) -> bool:
    write = importlib.import_module(f"eqbench.data.miniatures.{wanted.name}").write

    def write_with_manifest(unfinished: Path) -> None:
        write(unfinished, wanted)
        manifest.write(unfinished, wanted.name, wanted.as_json())

    return write_if_absent(folder, write_with_manifest)


def _make_lvis(root: Path | None, seed: int, options: dict[str, int]) -> list[str]:
    from eqbench.data import scenes

    root = data_folder() / scenes.Parameters(seed=seed, **options).name if root is None else root
    scenes.make(root, seed=seed, **options)
    return _said(root, "lvis", "LVIS v1", options["images"], options["classes"], seed)


def _said(root: Path, name: str, title: str, images: int, classes: int, seed: int) -> list[str]:
    options = f", classes: {classes}" if name == "cifar_lt" else ""
    return [
        f"{root}: {images} training images of {classes} classes in the format of {title}, seed {seed}",
        f"in a suite: data: {{name: {name}, root: {root}{options}}}",
    ]
