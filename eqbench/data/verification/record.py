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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eqbench import __version__, file_lock
from eqbench.errors import EnvironmentProblem

NAME = ".eqbench-verified.json"
FORMAT = 1
LEVELS = ("fast", "deep")
PATIENCE_SECONDS = 10.0
"""Another process may write a record so long."""

Records = dict[str, dict[str, Any]]
"""By digest."""


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

    def add(records: Records) -> None:
        known = find(root, digest)
        records[digest] = known if known and LEVELS.index(known["level"]) > LEVELS.index(level) else new

    return next((place for place in _places(root) if _change(place, add)), None)


def find(root: Path, digest: str) -> dict[str, Any] | None:
    """The record of a data set by its digest: `name`, `digest`, `level`, `content_digest`, `date`, `version`.

    `level` is "fast" or "deep"; `content_digest`, of a deep verification, is the SHA-256 of what `sha256sum` prints
    for all files in the order of their paths. A record is of the data set as it was on that date: the digest is of
    lists, labels and masks, so that an image which has changed since goes unnoticed.
    """
    records = [record for place in _places(root) if (record := _load(place).get(digest))]
    return max(records, key=lambda record: LEVELS.index(record["level"]), default=None)


def forget(root: Path, digest: str) -> None:
    """Remove the record of a data set that is not as it should be any more."""
    for place in _places(root):
        if digest in _load(place):
            _change(place, lambda records: records.pop(digest, None))


def _places(root: Path) -> tuple[Path, Path]:
    """Beside the data, and in the cache; preferred first."""
    folder = root.expanduser().absolute()
    cache = Path(os.environ.get("EQBENCH_CACHE") or "~/.cache/eqbench").expanduser().absolute()
    number = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return folder / NAME, cache / f"{number}-{folder.name}{NAME}"


def _load(place: Path) -> Records:
    """Records by digest; none where there is no file, or one that cannot be understood."""
    try:
        content = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("records"), dict):
        return {}
    records = content["records"].items()
    return {key: record for key, record in records if isinstance(record, dict) and record.get("level") in LEVELS}


def _change(place: Path, change: Callable[[Records], object]) -> bool:
    """Whether the records could be changed; all of them or none, and by one process at a time."""
    with contextlib.suppress(OSError, EnvironmentProblem):
        place.parent.mkdir(parents=True, exist_ok=True)
        with file_lock.hold(place.with_name(f"{place.name}.lock"), PATIENCE_SECONDS) as lock:
            if lock is None:
                return False
            records = _load(place)
            change(records)
            _save(place, records)
            return True
    return False


def _save(place: Path, records: Records) -> None:
    with tempfile.TemporaryDirectory(prefix=".eqbench-", dir=place.parent) as scratch:
        new = Path(scratch) / "new"
        new.write_text(json.dumps({"format": FORMAT, "records": records}, indent=1))
        new.replace(place)
