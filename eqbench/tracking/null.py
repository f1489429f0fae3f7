"""The tracker that tracks nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from eqbench.run_folder import RunFolder


class NullTracker:
    """Stands in for `Tracker` with `--no-mlflow`, and in tests of what uses one."""

    uri = ""
    reachable = True
    behind: str | None = None

    def open(self, description: str = "", command: str = "", run_ids: Sequence[str] | None = None) -> None:
        """Do nothing."""

    def adopt(self, run_ids: Sequence[str]) -> None:
        """Do nothing."""

    def close(self, status: str) -> bool:
        """Do nothing."""
        return True

    def level(self) -> bool:
        """Do nothing."""
        return True

    def send(self, run: RunFolder, running: bool) -> bool:
        """Do nothing."""
        return True

    def end_stale(self, active: Collection[str] = ()) -> bool:
        """Do nothing."""
        return True
