"""What the nodes of a cluster have room for beside the runs in progress, whatever shapes these have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from eqbench.run_spec import Resources


class Room:
    """What the nodes have left beside the runs in progress: CPUs of each, and what is free of each of its GPUs."""

    def __init__(self, nodes: Iterable[Mapping[str, float]], in_progress: Iterable[Resources] = ()) -> None:
        self._cpus = []
        self._gpus = []
        for node in nodes:
            self._cpus.append(node.get("CPU", 0.0))
            self._gpus.append([1.0] * int(node.get("GPU", 0)))
        self._idle = True
        for resources in sorted(in_progress, key=size, reverse=True):
            self._place(resources)

    def take(self, resources: Resources) -> bool:
        """Give a run its workers; False, and nothing is taken, if there is no room for as many as it needs."""
        cpus, gpus, alone = list(self._cpus), [list(free) for free in self._gpus], self._idle
        workers = self._place(resources)
        if workers == resources.num_workers or (alone and 0 < (resources.min_workers or 0) <= workers):
            return True
        self._cpus, self._gpus, self._idle = cpus, gpus, alone
        return False

    def _place(self, resources: Resources) -> int:
        """Give a run as many of its workers as there is room for; how many."""
        self._idle = False
        workers = 0
        while workers < resources.num_workers and self._place_one(resources):
            workers += 1
        return workers

    def _place_one(self, resources: Resources) -> bool:
        for node, cpus in enumerate(self._cpus):
            if cpus + 1e-9 >= resources.cpus_per_worker and self._place_on_gpus(self._gpus[node], resources):
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


def most_at_once(shapes: Sequence[Resources], nodes: Sequence[Mapping[str, float]]) -> int:
    """How many of these runs the nodes can train at once, the largest taken first."""
    room = Room(nodes)
    return sum(room.take(resources) for resources in sorted(shapes, key=size, reverse=True))
