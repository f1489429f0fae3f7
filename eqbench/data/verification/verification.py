"""All checks of a data set one after the other, and what they came to."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.data.miniatures import manifest
from eqbench.data.verification import data_sets, deep, existence, record
from eqbench.data.verification.contents import Contents
from eqbench.data.verification.findings import KEPT, Findings
from eqbench.data.verification.names import spelled
from eqbench.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a verification found.

    Attributes:
        level: "fast" (names, counts, lists) or "deep" (every file decoded as well).
        postponed: every file was to be decoded, but which there are could not be understood.
        contents: None where the data set could not be understood.
        content_digest: of all files' bytes, after a deep verification of complete data.
        record: where it is noted that the data set is as it should be; None if it is not, or nothing can be written.
        seconds: that it took.
    """

    name: str
    root: Path
    level: str
    postponed: bool
    findings: Findings
    contents: Contents | None = None
    content_digest: str | None = None
    record: Path | None = None
    seconds: float

    @property
    def ok(self) -> bool:
        return self.findings.ok

    def as_json(self) -> dict[str, Any]:
        contents = self.contents
        return {
            "name": self.name,
            "root": str(self.root),
            "ok": self.ok,
            "level": self.level,
            "postponed": self.postponed,
            "digest": contents and contents.digest,
            "content_digest": self.content_digest,
            "classes": contents and len(contents.class_names),
            "files": contents and {split: len(files) for split, files in contents.files.items()},
            "record": self.record and str(self.record),
            "seconds": round(self.seconds, 2),
            **self.findings.as_json(),
        }


@dataclass(frozen=True, kw_only=True)
class How:
    """What is looked at, and how.

    Attributes:
        with_decoding: decode every file.
        miniature: it is a miniature, to be compared with its manifest instead of the published numbers.
        limit: how many findings of a kind are kept; None for all.
        workers: processes that decode; None for one for each core.
    """

    with_decoding: bool = False
    miniature: bool = False
    limit: int | None = KEPT
    workers: int | None = None


def verify(name: str, root: Path, options: Mapping[str, Any], console: Console, how: How) -> Outcome:
    """Check a data set on disk.

    Args:
        name: one of `data_sets.NAMES`.
        root: its folder.
        options: of the command; None where one was not given.
        console: shows how far a deep verification is.
        how: what is looked at.

    Raises:
        InputError: there is no such folder or data set, or an option does not apply to it.
        EnvironmentProblem: the locale does not allow the names of its files.
    """
    since = time.monotonic()
    taken = data_sets.options_of(data_sets.module(name).examine, options, "verify", name, {"miniature": how.miniature})
    root = _folder(root)
    found = Findings(how.limit)
    contents = content_digest = None
    if _is_what_was_said(name, root, found, how.miniature):
        contents = _examined("verify", name, root, found, taken)
        missing = _missing(name, root, contents, found, how.miniature)
        if contents is not None and how.with_decoding:
            content_digest = deep.scan(root, contents, found, console, missing=missing, workers=how.workers)
    level = "deep" if how.with_decoding and contents is not None else "fast"
    return Outcome(
        name=name,
        root=root,
        level=level,
        postponed=how.with_decoding and contents is None,
        findings=found,
        contents=contents,
        content_digest=content_digest,
        record=_note(name, root, contents, level, content_digest, found),
        seconds=time.monotonic() - since,
    )


def look_at(name: str, root: Path, options: Mapping[str, Any]) -> tuple[Contents, Findings]:
    """What a data set says it holds, a miniature too, with what its lists were found to have wrong.

    Raises:
        InputError: there is no such folder or data set, an option does not apply, it cannot be understood, or no
            split has anything to count.
        EnvironmentProblem: the locale does not allow the names of its files.
    """
    folder = root.expanduser()
    miniature = {"miniature": is_miniature(name, folder)}
    taken = data_sets.options_of(data_sets.module(name).examine, options, "stats", name, miniature)
    found = Findings(limit=1)
    contents = _examined("stats", name, _folder(root), found, taken)
    if contents is None or not any(int(counts.sum()) for counts in contents.counts.values()):
        said = [kind.items[0] for kind in found.problems.values()]
        raise InputError("\n".join(said or [f"data stats {name}: nothing in {folder} to count"]))
    return contents, found


def is_miniature(name: str, root: Path) -> bool:
    """Whether the folder is a miniature of a published data set; its manifest says of which."""
    if name not in data_sets.MINIATURES or not manifest.exists(root):
        return False
    try:
        content = json.loads((root / manifest.NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") in data_sets.MINIATURES


def _examined(verb: str, name: str, root: Path, found: Findings, taken: Mapping[str, Any]) -> Contents | None:
    try:
        with spelled():
            contents: Contents | None = data_sets.module(name).examine(root, found, **taken)
    except ValueError as error:  # an option out of range; bad data is told to `found`
        raise InputError(f"data {verb} {name}: {error}") from error
    return contents


def _folder(root: Path) -> Path:
    """With ~ spelled out, which a shell does not do in --root=~/data; raises InputError if it is no folder."""
    folder = root.expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise InputError(f"--root {root}: {what}")
    return folder


def _is_what_was_said(name: str, root: Path, found: Findings, miniature: bool) -> bool:
    """Whether it is a miniature if it should be one, and none if not."""
    if miniature and name not in data_sets.MINIATURES:
        raise InputError(f"data verify {name}: --miniature does not apply; there are none of {name}")
    if miniature or not is_miniature(name, root):
        return True
    found.problem(
        "a miniature",
        f"{root / manifest.NAME}: these are drawn images, not the published data set",
        advice="give --miniature to check it by its manifest",
    )
    return False


def _missing(name: str, root: Path, contents: Contents | None, found: Findings, miniature: bool) -> set[str]:
    """Files that do not exist; the manifest says more of a miniature's than that."""
    if miniature:
        manifest.check(root, found, name=name)
    if contents is None:
        return set()
    told = Findings(0) if miniature else found
    return existence.missing_files(root, contents.files, told, where_to_get=contents.where_to_get)


def _note(
    name: str, root: Path, contents: Contents | None, level: str, content_digest: str | None, found: Findings
) -> Path | None:
    """Write the records of data that is as it should be, one for each way it is used; remove those of data that is not
    any more."""
    if contents is None:
        return None
    if not found.ok:
        for digest in contents.digests:
            record.forget(root, digest)
        return None
    written = [
        record.write(root, name=name, digest=digest, level=level, content_digest=content_digest)
        for digest in contents.digests
    ]
    return written[0]
