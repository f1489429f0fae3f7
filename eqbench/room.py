"""What the nodes of a cluster have room for beside the runs in progress, whatever shapes these have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from eqbench.run_spec import Resources

DRIVER_MEMORY = 256 * 2**20
"""Bytes of the head that the process of a run takes, beside its workers."""
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the head alone."""


class Room:
    """What the nodes have left beside the runs in progress: CPUs of each, and what is free of each of its GPUs.

    Attributes:
        waiting: of the runs in progress, those that the nodes have no room for. Ray reserves nothing for them.
    """

    def __init__(self, nodes: Sequence[Mapping[str, float]], in_progress: Iterable[Resources] = ()) -> None:
        self._cpus = []
        self._gpus = []
        for node in nodes:
            self._cpus.append(node.get("CPU", 0.0))
            self._gpus.append([1.0] * int(node.get("GPU", 0)))
        self._drivers = most_drivers(nodes)
        self._alone = True
        self.waiting: list[Resources] = []
        for resources in sorted(in_progress, key=size, reverse=True):
            self._drivers -= 1
            if not self._place(resources, resources.min_workers or resources.num_workers):
                self.waiting.append(resources)

    def take(self, resources: Resources) -> bool:
        """Give a run its workers; False, and nothing is taken, if there is no room for as many as it needs."""
        fewest = resources.min_workers if self._alone else None
        if self._drivers < 1 or not self._place(resources, fewest or resources.num_workers):
            return False
        self._drivers -= 1
        return True

    def _place(self, resources: Resources, fewest: int) -> bool:
        """Give a run as many of its workers as there is room for; none, unless there is for the fewest that it has."""
        cpus, gpus = list(self._cpus), [list(free) for free in self._gpus]
        workers = 0
        while workers < resources.num_workers and self._place_one(resources):
            workers += 1
        if workers < fewest:
            self._cpus, self._gpus = cpus, gpus
            return False
        self._alone = False
        return True

    def _place_one(self, resources: Resources) -> bool:
        nodes: Iterable[int] = range(len(self._cpus))
        if not resources.gpus_per_worker:  # Ray keeps nodes with GPUs for who wants these, as long as it can
            nodes = sorted(nodes, key=lambda node: len(self._gpus[node]))
        for node in nodes:
            free = self._cpus[node] + 1e-9 >= resources.cpus_per_worker
            if free and self._place_on_gpus(self._gpus[node], resources):
                self._cpus[node] -= resources.cpus_per_worker
                return True
        return False

    @staticmethod
    def _place_on_gpus(free: list[float], resources: Resources) -> bool:
        """A fraction is one of a single GPU, anything more is whole ones."""
        share, number = min(resources.gpus_per_worker, 1.0), math.ceil(resources.gpus_per_worker)
        places = [index for index, left in enumerate(free) if left + 1e-9 >= share]
        if len(places) < number:
            return False
        for index in sorted(places, key=lambda place: free[place])[:number]:
            free[index] -= share
        return True


def size(resources: Resources) -> tuple[float, float]:
    """What a run takes of a cluster: GPUs, CPUs."""
    return resources.num_workers * resources.gpus_per_worker, resources.num_workers * resources.cpus_per_worker


def most_drivers(nodes: Sequence[Mapping[str, float]]) -> float:
    """How many runs the memory of the head admits; infinite where no head or no memory is named."""
    memory = [node["memory"] for node in nodes if HEAD in node and "memory" in node]
    return sum(memory) // DRIVER_MEMORY if memory else math.inf


def most_at_once(shapes: Sequence[Resources], nodes: Sequence[Mapping[str, float]]) -> int:
    """How many of these runs the nodes can train at once, the largest taken first."""
    room = Room(nodes)
    return sum(room.take(resources) for resources in sorted(shapes, key=size, reverse=True))
