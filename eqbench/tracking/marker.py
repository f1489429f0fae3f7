"""Which stores a run has been sent to completely: `synced.json` beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from eqbench.run_folder import write_atomically
from eqbench.tracking.uri import public

FILE = "synced.json"


def fingerprint(files: Iterable[Path], *more: str) -> str:
    """A hash of the files' content, absent ones included, and of `more`."""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes() if file.exists() else b"absent"
        digest.update(hashlib.sha256(content).digest())
    digest.update("\0".join(more).encode())
    return digest.hexdigest()[:16]


def read(folder: Path, uri: str) -> tuple[str, str] | None:
    """The MLflow run id and the fingerprint of what `uri` has of this folder, or None."""
    entry = _entries(folder).get(public(uri))
    try:
        return (str(entry["mlflow_run_id"]), str(entry["fingerprint"])) if isinstance(entry, dict) else None
    except KeyError:
        return None


def write(folder: Path, uri: str, mlflow_run_id: str, value: str) -> None:
    """Note that `uri` has everything of this folder."""
    entries = _entries(folder)
    entries[public(uri)] = {"mlflow_run_id": mlflow_run_id, "fingerprint": value}
    write_atomically(folder / FILE, json.dumps(entries, indent=1) + "\n")


def _entries(folder: Path) -> dict[str, object]:
    try:
        content = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
