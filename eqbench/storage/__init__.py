"""Storage by URI: every machine works in a folder of its own and keeps it level with what is behind the URI.

What is imported here costs nothing where storage is a folder.
"""

from __future__ import annotations

from pathlib import Path


def driver_elsewhere(suite: Path) -> str:
    """Host and process of the driver that works on a suite on another machine; empty without one."""
    from eqbench.storage.driving import holder

    return holder(suite)


def refuse_driver_elsewhere(suite: Path) -> None:
    """EnvironmentProblem where there is one, by the clock of the store."""
    from eqbench.storage import driving

    driving.refuse_driver_elsewhere(suite)


def fetch_plans(storage: Path) -> None:
    """Let the suites and sweeps behind the URI of a storage be found here."""
    from eqbench.storage import suite_mirror

    suite_mirror.fetch_plans(storage)


def fetch_suite(suite: Path) -> None:
    """Read what is new of a suite and its runs, without checkpoints."""
    from eqbench.storage import suite_mirror

    suite_mirror.fetch_suite(suite)
