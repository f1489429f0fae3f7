"""A run that is ended before its budget on purpose: the mark that tells its workers.

A scheduler stops a run by what it reported at an evaluation. The workers of a group may be further by then: from the
mark on they record nothing, and what they had recorded beyond that evaluation is dropped.
"""

from __future__ import annotations

from eqbench.run_folder import RunFolder, write_atomically

FILE = "stopped"


class Stopped(Exception):
    """The run was ended by its driver, which writes its result."""


def mark(run: RunFolder, iteration: int) -> None:
    """Let nothing be recorded any more of a run that was stopped at its evaluation after `iteration`."""
    write_atomically(run.path / FILE, f"{iteration}\n")


def is_marked(run: RunFolder) -> bool:
    return (run.path / FILE).exists()


def clear(run: RunFolder) -> None:
    """Let the run go on."""
    (run.path / FILE).unlink(missing_ok=True)
