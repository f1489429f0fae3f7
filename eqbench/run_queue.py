"""Which run starts next, and when: as many at once as the nodes have room for, whatever shapes they have."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from eqbench import cluster
from eqbench.errors import EnvironmentProblem
from eqbench.room import Room, size
from eqbench.run_spec import Resources, RunSpec

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_UNTIL_IT_IS_SAID = 20.0
SECONDS_UNTIL_IT_IS_SAID_AGAIN = 600.0


class RunQueue(Searcher):
    """Hands Ray Tune one run after another: the first, of the largest that wait, for which there is room.

    Nodes that come and go while it works are counted when they do. On a cluster that grows, some more runs are in
    progress than there is room for: it gets its nodes for those that wait inside Ray.

    Args:
        runs: each run and the path that is its trial's `run` parameter.
        grows: whether the cluster may get more nodes than it has.
        say: is told, in a sentence, when nothing could be started for a while.
        nodes: logical resources of the nodes.
    """

    def __init__(
        self,
        runs: Mapping[str, RunSpec],
        grows: bool,
        say: Callable[[str], None],
        nodes: Callable[[], list[dict[str, float]]] | None = None,
    ) -> None:
        super().__init__()
        ordered = sorted(runs.items(), key=lambda item: size(item[1].resources), reverse=True)
        self._waiting = [(path, spec.resources) for path, spec in ordered]
        self._in_progress: dict[str, Resources] = {}
        self._grows = grows
        self._say = say
        self._nodes = nodes or cluster.node_resources
        self._looked = -math.inf
        self._said = self._started = time.monotonic()

    # -- Ray Tune asks -------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next run, as a part of a trial's configuration; None while there is no room for one."""
        if not self._waiting:
            return Searcher.FINISHED
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return None
        if (index := self._next()) is None:
            self._looked = time.monotonic()
            self._say_that_nothing_starts()
            return None
        path, self._in_progress[trial_id] = self._waiting.pop(index)
        self._started = time.monotonic()
        return {"run": path}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._in_progress.pop(trial_id, None)
        self._looked = -math.inf

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None: ...

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """There is nothing to search."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Tune saves what searches; the folders of the runs are all that is needed to go on."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    # ------------------------------------------------------------------------------------------------------------

    def _next(self) -> int | None:
        if self._grows and len(self._in_progress) < cluster.RUNS_WHILE_GROWING:
            return 0
        nodes = self._nodes()
        tried = set[Resources]()
        for index, (_, resources) in enumerate(self._waiting):
            if resources not in tried and Room(nodes, self._in_progress.values()).take(resources):
                return index
            tried.add(resources)
        return None

    def _say_that_nothing_starts(self) -> None:
        """There is nothing in progress, and yet no room: nodes have gone."""
        now = time.monotonic()
        if self._in_progress or now - self._started < SECONDS_UNTIL_IT_IS_SAID or now < self._said:
            return
        self._said = now + SECONDS_UNTIL_IT_IS_SAID_AGAIN
        smallest = self._waiting[-1][1]
        try:
            cluster.concurrency(smallest, self._nodes())
        except EnvironmentProblem as problem:
            self._say(f"{len(self._waiting)} runs wait for nodes: {problem}")
