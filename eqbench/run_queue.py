"""Which run starts next, and when: as many at once as the nodes have room for, whatever shapes they have."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from eqbench import cluster
from eqbench.errors import EnvironmentProblem
from eqbench.room import Room, most_drivers, size
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Resources, RunSpec

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LOOKS_AT_WHAT_WAITS = 10.0
SECONDS_UNTIL_IT_IS_SAID = 20.0
SECONDS_UNTIL_IT_IS_SAID_OF_NODES_TO_COME = 600.0
SECONDS_UNTIL_IT_IS_SAID_AGAIN = 600.0
SECONDS_UNTIL_A_RUN_HAS_BEGUN = 300.0


@dataclass(frozen=True)
class _HandedOut:
    resources: Resources
    run: RunFolder
    attempts: int
    """That were counted then."""
    since: float


class RunQueue(Searcher):
    """Hands Ray Tune one run after another: the first, of the largest that wait, for which there is room.

    Nodes that come and go while it works are counted when they do. On a cluster that grows, some more runs are handed
    out than there is room for: it gets its nodes for those that wait inside Ray. Each shape has a share of these
    places, so that one which no machine can hold does not take them all.

    Args:
        runs: each run and the path that is its trial's `run` parameter.
        grows: whether the cluster may get more nodes than it has.
        say: is told, in a sentence, when runs have been waiting for nodes for a while.
        nodes: logical resources of the nodes.
        free: those of all nodes together that no program has reserved.
    """

    def __init__(
        self,
        runs: Mapping[str, RunSpec],
        grows: bool,
        say: Callable[[str], None],
        nodes: Callable[[], list[dict[str, float]]] | None = None,
        free: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__()
        ordered = sorted(runs.items(), key=lambda item: size(item[1].resources), reverse=True)
        self._waiting = [(path, spec.resources) for path, spec in ordered]
        self._most_of_a_shape = max(1, cluster.RUNS_WHILE_GROWING // max(1, len({each for _, each in self._waiting})))
        self._handed_out: dict[str, _HandedOut] = {}
        self._grows = grows
        self._say = say
        self._nodes = nodes or cluster.node_resources
        self._free = free or cluster.free_resources
        self._looked = self._looked_at_what_waits = self._said = -math.inf
        self._stands_still_since = math.inf

    # -- Ray Tune asks -------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next run, as a part of a trial's configuration; None while there is no room for one."""
        if not self._waiting:
            return Searcher.FINISHED
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return None
        if (index := self._next()) is None:
            self._looked = time.monotonic()
            return None
        path, resources = self._waiting.pop(index)
        run = RunFolder(Path(path))
        self._handed_out[trial_id] = _HandedOut(resources, run, run.attempts, time.monotonic())
        return {"run": path}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._handed_out.pop(trial_id, None)
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
        nodes = self._nodes()
        tried = set[Resources]()
        for index, (_, resources) in enumerate(self._waiting):
            if resources not in tried and self._room(nodes).take(resources):
                return index
            tried.add(resources)
        return self._next_to_wait_for_nodes(nodes) if self._grows else None

    def _room(self, nodes: list[dict[str, float]]) -> Room:
        return Room(nodes, [each.resources for each in self._handed_out.values()])

    def _next_to_wait_for_nodes(self, nodes: list[dict[str, float]]) -> int | None:
        if len(self._handed_out) >= most_drivers(nodes):
            return None
        handed_out = Counter(self._room(nodes).waiting)
        if handed_out.total() >= cluster.RUNS_WHILE_GROWING:
            return None
        for index, (_, resources) in enumerate(self._waiting):
            if handed_out[resources] < self._most_of_a_shape:
                return index
        return None

    def say_what_waits(self) -> None:
        """Say, now and then, which runs the nodes cannot hold, and which have not begun although they could.

        Those that only wait for others of the same suite are none of these.
        """
        now = time.monotonic()
        if now - self._looked_at_what_waits < SECONDS_BETWEEN_LOOKS_AT_WHAT_WAITS:
            return
        self._looked_at_what_waits = now
        nodes = self._nodes()
        room = self._room(nodes)
        waiting = Counter([*room.waiting, *(resources for _, resources in self._waiting)])
        problems = {each: problem for each in sorted(waiting, key=size) if (problem := _why_not(each, nodes))}
        self._stands_still_since = min(self._stands_still_since, now) if problems else math.inf
        patience = SECONDS_UNTIL_IT_IS_SAID_OF_NODES_TO_COME if self._grows else SECONDS_UNTIL_IT_IS_SAID
        if now - self._said < SECONDS_UNTIL_IT_IS_SAID_AGAIN:
            return
        if problems and now - self._stands_still_since >= patience:
            number, smallest = sum(waiting[each] for each in problems), next(iter(problems))
            self._said = now
            self._say(f"{number} {'run waits' if number == 1 else 'runs wait'} for nodes: {problems[smallest]}")
        elif not room.waiting and (number := len(self._kept_waiting(now))):
            free, all_of_it = self._free(), {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
            shown = ", ".join(f"{free.get(name, 0):g} of {total:g} {name}" for name, total in all_of_it.items())
            self._said = now
            self._say(
                f"{number} {'run has' if number == 1 else 'runs have'} not begun within "
                f"{SECONDS_UNTIL_A_RUN_HAS_BEGUN / 60:g} min: {shown} of the cluster are free; "
                "`ray status` there says more"
            )

    def _kept_waiting(self, now: float) -> list[_HandedOut]:
        """Runs that were handed out long ago and have not begun, although the nodes would have room for them."""
        long = [each for each in self._handed_out.values() if now - each.since >= SECONDS_UNTIL_A_RUN_HAS_BEGUN]
        return [each for each in long if each.run.attempts == each.attempts]


def _why_not(resources: Resources, nodes: list[dict[str, float]]) -> str:
    """Why a run does not fit the nodes at all; empty if it does."""
    try:
        cluster.concurrency(resources, nodes)
    except EnvironmentProblem as problem:
        return str(problem)
    return ""


class SaysWhatWaits(tune.Callback):
    """Ray Tune's loop calls this, also when every run has been handed out."""

    def __init__(self, queue: RunQueue) -> None:
        self._queue: RunQueue | None = queue

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks."""
        return {"_queue": None}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._queue:
            self._queue.say_what_waits()
