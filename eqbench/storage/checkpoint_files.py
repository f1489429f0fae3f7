"""Checkpoints as files, here and behind a URI: which are complete, which are intact. See `eqbench.checkpoint`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqbench.storage.remote import Stamp

CHECKPOINTS, MANIFEST = "checkpoints", "manifest.json"


def iterations(folder: Path) -> list[int]:
    """Those in a folder of checkpoints, oldest first."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())


def name_of(iteration: int) -> str:
    return f"{iteration:09d}"


def complete(there: Mapping[str, Stamp]) -> list[int]:
    """Those among the files of a run that have a manifest, which is written last."""
    parts = [path.split("/") for path in there if path.startswith(f"{CHECKPOINTS}/")]
    return [int(each[1]) for each in parts if len(each) == 3 and each[2] == MANIFEST and each[1].isdigit()]


def files_of(manifest: bytes) -> list[str]:
    """Names of the files of a checkpoint; none that would lie in another folder."""
    names = parsed(manifest).get("files", {})
    return [name for name in names if Path(name).name == name and not name.startswith(".")]


def is_intact(folder: Path) -> bool:
    """Whether the files of a checkpoint are what its manifest says."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        for name, said in files.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != said["sha256"]:
                    return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(files)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parsed(content: bytes | None) -> dict[str, Any]:
    """The JSON object in a small file; an empty one where there is none."""
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def number_in(found: Mapping[str, Any], key: str) -> float:
    """The number that an object holds; 0 where that is none, or none that has to do with seconds or attempts.

    >>> [number_in({"attempt": held}, "attempt") for held in (2, 1.5, None, "x", True, float("nan"), 10**400)]
    [2.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    held = found.get(key)
    if isinstance(held, bool) or not isinstance(held, int | float):
        return 0.0
    return float(held) if abs(held) < 1 << 53 else 0.0  # which nan is not
