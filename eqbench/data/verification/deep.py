"""Looking into every file of a data set, and the digest of all their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.data.verification.contents import Contents
from eqbench.data.verification.findings import Findings
from eqbench.data.verification.progress import progress_for
from eqbench.data.verification.workers import CRASHED, look_into

if TYPE_CHECKING:
    from rich.console import Console

NOTE = "note:"
ADVICE = {
    "damaged images": "copy or unpack them again; if they are damaged in the archive too, download it again",
    CRASHED: "copy or unpack them again; where memory is short, give fewer --workers",
}
DIGEST_BYTES = hashlib.sha256().digest_size


def scan(
    root: Path,
    contents: Contents,
    found: Findings,
    console: Console,
    *,
    missing: Collection[str] = (),
    workers: int | None = None,
) -> str | None:
    """Read and decode every file in parallel; `found` is told of each that is bad.

    Args:
        root: what the files are relative to.
        contents: says which files, and how to look into one.
        found: is told what is wrong.
        console: shows how far it is.
        missing: files that are known not to exist.
        workers: processes; by default one for each core.

    Returns:
        The digest of all files' content, None if one could not be read.
    """
    paths = sorted({path for files in contents.files.values() for path in files}.difference(missing))
    position = {path: number for number, path in enumerate(paths)}
    digests = bytearray(DIGEST_BYTES * len(paths))
    unread = 0
    with (
        closing(look_into(root, paths, contents.decode, workers or _cores())) as parts,
        progress_for(console, len(paths)) as shown,
    ):
        for part in parts:
            bad = 0
            for looked in part:
                bad += _tell(found, looked.findings)
                unread += not looked.sha256
                start = DIGEST_BYTES * position[looked.path]
                digests[start : start + DIGEST_BYTES] = looked.sha256 or bytes(DIGEST_BYTES)
            shown.advance(len(part), bad)
    return None if unread or missing else _content_digest(paths, digests)


def _cores() -> int:
    """Those that this process may use, where the system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(found: Findings, findings: list[tuple[str, str]]) -> bool:
    """Whether there is a problem among them."""
    bad = False
    for kind, what in findings:
        if kind.startswith(NOTE):
            found.note(kind.removeprefix(NOTE).strip(), what)
        else:
            bad = True
            found.problem(kind, what, advice=ADVICE.get(kind, ""))
    return bad


def _content_digest(paths: list[str], digests: bytearray) -> str:
    """SHA-256 of the lines that `sha256sum` prints for these files."""
    total = hashlib.sha256()
    for number, path in enumerate(paths):
        digest = digests[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)]
        total.update(f"{digest.hex()}  {path}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
