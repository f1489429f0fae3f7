"""The list of a miniature's files with their checksums, `manifest.json`, and the check against it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

NAME = "manifest.json"
VERSION = 1
ADVICE = "make the miniature again in a new folder: eqbench data make"


class Findings(Protocol):
    """Where `check` says what is wrong; `eqbench.data.verification.Findings` is one."""

    def problem(self, kind: str, what: str, *, advice: str = "") -> None: ...


def write(folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
    """List everything in `folder`, a miniature of the data set `name`, in its `manifest.json`."""
    files = {path: _fingerprint(folder / path) for path in _files(folder)}
    content = {"format": name, "version": VERSION, "parameters": dict(parameters), "files": files}
    (folder / NAME).write_text(json.dumps(content, separators=(",", ":"), sort_keys=True))


def exists(root: Path) -> bool:
    """Whether `root` is a miniature's folder."""
    return (root / NAME).is_file()


def check(root: Path, found: Findings, *, name: str | None = None) -> None:
    """Compare every file in `root` with the manifest: size and SHA-256.

    Hidden files, and what eqbench itself has written beside the data (indexes, records), are no part of a miniature.

    Args:
        name: the data set that `root` should be a miniature of; by default any.
    """
    listed = _read(root, found, name)
    if listed is None:
        return
    present = dict.fromkeys(_files(root))
    for path, (size, sha256) in listed.items():
        if path not in present:
            found.problem("files missing", path, advice=ADVICE)
            continue
        try:
            actual = _fingerprint(root / path)
        except OSError as error:
            found.problem("files unreadable", f"{path}: {error.strerror}", advice=ADVICE)
            continue
        if actual != [size, sha256]:
            reason = f"{actual[0]} bytes, expected {size}" if actual[0] != size else "same size, other content"
            found.problem("files changed", f"{path}: {reason}", advice=ADVICE)
    for path in present:
        if path not in listed:
            found.problem("files too many", f"{path}: not in {NAME}", advice="remove them")


def _read(root: Path, found: Findings, name: str | None) -> dict[str, list[Any]] | None:
    """The files that the manifest lists, or None where it cannot be used."""
    path = root / NAME
    try:
        content = json.loads(path.read_bytes())
        files, form, version = content["files"], content["format"], content["version"]
        complete = all(len(entry) == 2 for entry in files.values())
    except FileNotFoundError:
        found.problem("no manifest", f"{path}: missing; only a folder of eqbench data make has one")
        return None
    except OSError as error:
        found.problem("no manifest", f"{path}: {error.strerror}")
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found.problem("manifest damaged", f"{path}: {type(error).__name__}: {error}", advice=ADVICE)
        return None
    if version != VERSION or not complete:
        found.problem("manifest damaged", f"{path}: version {version!r}, expected {VERSION}", advice=ADVICE)
        return None
    if name is not None and form != name:
        found.problem("another miniature", f"{path}: of {form!r}, expected {name!r}")
        return None
    return dict(files)


def _files(folder: Path) -> Iterator[str]:
    """POSIX paths below `folder`, sorted within each folder, without the manifest and what is no part of it.

    Links are followed, but not to a folder that they are in.
    """
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not _is_beside(name) and not _is_loop(Path(place, name)))
        for name in sorted(names):
            path = Path(place, name).relative_to(folder).as_posix()
            if path != NAME and not _is_beside(name):
                yield path


def _is_loop(folder: Path) -> bool:
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.absolute().parents)


def _is_beside(name: str) -> bool:
    return name.startswith(".") or ".index" in name


def _fingerprint(path: Path) -> list[Any]:
    """Size in bytes and hexadecimal SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return [file.tell(), digest]
