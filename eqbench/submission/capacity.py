"""Whether a cluster has what the runs of a suite want, as far as its job server tells."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eqbench.cluster import concurrency, may_grow
from eqbench.errors import EnvironmentProblem
from eqbench.room import most_at_once
from eqbench.run_spec import Resources


@dataclass(frozen=True)
class Capacity:
    """Logical resources of every living node, and whether there may be more of them."""

    nodes: list[dict[str, float]]
    grows: bool

    @property
    def alone(self) -> bool:
        """Whether it is one machine and stays one."""
        return len(self.nodes) == 1 and not self.grows

    def describe(self) -> str:
        """Nodes, CPUs, GPUs."""
        cpus, gpus = (sum(node.get(name, 0) for node in self.nodes) for name in ("CPU", "GPU"))
        number = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        return f"{number}, {cpus:g} CPU, {gpus:g} GPU{', may grow' if self.grows else ''}"

    def check(self, wanted: Mapping[str, Resources]) -> list[str]:
        """What to note.

        Args:
            wanted: what each run of a task wants, by the task's label.

        Raises:
            EnvironmentProblem: the cluster has no room for a run of some task, and does not grow.
        """
        notes = []
        for label, resources in wanted.items():
            try:
                concurrency(resources, self.nodes)
            except EnvironmentProblem as problem:
                if not self.grows:
                    raise EnvironmentProblem(f"task {label}: {problem}") from problem
                notes.append(f"task {label}: {problem}; the cluster may grow, so the job is sent all the same")
        return notes

    def room_for(self, runs: Sequence[Resources] | None, kinds: Collection[Resources]) -> str:
        """How many runs fit at once, as a phrase; empty where none does, or nobody knows.

        Args:
            runs: what each wants; None if their number is not known, but of which `kinds` they are.
        """
        number = 0
        if runs is not None:
            number = most_at_once(runs, self.nodes)
        elif len(set(kinds)) == 1:
            with contextlib.suppress(EnvironmentProblem):
                number = concurrency(next(iter(kinds)), self.nodes)
        return f"room for {number} run{'s' * (number != 1)} at once" if number else ""


def capacity(nodes: Sequence[Mapping[str, Any]], autoscaler: str) -> Capacity:
    """From what the State API lists and what `ray status` prints."""
    resources = [{key: float(value) for key, value in node["resources_total"].items()} for node in nodes]
    return Capacity(resources, grows(autoscaler))


def grows(autoscaler: str) -> bool:
    """Whether an autoscaler with node types of its own is at work.

    >>> grows("Active:\\n 1 head_group\\nPending:\\n (no pending nodes)")
    True
    >>> grows("Active:\\n 1 node_4c9f3e6a5b3b1e6bd5a7fe9d32b1a1d3bf0cf0c7a5d1a8cb4fd1a1f6\\nPending:")
    False
    """
    named: list[str] = []
    heading = ""
    for line in autoscaler.splitlines():
        if re.fullmatch(r"[A-Z][\w ]*:", line):
            heading = line
        elif heading in ("Active:", "Idle:", "Pending:") and (match := re.fullmatch(r"\s+\d+ (\S+)", line)):
            named.append(match[1])
    return any(may_grow(name) for name in named)
