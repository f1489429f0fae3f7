"""What a benchmark hands back, the machine it ran on, and both as Markdown."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "ray", "mlflow")


@dataclass(frozen=True)
class Series:
    """One quantity, measured several times; printed as median and range."""

    values: Sequence[float]
    digits: int = 1

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.median:.{self.digits}f} ({low:.{self.digits}f} to {high:.{self.digits}f})"


@dataclass
class Table:
    """Rows under headings, with what one has to know to read them."""

    title: str
    explanation: str
    headings: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)

    def __str__(self) -> str:
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in (self.headings, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", self.explanation, "", *lines, ""])


def describe_conditions() -> str:
    """Date, machine, versions and how busy the machine is, in one paragraph."""
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{time.strftime('%Y-%m-%d')}. {_cpu_model()}, pinned to {len(os.sched_getaffinity(0))} of "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}. "
        f"Python {platform.python_version()}, {versions}; commit {_commit()}. "
        f"Load of the machine before: {os.getloadavg()[0]:.1f}."
    )


def progress(text: str) -> None:
    """Say on the terminal what is being measured; the tables alone go to standard output."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    from eqbench.environment import git_state

    state = git_state()
    sha = (state["git_sha"] or "unknown")[:10]
    return f"{sha} with changes" if state["dirty"] else sha
