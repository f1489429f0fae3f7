"""Where the lists of a data set lie below its root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eqbench.data.image_lists.releases import Release
from eqbench.errors import InputError, nearest

FOLDER = "lists"
ENDINGS = (".txt", ".json")


def absolute(root: Path) -> Path:
    return root.expanduser().absolute()


def find_list(root: Path, release: Release, split: str) -> Path:
    """The file that describes a split, in `root` or `root/lists`.

    Raises:
        InputError: there is none; names what there is instead, and where to get it.
    """
    names = release.files[split]
    for place in places(root):
        for name in names:
            if (place / name).is_file():
                return place / name
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {' or '.join(names)} in it ({release.where_to_get})")
    present = files_that_could_be_lists(root)
    there = ", ".join(present[:10]) + (f" and {len(present) - 10} more" if len(present) > 10 else "")
    mistaken = "".join(f"; {name} is of {release.mistaken[name]}" for name in present if name in release.mistaken)
    raise InputError(
        f"{root / names[0]}: no such file, nor in {root / FOLDER}{nearest(names[0], present)} "
        f"(there: {there or 'no list'}{mistaken}); {release.where_to_get}"
    )


def places(root: Path) -> tuple[Path, Path]:
    """Folders in which lists are looked for."""
    return root, root / FOLDER


def files_that_could_be_lists(root: Path) -> Sequence[str]:
    """Names of text and json files in the places where lists are looked for."""
    found = [file.name for place in places(root) if place.is_dir() for file in place.iterdir()]
    return sorted(name for name in found if name.endswith(ENDINGS))
