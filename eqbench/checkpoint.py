"""Checkpoints that survive a kill or a full disk at any moment, and say when one is damaged.

A checkpoint is a folder `<iteration>/` with `state.pt` and a `manifest.json` of sizes and SHA-256 digests. It is
written under another name, flushed, and renamed, so a folder that bears an iteration's name is complete unless the disk
damaged it; the digests tell. The previous checkpoint is removed only after the new one is in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

CHECKPOINT_VERSION = 1
STATE, MANIFEST = "state.pt", "manifest.json"


class CheckpointError(Exception):
    """A checkpoint could not be written or read."""


class Checkpoints:
    """The checkpoints of one run; the newest `keep` are kept."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def iterations(self) -> list[int]:
        """Iterations of the checkpoints on disk, oldest first."""
        return sorted(int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit())

    def path(self, iteration: int) -> Path:
        return self.folder / f"{iteration:09d}"

    def clean(self) -> None:
        """Remove what a killed attempt has left half written or half removed."""
        for leftover in self.folder.glob(".*.tmp"):
            _remove(leftover)

    def save(self, iteration: int, state: dict[str, Any]) -> Path:
        """Write `state`, a tree of tensors and plain Python values, as the checkpoint of `iteration`.

        Later checkpoints, which training has gone back behind because they are damaged, are removed.

        Raises:
            CheckpointError: it could not be written (disk full, no permission); earlier checkpoints are untouched.
        """
        final = self.path(iteration)
        temporary = self.folder / f".{final.name}.{os.getpid()}.tmp"
        try:
            temporary.mkdir(parents=True)
            with (temporary / STATE).open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            self._write_manifest(temporary, iteration)
            _flush_folder(temporary)
            if final.exists():
                self._discard(final)
            temporary.rename(final)
            _flush_folder(self.folder)
        except (OSError, RuntimeError) as error:
            _remove(temporary)
            # torch's zip writer turns a failed write into a RuntimeError that does not say why.
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise CheckpointError(f"checkpoint of iteration {iteration} not written to {final}: {reason}") from error
        known = self.iterations()
        kept = [other for other in known if other <= iteration][-self.keep :]
        with contextlib.suppress(OSError):
            for other in set(known).difference(kept):
                self._discard(self.path(other))
        return final

    def load(self, iteration: int) -> dict[str, Any]:
        """Read and verify one checkpoint, tensors on the CPU.

        Raises:
            CheckpointError: it is absent, incomplete or damaged.
        """
        path = self.path(iteration)
        try:
            manifest = json.loads((path / MANIFEST).read_text())
            if manifest["version"] != CHECKPOINT_VERSION:
                raise CheckpointError(
                    f"{path}: version {manifest['version']!r} is not known here; expected {CHECKPOINT_VERSION}"
                )
            if _digest(path / STATE) != manifest["files"][STATE]["sha256"]:
                raise CheckpointError(f"{path / STATE}: content does not match its SHA-256 in {MANIFEST}")
            state: dict[str, Any] = torch.load(path / STATE, map_location="cpu", weights_only=True)
        except (OSError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).split("\n")[0]
            raise CheckpointError(f"{path}: incomplete or damaged ({type(error).__name__}: {reason})") from error
        return state

    def load_newest(self) -> tuple[int, dict[str, Any], list[str]]:
        """The newest checkpoint that is intact.

        Returns:
            Its iteration (0 and an empty state when there is none), its state, and one message for each newer
            checkpoint that was damaged and passed over.
        """
        damaged: list[str] = []
        for iteration in reversed(self.iterations()):
            try:
                return iteration, self.load(iteration), damaged
            except CheckpointError as error:
                damaged.append(str(error))
        return 0, {}, damaged

    def _discard(self, path: Path) -> None:
        """Remove a checkpoint; what a kill leaves of it is not taken for a damaged one."""
        _remove(path.rename(path.with_name(f".{path.name}.discarded.tmp")))

    def _write_manifest(self, folder: Path, iteration: int) -> None:
        state = folder / STATE
        manifest = {
            "version": CHECKPOINT_VERSION,
            "iteration": iteration,
            "files": {state.name: {"size": state.stat().st_size, "sha256": _digest(state)}},
        }
        with (folder / MANIFEST).open("w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
