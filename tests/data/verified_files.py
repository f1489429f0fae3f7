"""Functions that look into files for tests of verification: other processes import them from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from eqbench.data.verification import Contents, Decode


def by_content(root: Path, path: str) -> list[tuple[str, str]]:
    """Does what the file says."""
    match (root / path).read_text():
        case "bad":
            return [("bad files", f"{path}: bad")]
        case "odd":
            return [("note: odd files", f"{path}: odd")]
        case "raise":
            raise MemoryError("too large")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "wait":
            time.sleep(600)
    return []


def contents(root: Path, files: dict[str, str], decode: Decode = by_content) -> Contents:
    """Writes the files, by path, below `root`; contents that consist of them."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Contents(
        class_names=("cup", "dog"),
        group_names=("many", "few"),
        groups=("many", "few"),
        unit="images",
        counts={"train": np.array([3, 1]), "val": np.array([1, 1])},
        files={"train": list(files)},
        decode=decode,
        digest="d1",
    )
