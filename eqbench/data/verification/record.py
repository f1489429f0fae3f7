"""The record of a verification: beside the data, or in the cache where that folder cannot be written to.

Runs find it by their data digest, so that their results can say whether their data was verified.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from eqbench import __version__

NAME = ".eqbench-verified.json"
FORMAT = 1
LEVELS = ("fast", "deep")


def write(root: Path, *, name: str, digest: str, level: str, content_digest: str | None) -> Path | None:
    """Note that a data set is as it should be; where the note is, None if it can be written nowhere.

    A deep verification's record stays when the same data set passes a fast one.
    """
    new = {
        "name": name,
        "digest": digest,
        "level": level,
        "content_digest": content_digest,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
    }
    known = find(root, digest)
    if known is not None and LEVELS.index(known["level"]) > LEVELS.index(level):
        new = known
    for place in _places(root):
        if _save(place, {**_load(place), digest: new}):
            return place
    return None


def find(root: Path, digest: str) -> dict[str, Any] | None:
    """The record of a data set by its digest: `name`, `digest`, `level`, `content_digest`, `date`, `version`.

    `level` is "fast" or "deep"; `content_digest`, of a deep verification, is the SHA-256 of what `sha256sum` prints
    for all files in the order of their paths.
    """
    records = [record for place in _places(root) if (record := _load(place).get(digest))]
    return max(records, key=lambda record: LEVELS.index(record["level"]), default=None)


def forget(root: Path, digest: str) -> None:
    """Remove the record of a data set that is not as it should be any more."""
    for place in _places(root):
        records = _load(place)
        if records.pop(digest, None):
            _save(place, records)


def _places(root: Path) -> tuple[Path, Path]:
    """Beside the data, and in the cache; preferred first."""
    folder = root.expanduser().absolute()
    cache = Path(os.environ.get("EQBENCH_CACHE") or "~/.cache/eqbench").expanduser().absolute()
    number = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return folder / NAME, cache / f"{number}-{folder.name}{NAME}"


def _load(place: Path) -> dict[str, Any]:
    """Records by digest; none where there is no file, or one that cannot be understood."""
    try:
        content = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("records"), dict):
        return {}
    records = content["records"].items()
    return {key: record for key, record in records if isinstance(record, dict) and record.get("level") in LEVELS}


def _save(place: Path, records: dict[str, Any]) -> bool:
    """Whether it could be written; all of it or nothing."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".eqbench-", dir=place.parent) as scratch:
            new = Path(scratch) / "new"
            new.write_text(json.dumps({"format": FORMAT, "records": records}, indent=1))
            new.replace(place)
            return True
    return False
