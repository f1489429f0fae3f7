"""Uploads to the artifact store, which may be another server than MLflow's and may refuse what MLflow takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eqbench.tracking import problem
from eqbench.tracking.store import TrackedRun


class Uploads:
    """After a refusal no further file is tried until `retry`: each may take as long as a server that hangs."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None

    def retry(self) -> None:
        """Try again from now on."""
        self.refusal = None

    def add(self, tracked: TrackedRun, files: Iterable[tuple[Path, str]]) -> Exception | None:
        """Upload files, each into a folder; why some of them are missing, or None."""
        first: Exception | None = None
        try:
            for file, folder in files:
                if self.refusal is not None:
                    return self.refusal
                first = self._one(tracked, file, folder) or first
        except Exception as error:  # from `files`: one of them cannot be put together
            return first or error
        return first

    def _one(self, tracked: TrackedRun, file: Path, folder: str) -> Exception | None:
        try:
            tracked.add_file(file, folder)
        except Exception as error:
            self.refusal = None if problem.of_one_file(error) else error
            return error
        return None
